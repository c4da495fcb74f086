"""Whole files and data sets by a trained run: evaluated, predicted."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from accel_clf.config.load import changed
from accel_clf.config.schema import DataConfig
from accel_clf.core.console import log
from accel_clf.core.errors import ConfigError
from accel_clf.data.dataset import Dataset
from accel_clf.data.rows import Row, TextRows
from accel_clf.data.sources import location_of, read_dataset
from accel_clf.data.texts import Text
from accel_clf.data.tokenization import tokenize
from accel_clf.inference.evaluate import evaluate
from accel_clf.inference.failures import Failure
from accel_clf.inference.predictor import Predictor
from accel_clf.run_folder.answer_tables import Prediction, failed_answer
from accel_clf.targets.abstaining import Abstaining
from accel_clf.targets.metrics import FoldsSummary, Metrics


class RunEvaluation(NamedTuple):
    """A run's metrics on some rows.

    Attributes:
        metrics: of the run; of all models together for a cross-validation.
        models: each model's alone; None for a run.
        abstention: what abstaining does, see `Abstaining.measure`; empty where every text gets a label.
    """

    metrics: Metrics
    models: FoldsSummary | None
    abstention: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return what `accel-clf evaluate --json` prints."""
        models = {"models": self.models.to_json()} if self.models else {}
        return self.metrics.to_json() | models | ({"abstention": self.abstention} if self.abstention else {})


def columns_of(data: DataConfig, source: str, changes: Mapping[str, Any], config: str | None = None) -> DataConfig:
    """Return the settings to read other labelled rows by.

    Args:
        data: the run's.
        source: where the rows are.
        changes: setting (columns, and how files are read) -> another value than the run's.
        config: the Hub data set's configuration; None takes the run's for the run's own data set.

    Raises:
        ConfigError: a value is out of its range, or a column of second texts is named, and the run has no pairs.
    """
    if changes.get("pair") and data.pair is None:
        raise ConfigError("a column of second texts, and the run reads one text per row", "a run with data.pair")
    config = config or (data.config if source == data.train else None)
    revision = data.revision if source == data.train else None
    return changed(data, {**changes, "group": None, "config": config, "revision": revision})


def score_source(
    predictor: Predictor, source: str, data: DataConfig, *, split: str = "test", show_progress: bool = False
) -> tuple[Dataset, list[np.ndarray]]:
    """Read the labelled rows of a source, and compute each model's logits for them, float32 [rows, outputs].

    Args:
        predictor: the run.
        source: a file, or a Hub data set's id or folder.
        data: names the columns, see `columns_of`.
        split: of a Hub data set.
        show_progress: whether to show a bar.

    Raises:
        DataError: the rows cannot be read, have a label that the run does not know, or a text that a model fails on.
    """
    rows = read_dataset(source, data, split=split, target=predictor.target)
    for note in rows.notes:
        log(f"warning: {note}")
    of_run = predictor.config.data
    tokens = tokenize(
        rows, predictor.tokenizer, of_run.max_length, windows=of_run.windows, with_types=predictor.with_types
    )
    failures: dict[int, Failure] = {}
    per_model = predictor.logits(tokens, show_progress, failures)
    if failures:
        row, failure = min(failures.items())
        location = location_of(source, data, int(rows.ids[row]), split=split)
        raise failure.as_error(location, f"{len(failures)} of {len(rows)} rows have such texts: leave them out")
    return rows, per_model


def evaluate_source(
    predictor: Predictor, source: str, data: DataConfig, *, split: str = "test", show_progress: bool = False
) -> RunEvaluation:
    """Evaluate a run on the labelled rows of a source; see `score_source`."""
    settings = predictor.config.evaluation
    rows, per_model = score_source(predictor, source, data, split=split, show_progress=show_progress)
    target, scores = predictor.target, predictor.ensemble_scores(per_model)
    metrics = evaluate(scores, rows, settings).metrics
    abstention = target.measure(rows.labels, scores) if isinstance(target, Abstaining) else {}
    if len(per_model) == 1:
        return RunEvaluation(metrics, None, abstention)
    alone = [evaluate(rows.target.scores(logits), rows, settings).metrics for logits in per_model]
    return RunEvaluation(metrics, FoldsSummary.of(alone), abstention)


def predict_texts(predictor: Predictor, texts: Iterable[Text]) -> Iterator[Prediction]:
    """Yield each text's label and scores, in the texts' order.

    Args:
        predictor: the run.
        texts: any number of them; pairs where `predictor.has_pairs`.
    """
    for _, scores in predictor.predict(texts):
        yield predictor.target.answer(scores)


def predict_rows(
    predictor: Predictor, rows: TextRows, *, skips_failing: bool = False, show_progress: bool = False
) -> Iterator[tuple[Row, Prediction]]:
    """Yield each row with its text's label and scores, in the rows' order.

    Args:
        predictor: the run.
        rows: any number of them; as many are held as the predictor takes at once.
        skips_failing: whether a text that a model fails on has an answer that says why, as `failed_answer` makes it.
        show_progress: whether to show a bar.

    Raises:
        DataError: a model fails on a text.
    """
    unanswered: deque[Row] = deque()
    count, first = 0, ""

    def texts() -> Iterator[Text]:
        for row in rows.stream():
            unanswered.append(row)
            yield row.text

    for _, scores in predictor.outcomes(texts(), show_progress):
        row = unanswered.popleft()
        if not isinstance(scores, Failure):
            yield row, predictor.target.answer(scores)
            continue
        if not skips_failing:
            raise scores.as_error(row.location, "leave it out, or go on without its answer: --errors skip")
        count, first = count + 1, first or f"{row.location}: {scores.reason}"
        yield row, failed_answer(scores.reason)
    if count:
        log(f"warning: {count} rows without an answer, since the model fails on their texts; the first: {first}")
    for note in rows.notes():
        log(note)


def check_int8(run: Path, check: str, max_loss: float) -> None:
    """Compare int8 with fp32 on labelled rows.

    Args:
        run: the folder.
        check: the file with the rows.
        max_loss: what int8 may lose of the metric `Target.main_metric`.

    Raises:
        ConfigError: int8 loses more than it may.
    """
    values = {}
    for precision in ("fp32", "int8"):
        predictor = Predictor(run, precision)
        data = predictor.config.data.model_copy(update={"group": None, "slice": None})
        metric = predictor.target.main_metric
        values[precision] = evaluate_source(predictor, check, data).metrics[metric]
    message = f"{check}: {metric} {values['int8']:.4f} by int8, {values['fp32']:.4f} by fp32"
    if values["fp32"] - values["int8"] > max_loss:
        raise ConfigError(message, f"a loss of at most {max_loss}", "--precision auto, or a larger --max_loss")
    log(message)
