"""Labels with fewer rows than folds, whatever is predicted: spread, named once, and measured where they are."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from accel_clf.config.load import load
from accel_clf.core.errors import DataError
from accel_clf.cross_validation.run import cross_validate
from accel_clf.inference.predictor import Predictor
from tests.conftest import read_csv, write_csv

RARE = {"three": 3, "two": 2, "one": 1}
KINDS: dict[str, dict[str, Any]] = {
    "single_label": {},
    "ordinal": {"order": ["one", "a", "two", "b", "three"]},
    "multi_label": {"thresholds": "f1"},
}


def write_rows(path: Path, kind: str) -> Path:
    labels = [name for name in "ab" for _ in range(20)] + [name for name, rows in RARE.items() for _ in range(rows)]
    cells = [f'["{label}"]' if kind == "multi_label" else label for label in labels]
    rows = [(f"{label} film {number}", cell) for number, (label, cell) in enumerate(zip(labels, cells, strict=True))]
    return write_csv(path, rows)


def settings(model: Path, rows: Path, output: Path, **changes: Any) -> dict[str, Any]:
    data = {"train": str(rows), "max_length": 16, "validation": 0.2}
    return {"model": {"name": str(model)}, "data": data, "folds": 4, "output": str(output), **changes}


@pytest.mark.parametrize("kind", KINDS)
def test_rare_labels_are_spread_and_nothing_breaks(
    kind: str, tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_rows(tmp_path / "rows.csv", kind)
    metrics = [] if kind == "multi_label" else ["roc_auc", "average_precision", "balanced_accuracy", "mcc"]
    config = settings(
        tiny_bert, path, tmp_path / "cv", target={"type": kind, **KINDS[kind]},
        evaluation={"metrics": metrics, "baseline": True},
    )  # fmt: skip
    config["data"]["test"] = str(path)
    results = cross_validate(load(None, config))
    [warning] = [line for line in capsys.readouterr().err.splitlines() if "labels are not in all" in line]
    assert "3 of 5 labels are not in all 4 folds" in warning
    assert "'one' (1 row), 'two' (2 rows), 'three' (3 rows)" in warning
    assert re.search(r"all rows of 'one' are in one fold, whose model cannot learn", warning)
    rows, out_of_fold = read_csv(path), read_csv(tmp_path / "cv" / "out_of_fold.csv")
    for name, count in RARE.items():
        folds = [row["fold"] for row, read in zip(out_of_fold, rows, strict=True) if name in read["label"]]
        assert len(set(folds)) == len(folds) == count
    per_class = results["out_of_fold"]["per_class"]
    assert {name: per_class[name]["rows"] for name in RARE} == RARE
    assert results["test"]["ensemble"]["rows"] == len(rows)
    text = json.dumps(results["out_of_fold"] | results["mean"])
    assert "NaN" not in text and "Infinity" not in text
    names = [json.loads((tmp_path / "cv" / f"fold-{fold}" / "model" / "config.json").read_text()) for fold in range(4)]
    assert all(name["id2label"] == names[0]["id2label"] for name in names)
    assert len(Predictor(tmp_path / "cv").target.names) == 5


def test_numbers_have_no_rare_labels(tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_csv(tmp_path / "rows.csv", [(f"film {number}", f"{number % 7}.5") for number in range(40)])
    cross_validate(load(None, settings(tiny_bert, path, tmp_path / "cv", target={"type": "regression"})))
    assert "labels are not in all" not in capsys.readouterr().err


def test_a_fold_that_leaves_one_label_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", [(f"film {number}", "a" if number else "b") for number in range(12)])
    with pytest.raises(DataError, match=r"all folds but \d: all 9 rows have the label 'a'"):
        cross_validate(load(None, settings(tiny_bert, path, tmp_path / "cv")))


def test_rare_groups_are_named(tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A label whose rows are all of one group is in one fold."""
    rows = [(f"film {number}", "abc"[min(number % 8, 2)], f"g{number % 8}") for number in range(64)]
    path = write_csv(tmp_path / "rows.csv", rows, ("text", "label", "author"))
    config = settings(tiny_bert, path, tmp_path / "cv", folds=3)
    config["data"] |= {"group": "author", "validation": None}
    cross_validate(load(None, config))
    err = capsys.readouterr().err
    assert (
        "2 of 3 labels are not in all 3 folds, which are measured by the labels they have: 'a' (8 rows), 'b' (8 rows)"
        in err
    )
