"""Predictions as tables with a row per text: CSV or JSON Lines."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypedDict

import numpy as np

from accel_clf.core.errors import UserError
from accel_clf.core.files import atomic_write
from accel_clf.data.dataset import Dataset

# The files with the predictions for those rows that are evaluated once, at the end of a run.
PREDICTION_FILES = {"test": "predictions.csv", "held_out": "held_out.csv"}


class Prediction(TypedDict):
    """A row's label, its score, and every label's score."""

    label: str
    score: float
    scores: dict[str, float]


def prediction(names: Sequence[str], row_scores: Iterable[float]) -> Prediction:
    """Turn the scores of a row into its prediction as `predict` writes it: label, its score, all scores by name."""
    scores = {name: float(value) for name, value in zip(names, row_scores, strict=True)}
    label = max(scores, key=lambda name: scores[name])
    return {"label": label, "score": scores[label], "scores": scores}


def write_table(
    file: IO[str], predictions: Iterable[dict[str, Any]], columns: Sequence[str], names: Sequence[str], as_csv: bool
) -> None:
    """Write predictions as CSV, with a column `score:NAME` per class, or as JSON Lines.

    Args:
        file: to write to.
        predictions: with `columns` and "scores".
        columns: of the CSV, before the scores.
        names: of the classes.
        as_csv: whether to write CSV rather than JSON Lines.
    """
    if not as_csv:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in predictions)
        return
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*columns, *(f"score:{name}" for name in names)])
    writer.writerows([*(row[column] for column in columns), *row["scores"].values()] for row in predictions)


def write_predictions(
    path: Path, rows: Dataset, logits: np.ndarray, more: Mapping[str, Iterable[Any]] | None = None
) -> None:
    """Write the predictions for labelled rows as CSV: row id, label, prediction, score, all scores and all logits.

    Args:
        path: of the file, which appears once it is complete.
        rows: that were evaluated.
        logits: float32 [rows, classes]; written so that they are read back bit for bit.
        more: additional columns, by name.
    """
    target, more = rows.target, more or {}
    names, scores = target.names, target.scores(logits)
    decided = target.decide(scores)
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        class_columns = [f"{quantity}:{name}" for quantity in ("score", "logit") for name in names]
        writer.writerow(["row", *more, "label", "predicted", "score", *class_columns])
        columns = (rows.ids.tolist(), rows.labels, decided, scores.tolist(), logits.tolist(), *more.values())
        for row_id, label, predicted, row_scores, row_logits, *values in zip(*columns, strict=True):
            texts = (target.to_text(label), target.to_text(predicted))
            writer.writerow([row_id, *values, *texts, max(row_scores), *row_scores, *row_logits])


def read_logits(path: Path, rows: Dataset) -> np.ndarray:
    """Read the logits of these rows that `write_predictions` has written: float32 [rows, classes].

    Raises:
        UserError: the file is missing, or is not of exactly these rows.
    """
    columns = ["row", *(f"logit:{name}" for name in rows.target.names)]
    try:
        with path.open(encoding="utf-8", newline="") as file:
            values = [[float(line[column]) for column in columns] for line in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}: {error})",
            "the predictions that were written there",
            f"remove {path.parent} and run the same command again",
        ) from None
    table = np.array(values, np.float64).reshape(len(values), len(columns))
    ids = table[:, 0]
    if not np.array_equal(ids, rows.ids):
        raise UserError(
            f"{path} holds {len(values)} rows, of which {len(set(ids) & set(rows.ids.tolist()))} are the right ones",
            f"the {len(rows)} rows that were held out, once each",
            f"remove {path.parent} and run the same command again",
        )
    logits: np.ndarray = table[:, 1:].astype(np.float32)
    return logits
