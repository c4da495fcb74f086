"""Damaged and missing files of runs: `report`, `compare` and `watch` read what is left, or say which file it is."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from accel_clf.cli.main import main
from accel_clf.core.errors import UserError
from accel_clf.reports.html.report import render_report
from tests.reports.folders import TARGETS, write_cross_validation, write_run

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "cut before a line": lambda content: b"".join(content.splitlines(keepends=True)[:2]),
    "binary": lambda _: bytes(range(256)) + b"\n",
    "a list": lambda _: b"[]\n",
    "a number": lambda _: b"3\n",
    "an object": lambda _: b"{}\n",
    "an object in it": lambda content: content + b"{}\n",
}
MADE = {"run": write_run, "cv": write_cross_validation}
FILES = {
    "run": (
        "config.yaml", "environment.json", "examples.csv", "metrics.json", "metrics.jsonl", "model/config.json",
        "predictions.csv", "rows.json", "slices.csv",
    ),
    "cv": (
        "config.yaml", "examples.csv", "fold-0/config.yaml", "fold-0/environment.json", "fold-0/metrics.json",
        "fold-0/metrics.jsonl", "fold-0/model/config.json", "folds.json", "metrics.json", "out_of_fold.csv",
        "rows.json", "slices.csv", "suspect_labels.csv", "temperatures.json",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    made = {kind: make(folder / kind, TARGETS["single_label"], 30) for kind, make in MADE.items()}
    for kind, path in made.items():
        files = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
        assert sorted(files) == sorted(FILES[kind]), "all of them are damaged"
    return made


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in FILES.items() for name in names])
def test_no_damage_is_an_internal_error(
    kind: str, name: str, folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(folders[kind], tmp_path / kind)
    content = (folder / name).read_bytes()
    commands = {
        "report": ["report", str(folder), "--output", str(tmp_path / "report.html")],
        "watch": ["watch", str(folder), "--once"],
        "compare": ["compare", str(folders[kind]), str(folder), "--resamples", "100", "--texts", "none"],
    }
    for damage, damaged in {**DAMAGES, "missing": None}.items():
        if damaged:
            (folder / name).write_bytes(damaged(content))
        else:
            (folder / name).unlink()
        for command, arguments in commands.items():
            code, error = main(arguments), capsys.readouterr().err
            assert (code == 0) == (error == ""), (damage, command)
            assert "--debug" not in error, (damage, command, "an internal error")
            if damaged and command != "compare":
                assert code == 0 or str(folder / name) in error, (damage, command)


def titles(page: str) -> set[str]:
    return set(re.findall(r"<h2[^>]*>(.*?)</h2>", page))


@pytest.mark.parametrize("kind", ["single_label", "multi_label", "regression"])
@pytest.mark.parametrize("missing", ["model/config.json", "predictions.csv"])
def test_a_report_names_what_is_missing_and_what_needs_it(kind: str, missing: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", TARGETS[kind], 30)
    whole = render_report(folder)
    assert "missing" not in whole
    (folder / missing).unlink()
    page = render_report(folder)
    line = re.search(rf"<p>{re.escape(missing)} is missing. Left out because of that: (.*)\.</p>", page)
    assert line
    assert set(line[1].split(", ")) == titles(whole) - titles(page) != set()
    assert "nothing is saved yet" not in page


def test_a_table_of_other_rows_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", TARGETS["single_label"], 30)
    path = folder / "predictions.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:11]))
    with pytest.raises(UserError, match="has 10 rows") as refused:
        render_report(folder)
    assert str(path) in refused.value.got and refused.value.expected.startswith("30,")
    folder = write_cross_validation(tmp_path / "cv", TARGETS["single_label"], 30)
    path = folder / "suspect_labels.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(UserError, match="has 2 rows"):
        render_report(folder)
    path.unlink()
    assert "suspect_labels.csv is missing" in render_report(folder)


def test_folds_without_the_file_that_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_cross_validation(tmp_path / "cv", TARGETS["single_label"], 30)
    (folder / "folds.json").unlink()
    for arguments in (["report", str(folder)], ["watch", str(folder), "--once"]):
        assert main(arguments) == 1
        assert "has folds, but no folds.json" in capsys.readouterr().err
