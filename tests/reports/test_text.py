"""Metrics as tables of text, with whatever names labels and slices have."""

import pytest

from accel_clf.reports.names import LONGEST, shortened
from accel_clf.reports.text import metrics_text
from accel_clf.targets.metrics import Averages, LabelMetrics, Metrics

NAMES = ("good", "", "a\nb\tc", f"x{chr(0x202E)}y", f"{chr(27)}[2Jz", "L" * 5000)


@pytest.mark.parametrize("name", NAMES)
def test_shortened(name: str) -> None:
    line = shortened(name)
    assert line.isprintable()
    assert 0 < len(line) <= LONGEST
    assert (line == name) == (name == "good")
    assert shortened(name, 3)[:2] == line[:2]


@pytest.mark.parametrize("kind", ["confusion", "several labels", "many labels"])
def test_tables_are_of_one_line_a_name(kind: str) -> None:
    """Columns are aligned, and no name of a label or a slice is longer than a line."""
    names = [*NAMES, *(f"label {number}" for number in range(20 if kind == "many labels" else 0))]
    per_class = {name: LabelMetrics(0.5, 0.5, 0.5, 3) for name in names}
    confusion = [[1] * len(names) for _ in names] if kind == "confusion" else None
    values = {"accuracy": 0.5, "macro_f1": 0.5}
    slices = {name: Averages(3, values) for name in NAMES}
    text = metrics_text(Metrics(3, values, per_class, confusion, slices))
    _, labels, of_slices = text.split("\n\n")
    for table, count in ((labels, min(len(names), 12)), (of_slices, len(NAMES))):
        lines = table.splitlines()
        assert len(lines) in (count + 1, count + 2)
        assert all(line.isprintable() for line in lines)
        assert len({len(line) for line in lines[-count:]}) == 1
        assert "(empty)" in table
