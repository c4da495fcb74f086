"""How files are read: settings of a run, which other files of it are read by, and flags that replace them."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import accel_clf
from accel_clf.core.exit_codes import DATA, DONE, USAGE
from tests.conftest import Cli, read_csv

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory, reviews: Path) -> tuple[Path, Path]:
    """The same rows twice: without a header, with semicolons, in cp1252; and as a plain CSV of other columns."""
    folder = tmp_path_factory.mktemp("tables")
    rows = [(row["label"], f"{row['text']}; schön") for row in read_csv(reviews)[:80]]
    bare, plain = folder / "bare.csv", folder / "plain.csv"
    with bare.open("w", encoding="cp1252", newline="") as file:
        csv.writer(file, delimiter=";").writerows(rows)
    with plain.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("kind", "body"), *rows])
    return bare, plain


@pytest.fixture(scope="module")
def bare_run(tables: tuple[Path, Path], tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = {"text": 2, "label": 1, "separator": ";", "encoding": "cp1252", "header": False, "max_length": 32}
    output = tmp_path_factory.mktemp("runs") / "bare"
    accel_clf.train(
        {"model": {"name": str(tiny_bert)}, "data": {"train": str(tables[0]), **settings}, "output": str(output)}
    )
    return output


FLAGS = ("--separator", ",", "--encoding", "utf-8", "--header", "true", "--text", "body")


def test_files_are_read_as_the_runs_own(bare_run: Path, tables: tuple[Path, Path], cli: Cli, tmp_path: Path) -> None:
    bare, plain = tables
    evaluated = cli("evaluate", bare_run, "--data", bare, "--json")
    assert evaluated.returncode == DONE, evaluated.stderr
    assert cli("evaluate", bare_run, "--data", plain, *FLAGS, "--label", "kind", "--json").stdout == evaluated.stdout
    run = accel_clf.load(bare_run)
    flags = dict(zip((flag.removeprefix("--") for flag in FLAGS[::2]), FLAGS[1::2], strict=True)) | {"header": True}
    for metrics in (run.evaluate(bare), run.evaluate(plain, label="kind", **flags)):
        assert metrics["accuracy"] == json.loads(evaluated.stdout)["accuracy"]
    predicted = cli("predict", bare_run, "--data", bare, "--json")
    assert predicted.returncode == DONE, predicted.stderr
    assert "schön" in predicted.stdout
    assert cli("predict", bare_run, "--data", plain, *FLAGS, "--json").stdout == predicted.stdout
    by_kind = ("--separator", "null", *FLAGS[2:])
    assert cli("predict", bare_run, "--data", plain, *by_kind, "--json").stdout == predicted.stdout
    lines = tmp_path / "texts.txt"
    lines.write_text("".join(f"{row['body']}\n" for row in read_csv(plain)), encoding="cp1252")
    assert cli("predict", bare_run, "--data", lines, "--json").stdout == predicted.stdout


def test_flags_that_a_message_names_are_known(
    bare_run: Path, tables: tuple[Path, Path], cli: Cli, refused: Refused
) -> None:
    message = refused(DATA, "predict", bare_run, "--data", tables[0], "--separator", "|", "--encoding", "utf-8")
    flags = message.partition("looks like ; and cp1252: ")[2].replace("'", "").split()
    assert flags == ["--data.separator", ";", "--data.encoding", "cp1252"]
    assert cli("predict", bare_run, "--data", tables[0], *flags).returncode == DONE
    assert "separator is ';;'" in refused(USAGE, "evaluate", bare_run, "--data", tables[0], "--separator", ";;")


def test_another_encoding_than_that_of_the_settings_is_noted(
    bare_run: Path, tables: tuple[Path, Path], cli: Cli
) -> None:
    predicted = cli("predict", bare_run, "--data", tables[1], "--separator", ",", "--header", "true", "--text", "body")
    assert predicted.returncode == DONE
    assert predicted.stderr.count("looks like utf-8") == 1
