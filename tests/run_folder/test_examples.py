"""Which rows a report opens, of every kind of target: the surest of each cell, and never too many."""

from pathlib import Path

import numpy as np
import pytest

from accel_clf.data.dataset import Dataset, digest
from accel_clf.run_folder import examples
from accel_clf.run_folder.examples import (
    chosen_rows,
    least_sure,
    of_cells,
    read_examples,
    surest_errors,
    write_examples,
)
from accel_clf.targets.multi_label import MultiLabel
from accel_clf.targets.regression import Regression
from accel_clf.targets.single_label import SingleLabel

ONE = SingleLabel(("a", "b"))
SCORES = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.51, 0.49], [0.3, 0.7]])
LABELS, DECIDED = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 1, 0, 1])


def test_one_label() -> None:
    assert surest_errors(ONE, LABELS, SCORES, DECIDED).tolist() == [1, 2, 3]
    assert least_sure(ONE, SCORES, DECIDED).tolist() == [3, 2, 4, 1, 0]
    cells = of_cells(ONE, LABELS, SCORES, DECIDED)
    expected = {(0, 1): [1, 2], (1, 0): [3], (0, 0): [0], (1, 1): [4]}
    assert {cell: rows.tolist() for cell, rows in cells.items()} == expected
    assert list(cells)[:2] == [(0, 1), (1, 0)], "errors come first"


def test_several_labels() -> None:
    target = MultiLabel(("a", "b"), thresholds=(0.5, 0.2))
    scores = np.array([[0.6, 0.1], [0.1, 0.9], [0.45, 0.25]])
    labels, decided = np.array([[1, 0], [1, 0], [0, 0]], np.int8), target.decide(scores)
    assert surest_errors(target, labels, scores, decided).tolist() == [1, 2]  # b is given at 0.9, where 0.2 is enough
    assert least_sure(target, scores, decided).tolist() == [2, 0, 1]
    cells = of_cells(target, labels, scores, decided)
    assert {cell: rows.tolist() for cell, rows in cells.items()} == {(1, 1): [1, 2], (0, 0): [1]}


def test_numbers() -> None:
    target, scores = Regression(("stars",)), np.array([[1.0], [5.0], [2.0]])
    labels, decided = np.array([1.5, 1.0, 2.0]), target.decide(scores)
    assert surest_errors(target, labels, scores, decided).tolist() == [1, 0]
    assert chosen_rows(target, labels, scores, decided).tolist() == [0, 1]


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "MOST_OF_CELL", 3)
    monkeypatch.setattr(examples, "MOST_OF_CELLS", 7)
    scores = np.tile(SCORES, (20, 1))
    cells = of_cells(ONE, np.tile(LABELS, 20), scores, np.tile(DECIDED, 20))
    assert [(cell, len(rows)) for cell, rows in cells.items()] == [((0, 1), 3), ((1, 0), 3), ((0, 0), 1)]


@pytest.mark.parametrize("pairs", [False, True])
def test_texts_are_read_back(pairs: bool, tmp_path: Path) -> None:
    texts = [("line\r\nbreak", 'a "quote"'), ("x" * 2000, "")] if pairs else ["line\r\nbreak", "x" * 2000]
    digests = np.array([np.frombuffer(digest(text), np.uint8) for text in texts])
    rows = Dataset("rows", lambda: iter(texts), np.arange(2), digests, ONE, np.zeros(2, np.int32), has_pairs=pairs)
    write_examples(tmp_path, {"test": rows})
    read = read_examples(tmp_path)
    assert read["test", 0] == (("line\r\nbreak", 'a "quote"') if pairs else ("line\r\nbreak",))
    assert read["test", 1][0] == "x" * 1000 + "…"
    assert read_examples(tmp_path / "none") == {}
