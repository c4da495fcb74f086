"""accel_clf: fine-tune any Hugging Face encoder into a text classifier, on whatever hardware is there, and serve it.

    import accel_clf
    run = accel_clf.train({"data": {"train": "reviews.csv", "text": "body", "label": "stars"}})
    run.predict(["what a wonderful evening"])

Packages, in the order in which a row travels; each imports only from those above it:

core              what everything else stands on
config            settings: declared once, read from YAML and flags
targets           what is predicted: scores, metrics and calibration
data              rows: read, placed, tokenized, batched
run_folder        the folder of a run or a cross-validation
tracking          a run in experiment trackers
models            encoders with a classification head: loaded, saved, and made fast
strategies        what drives the hardware
inference         trained models: logits, evaluation, prediction
training          one run, from settings to a run folder
cross_validation  a run for each fold, and what they say together
reports           results as a person reads them
serving           a run over HTTP
cli               the command line
api               training and prediction from Python
train             what `accelerate launch` starts
cv                the same for a cross-validation
evaluate_module   the metrics as a module of the `evaluate` library
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accel_clf.api import Run, cross_validate, load, train
    from accel_clf.config.schema import Config
    from accel_clf.core.errors import ConfigError, DataError, Interrupted, UserError

__version__ = "0.1.0"
__all__ = [
    "Config",
    "ConfigError",
    "DataError",
    "Interrupted",
    "Run",
    "UserError",
    "__version__",
    "cross_validate",
    "load",
    "train",
]
_HOME = {
    **dict.fromkeys(("Run", "cross_validate", "load", "train"), "accel_clf.api"),
    "Config": "accel_clf.config.schema",
    **dict.fromkeys(("ConfigError", "DataError", "Interrupted", "UserError"), "accel_clf.core.errors"),
}


def __getattr__(name: str) -> Any:
    """Import what is exported when it is first used, so that the command line and a server stay light."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
