"""What every run of these tests would import again: imported once, by the server that they are forked from."""

from importlib import import_module

for name in (
    "pandas",
    "sklearn.metrics",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.bert.modeling_bert",
    "transformers.models.xlm_roberta.modeling_xlm_roberta",
    "transformers.models.xlm_roberta.tokenization_xlm_roberta",
    "accel_clf.baseline",
    "accel_clf.crossval",
    "cleanlab.filter",
    "accel_clf.strategies.accelerate",
):
    import_module(name)
