"""Whole sources by a trained run: evaluated, predicted, compared."""

from pathlib import Path

from accel_clf.core.console import log
from accel_clf.core.errors import ConfigError
from accel_clf.data.sources import read_dataset
from accel_clf.data.tokenization import tokenize
from accel_clf.inference.evaluate import evaluate
from accel_clf.inference.predictor import Predictor


def check_int8(run: Path, check: str, max_loss: float) -> None:
    """Compare int8 with fp32 on labelled rows.

    Args:
        run: the folder.
        check: the file with the rows.
        max_loss: accuracy that int8 may lose.

    Raises:
        ConfigError: int8 is less accurate by more than it may be.
    """
    accuracy = {}
    for precision in ("fp32", "int8"):
        predictor = Predictor(run, precision)
        data = predictor.config.data.model_copy(update={"group": None, "slice": None})
        rows = read_dataset(check, data, split="test", label_names=predictor.labels)
        tokens = tokenize(rows, predictor.tokenizer, data.max_length)
        scores = predictor.ensemble_scores(predictor.logits(tokens))
        accuracy[precision] = evaluate(scores, rows, predictor.config.evaluation).metrics["accuracy"]
    told = f"{check}: accuracy {accuracy['int8']:.4f} by int8, {accuracy['fp32']:.4f} by fp32"
    if accuracy["fp32"] - accuracy["int8"] > max_loss:
        raise ConfigError(told, f"a loss of at most {max_loss}", "--precision auto, or a larger --max_loss")
    log(told)
