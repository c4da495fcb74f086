"""What trackers are told of a run."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel_clf.tracking.content import GRID_LABELS, LogReader, metric_name, read_results, read_settings


def line(step: int, event: str = "train") -> str:
    return json.dumps({"event": event, "step": step, "loss": 0.5}) + "\n"


def test_lines_are_read_as_they_are_completed(tmp_path: Path) -> None:
    log = LogReader(tmp_path)
    assert log.new_lines() == []  # no file yet
    path = tmp_path / "metrics.jsonl"
    path.write_text(line(10) + line(20)[:9])
    assert [read.step for read in log.new_lines()] == [10]
    with path.open("a") as file:
        file.write(line(20)[9:])
    assert [(read.event, read.step, read.values) for read in log.new_lines()] == [("train", 20, {"train/loss": 0.5})]
    assert not log.starts_over
    assert log.new_lines() == []


def test_a_log_that_a_resumed_run_has_replaced_is_read_again(tmp_path: Path) -> None:
    path, log = tmp_path / "metrics.jsonl", LogReader(tmp_path)
    path.write_text(line(10) + line(20) + line(30))
    assert len(log.new_lines()) == 3
    (tmp_path / "new").write_text(line(10))
    os.replace(tmp_path / "new", path)
    assert [read.step for read in log.new_lines()] == [10]
    assert log.starts_over


def test_settings_are_flat(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("data: {text: [title, body], limit: null}\ntraining: {epochs: 3}\n")
    expected = {"data.text": '["title", "body"]', "data.limit": "null", "training.epochs": 3}
    assert read_settings(tmp_path) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("accuracy", "final/accuracy"), ("f1:größe", "final/f1:größe"), ("f1:a|b(c)", "final/f1:a_b_c_-d89d1c96")],
)
def test_names_are_those_that_all_trackers_take(name: str, expected: str) -> None:
    assert metric_name("final", name) == expected


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(["c+", "c#", "..", "a//b"])))
def test_names_stay_apart_and_lead_nowhere_else(labels: list[str]) -> None:
    from mlflow.utils.validation import _validate_metric_name

    names = {metric_name("final", "test", "thresholds", label) for label in labels}
    assert len(names) == len(set(labels))
    for name in names:
        _validate_metric_name(name)
        assert name.count("/") == 3


def results(folder: Path, content: dict[str, Any]) -> Any:
    (folder / "metrics.json").write_text(json.dumps(content))
    return read_results(folder)


def test_results_are_averages_and_confusions(tmp_path: Path) -> None:
    part = {
        "rows": 3,
        "accuracy": 2 / 3,
        "per_class": {"bad": {"f1": 1}, "good": {"f1": 0}},
        "confusion": [[1, 0], [1, 1]],
    }
    values, tables = results(tmp_path, {"training": {"steps": 9, "stopped_early": False}, "test": part})
    assert values == {"final/training/steps": 9, "final/test/rows": 3, "final/test/accuracy": 2 / 3}
    [table] = tables
    assert table.name == "final/test/confusion"
    assert table.columns[1:] == ["bad", "good"]
    assert table.rows == [["bad", 1, 0], ["good", 1, 1]]


def test_results_of_a_cross_validation(tmp_path: Path) -> None:
    part = {"accuracy": 0.5, "per_class": {"a": {}, "b": {}}, "confusion": [[1, 0], [1, 0]]}
    content = {"folds": 2, "mean": {"accuracy": 0.5}, "each": [{"accuracy": 0.5}], "test": {"ensemble": part}}
    values, tables = results(tmp_path, content)
    assert values == {"final/folds": 2, "final/mean/accuracy": 0.5, "final/test/ensemble/accuracy": 0.5}
    assert [table.name for table in tables] == ["final/test/ensemble/confusion"]


@pytest.mark.parametrize("is_sparse", [True, False])
def test_confusions_of_many_labels_are_listed(tmp_path: Path, is_sparse: bool) -> None:
    count = GRID_LABELS + 1
    entries = [[row, row, 2] for row in range(count)] + [[0, 1, 5]]
    matrix = [[2 * (row == column) for column in range(count)] for row in range(count)]
    matrix[0][1] = 5
    confusion = {"entries": entries} if is_sparse else matrix
    _, [table] = results(tmp_path, {"test": {"per_class": {f"l{n}": {} for n in range(count)}, "confusion": confusion}})
    assert table.columns == ["label", "predicted", "rows"]
    assert ["l0", "l1", 5] in table.rows
    assert len(table.rows) == count + 1
