"""The answers for labelled rows that a run keeps, read without its model; of one label a text, without torch, too."""

import csv
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from scipy.special import softmax

from accel_clf.core.files import read_json
from accel_clf.run_folder.checked import RESTORE, explained, read_object
from accel_clf.run_folder.layout import TEMPERATURES, fold_name, is_cross_validation, model_folder
from accel_clf.run_folder.predictions import PREDICTION_FILES, SLICES, VALIDATION
from accel_clf.run_folder.shapes import Thresholds
from accel_clf.targets.base import Cell, Target
from accel_clf.targets.multi_label import MultiLabel
from accel_clf.targets.registry import of_model
from accel_clf.targets.single_label import SingleLabel

OUT_OF_FOLD = "out_of_fold"
# The rows whose answers a run may keep, those that say most of it first; but for those that abstaining goes by.
ANSWER_FILES = {
    OUT_OF_FOLD: "out_of_fold.csv",
    **{rows: name for rows, name in PREDICTION_FILES.items() if rows != "calibration"},
    "validation": VALIDATION,
}
PARTS = ("fold", "part")  # columns: the fold that holds a row out; the part of the validation rows that a row is in
BLOCK_SIZE = 2**26  # bytes of a table that are read at once: many rows, even of thousands of labels


class StoredAnswers(NamedTuple):
    """A file of answers.

    Attributes:
        ids: int64 [rows], each row's index in its source.
        labels, decided: as the target encodes them.
        scores: float64 [rows, scores].
        parts: int64 [rows], in which fold or part a row is, where temperatures are cross-fitted by these; else None.
        slices: the slice of each row, object [rows]; None where there are none.
    """

    ids: np.ndarray
    labels: np.ndarray
    decided: np.ndarray
    scores: np.ndarray
    parts: np.ndarray | None
    slices: np.ndarray | None


def answer_files(folder: Path) -> dict[str, Path]:
    """Return the files of answers that the folder of a run or a cross-validation has, by their rows' name."""
    return {rows: path for rows, name in ANSWER_FILES.items() if (path := folder / name).is_file()}


def read_target(folder: Path) -> Target:
    """Read what a run or a cross-validation predicts, from its model's config.json alone.

    Raises:
        UserError: the file cannot be read.
    """
    is_cv = is_cross_validation(folder)
    path = model_folder(folder / fold_name(0) if is_cv else folder) / "config.json"
    with explained(path, RESTORE):
        config = read_json(path)
        names = {int(code): name for code, name in config.pop("id2label").items()}
        target = of_model(SimpleNamespace(**{"problem_type": None, **config, "id2label": names}))
    thresholds = read_object(folder / "metrics.json", Thresholds).get("thresholds") if is_cv else None
    return target if thresholds is None else target.at_thresholds(thresholds)


def read_answers(path: Path, written_by: Target, target: Target | None = None) -> StoredAnswers:
    """Read a file of `write_predictions`.

    Args:
        path: of the file.
        written_by: the target of the run that wrote it.
        target: that encodes what is read, by default the same; its labels are the same, perhaps in another order.

    Raises:
        UserError: the file cannot be read.
    """
    target = target or written_by
    with explained(path, RESTORE):
        header = _header(path)
        texts = [name for name in ("label", "predicted", "slice") if name in header]
        parts = [name for name in PARTS if name in header]
        # A number is written as the model's output alone.
        scores = [f"score:{name}" for name in target.score_names] or _logit_columns(written_by)
        table = _read_columns(path, ["row", *parts], texts, scores)
        ids = np.from_dlpack(table["row"])
        if (np.diff(ids) <= 0).any():
            raise ValueError("its rows are not in the order of their numbers")
        labels, decided = (_encode(table[name], path, written_by, target) for name in ("label", "predicted"))
        slices = np.array(table["slice"].to_pylist(), object) if "slice" in texts else _slices(path, ids)
        in_parts = np.from_dlpack(table[parts[0]]) if parts else None
        return StoredAnswers(ids, labels, decided, _matrix(table, scores), in_parts, slices)


def read_stored_logits(path: Path, written_by: Target) -> np.ndarray:
    """Read the logits of a file of answers: float64 [rows, outputs].

    Raises:
        UserError: the file cannot be read.
    """
    columns = _logit_columns(written_by)
    with explained(path, RESTORE):
        return _matrix(_read_columns(path, [], [], columns), columns)


def cross_fitted_scores(
    path: Path, answers: StoredAnswers, written_by: Target, target: Target | None = None
) -> np.ndarray | None:
    """Compute the scores after a temperature that was fitted to these rows, of each part by that of the others.

    Args:
        path: of the file of answers.
        answers: in it.
        written_by, target: see `read_answers`.

    Returns:
        float64 [rows, scores]; None where no temperature was fitted to them, or by a run that has not kept them.

    Raises:
        UserError: a file cannot be read.
    """
    temperatures, target = path.with_name(TEMPERATURES), target or written_by
    if answers.parts is None or not temperatures.is_file():
        return None
    order = [written_by.names.index(name) for name in target.names] if target.score_names else [0]
    logits, scores = read_stored_logits(path, written_by), answers.scores.copy()
    with explained(temperatures, RESTORE):
        divisors = read_json(temperatures)
        if missing := {str(part) for part in np.unique(answers.parts)} - divisors.keys():
            raise ValueError(f"no temperature of {', '.join(sorted(missing))}")
        for part, divisor in divisors.items():
            chosen = answers.parts == int(part)
            scores[chosen] = scores_of(written_by, logits[chosen] / divisor)[:, order]
    return scores


def scores_of(target: Target, logits: np.ndarray) -> np.ndarray:
    """Compute the scores of logits; of one label a text without torch, equal to the last digits but one."""
    if isinstance(target, SingleLabel):
        probabilities: np.ndarray = softmax(logits, axis=1)
        return probabilities
    return target.scores(logits)


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file), [])


def _logit_columns(target: Target) -> list[str]:
    return [f"logit:{name}" for name in target.output_names]


def _read_columns(path: Path, integers: Sequence[str], texts: Sequence[str], numbers: Sequence[str]) -> dict[str, Any]:
    """Read columns of a file of answers: name -> an Arrow array."""
    from pyarrow import float64, int64, string
    from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, read_csv

    kinds = dict.fromkeys(integers, int64()) | dict.fromkeys(texts, string()) | dict.fromkeys(numbers, float64())
    table = read_csv(
        path,
        read_options=ReadOptions(block_size=BLOCK_SIZE),
        parse_options=ParseOptions(newlines_in_values=True),
        convert_options=ConvertOptions(include_columns=list(kinds), column_types=kinds),
    )
    if incomplete := [name for name in kinds if table[name].null_count]:
        raise ValueError(f"column {incomplete[0]!r} has gaps")
    return {name: table[name].combine_chunks() for name in kinds}


def _matrix(table: dict[str, Any], columns: Sequence[str]) -> np.ndarray:
    return np.stack([np.from_dlpack(table[name]) for name in columns], axis=1).astype(np.float64)


def _slices(path: Path, ids: np.ndarray) -> np.ndarray | None:
    """Read the slices of test rows, which stand beside their answers; None where they have none."""
    beside = path.with_name(SLICES)
    if path.name != PREDICTION_FILES["test"] or not beside.is_file():
        return None
    with explained(beside, RESTORE), beside.open(encoding="utf-8", newline="") as file:
        of_rows = {int(line["row"]): line["slice"] for line in csv.DictReader(file)}
        if missing := set(ids.tolist()) - of_rows.keys():
            raise ValueError(f"{len(missing)} rows of {path.name} are not in it")
        return np.array([of_rows[row] for row in ids.tolist()], object)


def _encode(column: Any, path: Path, written_by: Target, target: Target) -> np.ndarray:
    """Encode the labels of a column, each different one once."""
    encoded = column.dictionary_encode()
    cells = [_cell(text, written_by) for text in encoded.dictionary.to_pylist()]
    codes = np.array([target.encode(cell, str(path)) for cell in cells], target.label_type)
    labels: np.ndarray = codes[np.from_dlpack(encoded.indices)]
    return labels


def _cell(text: str, written_by: Target) -> Cell:
    """Return what a label's text in a table stands for."""
    if not isinstance(written_by, MultiLabel):
        return text
    return tuple(text.split(written_by.separator)) if text else ()
