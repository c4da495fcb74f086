"""The predictions for labelled rows that a run keeps, as CSV that is read back bit for bit."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.core.errors import UserError
from accel_clf.core.files import atomic_write, csv_line
from accel_clf.data.dataset import Dataset
from accel_clf.run_folder.checked import explained
from accel_clf.targets.base import Target

VALIDATION = "validation.csv"  # the predictions of the best model for the rows that have chosen it
SLICES = "slices.csv"  # of the rows in predictions.csv
# The files with the predictions for those rows that are evaluated once, at the end of a run.
PREDICTION_FILES = {"test": "predictions.csv", "held_out": "held_out.csv", "calibration": "calibration.csv"}


def write_predictions(
    path: Path,
    rows: Dataset,
    logits: np.ndarray,
    more: Mapping[str, Iterable[Any]] | None = None,
    decided: np.ndarray | None = None,
) -> None:
    """Write the predictions for labelled rows as CSV: row id, label, prediction, score, all scores and all logits.

    Args:
        path: of the file, which appears once it is complete.
        rows: that were evaluated.
        logits: float32 [rows, outputs]; written so that they are read back bit for bit.
        more: additional columns, by name.
        decided: the labels that are predicted; None for those that the target decides.
    """
    target, more = rows.target, more or {}
    scores = target.scores(logits)
    decided = target.decide(scores) if decided is None else decided
    with atomic_write(path) as file:
        columns = [f"score:{name}" for name in target.score_names] + [f"logit:{name}" for name in target.output_names]
        header = ["row", *more, "label", "predicted", *(["score"] if target.has_score else []), *columns]
        file.write(csv_line(header))
        values = (rows.ids.tolist(), rows.labels, decided, scores.tolist(), logits.tolist(), *more.values())
        for row_id, label, predicted, row_scores, row_logits, *others in zip(*values, strict=True):
            texts = [target.to_text(label), target.to_text(predicted)]
            if target.has_score:
                texts.append(row_scores[predicted])
            numbers = [*(row_scores if target.score_names else []), *row_logits]
            file.write(csv_line([row_id, *others, *texts, *numbers]))


def slice_column(rows: Dataset) -> dict[str, list[str]]:
    """Return the column with each row's slice, where rows have slices."""
    return {"slice": [rows.slices.names[code] for code in rows.slices.codes]} if rows.slices else {}


def write_slices(path: Path, rows: Dataset) -> None:
    """Write the slice of each row, for predictions that have no column of it."""
    with atomic_write(path) as file:
        file.write(csv_line(["row", "slice"]))
        for row_id, name in zip(rows.ids.tolist(), slice_column(rows)["slice"], strict=True):
            file.write(csv_line([row_id, name]))


def read_labelled_logits(path: Path, target: Target) -> tuple[np.ndarray, np.ndarray]:
    """Read what `write_predictions` has written, of whatever rows: float32 [rows, outputs], and their labels.

    Raises:
        UserError: the file cannot be read.
    """
    with explained(path), path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
        logits = np.array(
            [[float(line[f"logit:{name}"]) for name in target.output_names] for line in lines], np.float32
        )
        labels = np.array([target.encode(line["label"], str(path)) for line in lines], target.label_type)
    return logits, labels


def read_logits(path: Path, rows: Dataset) -> np.ndarray:
    """Read the logits of these rows that `write_predictions` has written: float32 [rows, outputs].

    Raises:
        UserError: the file is missing, or is not of exactly these rows.
    """
    columns = ["row", *(f"logit:{name}" for name in rows.target.output_names)]
    with explained(path), path.open(encoding="utf-8", newline="") as file:
        values = [[float(line[column]) for column in columns] for line in csv.DictReader(file)]
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
