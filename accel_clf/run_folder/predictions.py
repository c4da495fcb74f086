"""A model's answers as tables, a line a row: CSV or JSON lines."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypedDict

import numpy as np

from accel_clf.core.errors import UserError
from accel_clf.core.files import atomic_write
from accel_clf.data.dataset import Dataset
from accel_clf.targets.scores import probabilities

# Parts that are measured once, at a run's end, and the file with the answers.
ANSWERS = {"test": "predictions.csv", "held_out": "held_out.csv"}


class Prediction(TypedDict):
    """A row's label, its score, and every label's score."""

    label: str
    score: float
    scores: dict[str, float]


def prediction(names: Sequence[str], probabilities: Iterable[float]) -> Prediction:
    """A row's label, its score, and every class's: what `predict` writes."""
    scores = {name: float(value) for name, value in zip(names, probabilities, strict=True)}
    label = max(scores, key=lambda name: scores[name])
    return {"label": label, "score": scores[label], "scores": scores}


def write_table(
    file: IO[str], answers: Iterable[dict[str, Any]], columns: Sequence[str], names: Sequence[str], as_csv: bool
) -> None:
    """Answers as CSV, with a column `score:NAME` a class, or as JSON lines.

    Args:
        file: to write to.
        answers: with `columns` and "scores".
        columns: of the CSV, before the scores.
        names: of the classes.
        as_csv: or JSON lines.
    """
    if not as_csv:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in answers)
        return
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*columns, *(f"score:{name}" for name in names)])
    writer.writerows([*(row[column] for column in columns), *row["scores"].values()] for row in answers)


def write_predictions(
    path: Path, rows: Dataset, logits: np.ndarray, more: Mapping[str, Iterable[Any]] | None = None
) -> None:
    """Labelled rows as CSV: place in the source, right label, answer, score, and each class's score and logit.

    Args:
        path: appears when it is whole.
        rows: that were measured.
        logits: float32 [rows, classes]; written so that they are read back bit for bit.
        more: further columns, by name.
    """
    names, more = rows.label_names, more or {}
    scores = probabilities(logits)
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        by_class = [f"{what}:{name}" for what in ("score", "logit") for name in names]
        writer.writerow(["row", *more, "label", "predicted", "score", *by_class])
        columns = (rows.ids.tolist(), rows.labels.codes.tolist(), scores.tolist(), logits.tolist(), *more.values())
        for row, label, row_scores, row_logits, *others in zip(*columns, strict=True):
            score = max(row_scores)
            said = names[row_scores.index(score)]
            writer.writerow([row, *others, names[label], said, score, *row_scores, *row_logits])


def read_logits(path: Path, rows: Dataset) -> np.ndarray:
    """The logits that `write_predictions` has written of these rows: float32 [rows, classes].

    Raises:
        UserError: the file is not there, or not of all these rows and no others.
    """
    columns = ["row", *(f"logit:{name}" for name in rows.label_names)]
    try:
        with path.open(encoding="utf-8", newline="") as file:
            found = [[float(line[column]) for column in columns] for line in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}: {error})",
            "the answers that were written there",
            f"remove {path.parent} and run the same command again",
        ) from None
    numbers = np.array(found, np.float64).reshape(len(found), len(columns))
    if not np.array_equal(numbers[:, 0], rows.ids):
        raise UserError(
            f"{path} holds {len(found)} rows, of which {len(set(numbers[:, 0]) & set(rows.ids.tolist()))} are right",
            f"the {len(rows)} rows that were held out, once each",
            f"remove {path.parent} and run the same command again",
        )
    logits: np.ndarray = numbers[:, 1:].astype(np.float32)
    return logits
