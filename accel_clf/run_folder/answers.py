"""The answers for labelled rows that a run keeps, read without its model."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from accel_clf.core.files import read_json
from accel_clf.run_folder.layout import TEMPERATURES, fold_name, is_cross_validation
from accel_clf.run_folder.predictions import PREDICTION_FILES, SLICES, VALIDATION, explained
from accel_clf.targets.base import Cell, Target
from accel_clf.targets.multi_label import MultiLabel
from accel_clf.targets.registry import of_model

OUT_OF_FOLD = "out_of_fold"
# The rows whose answers a run may keep, those that say most of it first; but for those that abstaining goes by.
ANSWER_FILES = {
    OUT_OF_FOLD: "out_of_fold.csv",
    **{rows: name for rows, name in PREDICTION_FILES.items() if rows != "calibration"},
    "validation": VALIDATION,
}


class StoredAnswers(NamedTuple):
    """A file of answers.

    Attributes:
        ids: int64 [rows], each row's index in its source.
        labels, decided: as the target encodes them.
        scores: float64 [rows, scores].
        folds: int64 [rows], which fold holds a row out; None where there are none.
        slices: the slice of each row; None where there are none.
    """

    ids: np.ndarray
    labels: np.ndarray
    decided: np.ndarray
    scores: np.ndarray
    folds: np.ndarray | None
    slices: tuple[str, ...] | None


def answer_files(folder: Path) -> dict[str, Path]:
    """Return the files of answers that the folder of a run or a cross-validation has, by their rows' name."""
    return {rows: path for rows, name in ANSWER_FILES.items() if (path := folder / name).is_file()}


def read_target(folder: Path) -> Target:
    """Read what a run or a cross-validation predicts, from its model's config.json alone.

    Raises:
        UserError: the file cannot be read.
    """
    is_cv = is_cross_validation(folder)
    path = (folder / fold_name(0) if is_cv else folder) / "model" / "config.json"
    with explained(path):
        config = read_json(path)
        names = {int(code): name for code, name in config.pop("id2label").items()}
        target = of_model(SimpleNamespace(**{"problem_type": None, **config, "id2label": names}))
    thresholds = read_json(folder / "metrics.json").get("thresholds") if is_cv else None
    return target if thresholds is None else target.at_thresholds(thresholds)


def read_answers(path: Path, written_by: Target, target: Target) -> StoredAnswers:
    """Read a file of `write_predictions`.

    Args:
        path: of the file.
        written_by: the target of the run that wrote it.
        target: that encodes what is read; its labels are the same, perhaps in another order.

    Raises:
        UserError: the file cannot be read.
    """
    with explained(path):
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.reader(file)
            columns = {name: index for index, name in enumerate(next(lines, []))}
            rows = list(lines)
        ids = np.array([int(row[columns["row"]]) for row in rows], np.int64)
        if (np.diff(ids) <= 0).any():
            raise ValueError("its rows are not in the order of their numbers")
        labels, decided = (_encode(rows, columns[name], path, written_by, target) for name in ("label", "predicted"))
        return StoredAnswers(
            ids,
            labels,
            decided,
            _scores(path, columns, rows, written_by, target),
            np.array([int(row[columns["fold"]]) for row in rows]) if "fold" in columns else None,
            tuple(row[columns["slice"]] for row in rows) if "slice" in columns else _slices(path, ids),
        )


def _scores(
    path: Path, columns: Mapping[str, int], rows: Sequence[Sequence[str]], written_by: Target, target: Target
) -> np.ndarray:
    """Read scores; of validation rows that a temperature was fitted to, those that are cross-fitted."""

    def numbers(names: Sequence[str], of_rows: Sequence[Sequence[str]]) -> np.ndarray:
        positions = [columns[name] for name in names]
        values = [[float(row[position]) for position in positions] for row in of_rows]
        return np.array(values, np.float64).reshape(len(of_rows), len(names))

    logits = [f"logit:{name}" for name in written_by.output_names]
    # A number is written as the model's output alone.
    scores = numbers([f"score:{name}" for name in target.score_names] or logits, rows)
    temperatures = path.with_name(TEMPERATURES)
    if "part" in columns and temperatures.is_file():
        order = [written_by.names.index(name) for name in target.names] if target.score_names else [0]
        parts = np.array([row[columns["part"]] for row in rows])
        for part, divisor in read_json(temperatures).items():
            of_part = np.flatnonzero(parts == part)
            if divisor != 1 and len(of_part):
                of_logits = numbers(logits, [rows[index] for index in of_part.tolist()]).astype(np.float32)
                scores[of_part] = written_by.scores(of_logits / divisor)[:, order]
    return scores


def _slices(path: Path, ids: np.ndarray) -> tuple[str, ...] | None:
    """Read the slices of rows whose predictions have no column of them; None where there are none."""
    beside = path.with_name(SLICES)
    if not beside.is_file():
        return None
    with beside.open(encoding="utf-8", newline="") as file:
        of_rows = {int(line["row"]): line["slice"] for line in csv.DictReader(file)}
    return tuple(of_rows[row] for row in ids.tolist()) if of_rows.keys() >= set(ids.tolist()) else None


def _encode(rows: Sequence[Sequence[str]], column: int, path: Path, written_by: Target, target: Target) -> np.ndarray:
    cells = [row[column] for row in rows]
    codes: dict[str, int] = {}
    code_of_row = [codes.setdefault(cell, len(codes)) for cell in cells]
    encoded = [target.encode(_cell(cell, written_by), str(path)) for cell in codes]
    array: np.ndarray = np.array(encoded, target.label_type)[code_of_row]
    return array


def _cell(text: str, written_by: Target) -> Cell:
    """Return what a label's text in a table stands for."""
    if not isinstance(written_by, MultiLabel):
        return text
    return tuple(text.split(written_by.separator)) if text else ()
