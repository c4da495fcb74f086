"""Texts that the model fails on end a command, which names the first one's row, or are left without an answer."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import accel_clf
from accel_clf.cli.main import main
from accel_clf.core.errors import DataError
from accel_clf.core.exit_codes import DATA, DONE
from tests.conftest import BAD, Cli, read_csv, write_csv

REASON = "IndexError: index out of range in self"
TEXTS = ["a dull film", f"a {BAD} film", "", "superb", f"{BAD} {BAD}", "never dull"] * 20


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """120 rows, of which the model fails on 40; the first is on line 3."""
    rows = [(text, ("positive", "negative")[number % 2]) for number, text in enumerate(TEXTS)]
    return write_csv(tmp_path / "data.csv", rows)


def test_predict_and_evaluate_name_the_row(
    run_with_bad_word: Path, data: Path, refused: Callable[..., str], tmp_path: Path
) -> None:
    output = tmp_path / "out.csv"
    message = refused(DATA, "predict", run_with_bad_word, "--data", data, "--output", output)
    assert f"{data}, line 3: the model fails on this text ({REASON})" in message
    assert "--errors skip" in message
    assert not output.exists()
    message = refused(DATA, "evaluate", run_with_bad_word, "--data", data)
    assert f"{data}, line 3: the model fails on this text ({REASON})" in message
    assert "40 of 120 rows" in message
    assert "text 2: the model fails" in refused(DATA, "predict", run_with_bad_word, "dull", BAD)
    with pytest.raises(DataError, match="text 2: the model fails"):
        accel_clf.load(run_with_bad_word).predict(["dull", BAD])


def test_lines_of_standard_input_are_named(run_with_bad_word: Path, cli: Cli) -> None:
    process = cli("predict", run_with_bad_word, input=f"dull\nsuperb\n{BAD}\n".encode())
    assert process.returncode == DATA
    assert "standard input, line 3: the model fails" in process.stderr


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_others_are_answered_as_beside_better_ones(
    suffix: str, run_with_bad_word: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the bit: beside texts of the same lengths that the model takes."""
    better = write_csv(tmp_path / "better.csv", [(text.replace(BAD, "soup"), "") for text in TEXTS])
    tables = []
    for source in (data, better):
        output = tmp_path / f"{source.stem}-out{suffix}"
        command = ["predict", run_with_bad_word, "--data", source, "--output", output, "--errors", "skip"]
        assert main(list(map(str, command))) == DONE
        if suffix == ".jsonl":
            tables.append([json.loads(line) for line in output.read_text().splitlines()])
        elif suffix == ".parquet":
            tables.append(pq.read_table(output).to_pylist())
        else:
            lines = output.read_text().splitlines()
            separator = "," if suffix == ".csv" else "\t"
            tables.append(
                [dict(zip(lines[0].split(separator), line.split(separator), strict=True)) for line in lines[1:]]
            )
    told = capsys.readouterr().err
    assert (
        f"warning: 40 rows without an answer, since the model fails on their texts; the first: {data}, line 3" in told
    )
    assert "better.csv" not in told
    answered, beside_better = tables
    assert len(answered) == len(beside_better) == 120
    columns = ["predicted", "scores"] if suffix == ".jsonl" else ["predicted", "score", "score:negative"]
    for row, right in zip(answered, beside_better, strict=True):
        if BAD in row["text"]:
            assert row["error"] == REASON
            assert not any(row.get(column) for column in columns)
        else:
            assert [row[column] for column in columns] == [right[column] for column in columns]
            assert not row["error"]


def test_printed_answers(run_with_bad_word: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["predict", str(run_with_bad_word), "dull", BAD, "--errors", "skip"]
    assert main(command) == DONE
    good, failed = capsys.readouterr().out.splitlines()
    assert good.endswith("  dull")
    assert failed == f"error: {REASON}  {BAD}"
    assert main([*command, "--json"]) == DONE
    good, failed = capsys.readouterr().out.splitlines()
    assert json.loads(good)["error"] is None
    assert json.loads(failed) == {"text": BAD, "label": None, "error": REASON}


def test_without_failures_nothing_is_told(run: Path, reviews: Path, tmp_path: Path, cli: Cli) -> None:
    outputs = [tmp_path / "stop.csv", tmp_path / "skip.csv"]
    for output in outputs:
        process = cli("predict", run, "--data", reviews, "--output", output, "--errors", output.stem)
        assert process.returncode == DONE
        assert "without an answer" not in process.stderr
    stopping, skipping = map(read_csv, outputs)
    assert [{**row, "error": ""} for row in stopping] == skipping
