"""Which rows a report opens, and their texts, which a run keeps for it: a few of each kind of answer, and no more."""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from accel_clf.core.files import atomic_write, csv_line
from accel_clf.data.dataset import Dataset
from accel_clf.data.texts import side_names, sides
from accel_clf.run_folder.checked import RESTORE, explained
from accel_clf.targets.base import Target
from accel_clf.targets.multi_label import MultiLabel
from accel_clf.targets.regression import Regression

FILE = "examples.csv"
MOST_ERRORS = MOST_UNSURE = 100  # rows
MOST_OF_CELL, MOST_OF_CELLS = 10, 1500  # of each label and prediction, and of all of them together
LONGEST = 1000  # characters of a text that are kept

Cells = dict[tuple[int, int], np.ndarray]


def confidence(target: Target, scores: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Compute how sure a model is of its answers: float [rows].

    Of one label that is its score; of several the least distance of a score from its threshold; of a number, for which
    a model gives no probability, 0.

    Args:
        target: what is predicted.
        scores: float [rows, scores].
        decided: the answers.
    """
    if isinstance(target, Regression):
        return np.zeros(len(scores))
    if isinstance(target, MultiLabel):
        nearest: np.ndarray = _distances(target, scores).min(axis=1)
        return nearest
    of_answers: np.ndarray = scores[np.arange(len(scores)), decided]
    return of_answers


def is_wrong(labels: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Find the rows whose answer is not all right: bool [rows]."""
    differs: np.ndarray = (labels != decided).reshape(len(labels), -1).any(axis=1)
    return differs


def surest_errors(target: Target, labels: np.ndarray, scores: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Find the wrong answers of which the model is surest, or the numbers that are furthest off; the worst first."""
    if isinstance(target, Regression):
        worst = np.abs(labels - decided)
    elif isinstance(target, MultiLabel):
        worst = _of_wrong_labels(target, labels, scores, decided).max(axis=1)
    else:
        worst = confidence(target, scores, decided)
    wrong = np.flatnonzero(is_wrong(labels, decided))
    return wrong[np.argsort(-worst[wrong], kind="stable")][:MOST_ERRORS]


def most_wrong_labels(target: MultiLabel, labels: np.ndarray, scores: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Find the wrong label of each row whose score is furthest from its threshold: int [rows], of wrong rows only."""
    codes: np.ndarray = _of_wrong_labels(target, labels, scores, decided).argmax(axis=1)
    return codes


def least_sure_labels(target: MultiLabel, scores: np.ndarray) -> np.ndarray:
    """Find the label of each row whose score is nearest to its threshold: int [rows]."""
    codes: np.ndarray = _distances(target, scores).argmin(axis=1)
    return codes


def least_sure(target: Target, scores: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Find the rows of whose answer the model is least sure, the least sure first; none of numbers."""
    if isinstance(target, Regression):
        return np.empty(0, np.int64)
    return np.argsort(confidence(target, scores, decided), kind="stable")[:MOST_UNSURE]


def of_cells(target: Target, labels: np.ndarray, scores: np.ndarray, decided: np.ndarray) -> Cells:
    """Choose rows of each label and prediction, the surest first; of several labels, those of each that is wrong.

    Returns:
        (label, prediction) -> rows; of several labels (label, whether it is predicted). Errors come first, the most
        frequent before the others.
    """
    if isinstance(target, Regression):
        return {}
    if isinstance(target, MultiLabel):
        rows, codes = np.nonzero(labels != decided)
        second, sure = decided[rows, codes].astype(np.int64), _distances(target, scores)[rows, codes]
        width, is_error = 2, np.ones(len(rows), bool)
    else:
        rows, codes = np.arange(len(labels)), labels.astype(np.int64)
        second, sure = decided.astype(np.int64), confidence(target, scores, decided)
        width, is_error = len(target.names), codes != second
    cells = codes.astype(np.int64) * width + second
    order = np.lexsort((-sure, cells))
    found, starts, counts = np.unique(cells[order], return_index=True, return_counts=True)
    chosen: Cells = {}
    left = MOST_OF_CELLS
    for cell in np.lexsort((-counts, ~is_error[order][starts])).tolist():
        of_cell = order[starts[cell] : starts[cell] + min(counts[cell], MOST_OF_CELL, left)]
        if not len(of_cell):
            break
        chosen[int(found[cell]) // width, int(found[cell]) % width] = rows[of_cell]
        left -= len(of_cell)
    return chosen


def _of_wrong_labels(target: MultiLabel, labels: np.ndarray, scores: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Return the distance of each score from its threshold where the answer is wrong, -1 where it is right."""
    return np.where(labels != decided, _distances(target, scores), -1)


def _distances(target: MultiLabel, scores: np.ndarray) -> np.ndarray:
    """Return how far each score is from its label's threshold: float [rows, labels]."""
    distances: np.ndarray = np.abs(scores - target.cuts)
    return distances


def chosen_rows(target: Target, labels: np.ndarray, scores: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Return all rows that a report opens: ascending int64."""
    parts = [
        surest_errors(target, labels, scores, decided),
        least_sure(target, scores, decided),
        *of_cells(target, labels, scores, decided).values(),
    ]
    return np.unique(np.concatenate(parts).astype(np.int64))


def write_examples(folder: Path, chosen: Mapping[str, Dataset]) -> None:
    """Write the texts of chosen rows.

    Args:
        folder: of the run or the cross-validation.
        chosen: split -> rows.
    """
    has_pairs = any(rows.has_pairs for rows in chosen.values())
    with atomic_write(folder / FILE) as file:
        file.write(csv_line(["split", "row", *side_names(has_pairs)]))
        for split, rows in chosen.items():
            for row, text in zip(rows.ids.tolist(), rows.texts(), strict=True):
                file.write(csv_line([split, row, *map(_shortened, sides(text))]))


def read_examples(folder: Path) -> dict[tuple[str, int], tuple[str, ...]]:
    """Read what `write_examples` has written: (split, row) -> a text, or both of a pair; empty where there is none.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    with explained(path, RESTORE), path.open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
        if header not in [["split", "row", *side_names(has_pairs)] for has_pairs in (False, True)]:
            raise ValueError(f"its columns are {', '.join(header)}")
        if any(len(line) != len(header) for line in lines):
            raise ValueError("a row is incomplete")
        return {(split, int(row)): tuple(texts) for split, row, *texts in lines}


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
