"""Imports what the tests' processes need, once, in the server that they are forked from."""

import gc
import os
from importlib import import_module
from importlib.util import find_spec

MODULES = [
    "accel_clf.strategies.xla.virtual",  # before torch_xla, as in a new interpreter
    "pandas",
    "sklearn.metrics",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.bert.modeling_bert",
    "transformers.models.xlm_roberta.modeling_xlm_roberta",
    "transformers.models.xlm_roberta.tokenization_xlm_roberta",
    "accel_clf.run_folder.predictions",
    "accel_clf.config.flags",
    "accel_clf.training.baseline",
    "accel_clf.cli.main",
    "accel_clf.cli.cv",
    "accel_clf.cross_validation.run",
    "accel_clf.inference.predictor",
    "accel_clf.cli.train",
    "cleanlab.filter",
]
if find_spec("torch_xla"):  # in that environment, only work for XLA cores is forked
    os.environ["USE_TORCH_XLA"] = "true"
    MODULES += ["accel_clf.strategies.xla.accelerate", "accel_clf.strategies.xla.torch_xla"]
else:
    MODULES += ["accel_clf.strategies.accelerate", "accel_clf.serving.server"]
for name in MODULES:
    import_module(name)

from transformers.conversion_mapping import get_checkpoint_conversion_mapping  # noqa: E402

get_checkpoint_conversion_mapping("bert")  # compiles and caches a thousand regular expressions
gc.freeze()  # so that a fork's garbage collector does not scan all of these
