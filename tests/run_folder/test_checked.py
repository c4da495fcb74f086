"""The JSON files of a run folder: what training writes is read, and whatever lacks what is read of it is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from accel_clf.core.errors import UserError
from accel_clf.run_folder.checked import read_log, read_object
from accel_clf.run_folder.layout import truncate_log
from accel_clf.run_folder.shapes import DataFacts, Environment, Folds, JointResults, RunResults
from tests.reports.folders import TARGETS, write_cross_validation, write_run

SHAPES: dict[str, type] = {
    "run/metrics.json": RunResults, "run/environment.json": Environment, "run/rows.json": DataFacts,
    "cv/metrics.json": JointResults, "cv/folds.json": Folds,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "run", TARGETS["single_label"], 30)
    write_cross_validation(folder / "cv", TARGETS["single_label"], 30)
    return folder


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_written_is_read(name: str, folder: Path) -> None:
    content = json.loads((folder / name).read_text())
    assert read_object(folder / name, SHAPES[name]) == content
    assert read_object(folder / "none.json", SHAPES[name]) == {}


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("run/metrics.json", ["training"], None),
        ("run/metrics.json", ["test"], None),
        ("run/metrics.json", ["test", "rows"], 0),
        ("run/metrics.json", ["test", "accuracy"], None),
        ("run/metrics.json", ["test", "confusion"], [[1]]),
        ("run/metrics.json", ["test", "confusion"], {"entries": [[0, 3, 1]]}),
        ("run/metrics.json", ["test", "per_class", "bad", "f1"], "1"),
        ("run/metrics.json", ["test", "slices", "de"], {}),
        ("run/environment.json", ["command"], "train"),
        ("run/environment.json", ["total_steps"], "9"),
        ("run/rows.json", ["splits"], {}),
        ("run/rows.json", ["splits", "train", "lengths", "edges"], []),
        ("cv/metrics.json", ["each"], []),
        ("cv/metrics.json", ["out_of_fold"], {}),
        ("cv/folds.json", ["folds"], 0),
    ],
)
def test_what_cannot_be_read_is_named(name: str, place: list[str], value: Any, folder: Path, tmp_path: Path) -> None:
    content = json.loads((folder / name).read_text())
    part = content
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    path = tmp_path / "file.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as refused:
        read_object(path, SHAPES[name])
    assert f"{path} cannot be read" in refused.value.got and place[0] in refused.value.got
    assert refused.value.fix


LINE = '{"event": "train", "step": 10, "loss": 0.5}\n'


@pytest.mark.parametrize("end", ["", LINE[:20], "\xff"])
def test_a_last_line_that_is_being_written_is_none(end: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_log(path) == []
    path.write_bytes((LINE + end).encode("latin-1"))
    assert read_log(path) == [json.loads(LINE)]
    truncate_log(tmp_path, 10)
    assert path.read_text() == LINE


@pytest.mark.parametrize("line", ["{bad", "\xff", "3", "[]", "{}", '{"event": "train", "step": 1, "loss": null}'])
def test_another_line_is_damage(line: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(f"{line}\n{LINE}".encode("latin-1"))
    for read in (read_log, lambda path: truncate_log(path.parent, 10)):
        with pytest.raises(UserError, match="cannot be read") as refused:
            read(path)
        assert str(path) in refused.value.got
