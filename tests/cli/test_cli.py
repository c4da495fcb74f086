"""The commands as processes: texts, files and standard input in; text, CSV and JSON out."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from accel_clf.core.exit_codes import DATA, DONE, USAGE
from accel_clf.strategies.precision import fast_at_bf16
from tests.conftest import Cli

Refused = Callable[..., str]


def test_predict_reads_standard_input(run: Path, cli: Cli) -> None:
    process = cli("predict", run, input=b"first text\n\nthird\n")
    assert process.returncode == DONE, process.stderr
    lines = process.stdout.splitlines()
    assert [line.split("  ", 2)[2] for line in lines] == ["first text", "", "third"]
    assert all(line.split()[0] in ("negative", "positive") for line in lines)


def test_invalid_text_is_refused(run: Path, cli: Cli) -> None:
    process = cli("predict", run, input=b"fine\ncaf\xe9\n")
    assert process.returncode == DATA
    assert "standard input, line 2: not UTF-8" in process.stderr
    process = cli("predict", run, os.fsdecode(b"caf\xe9"))
    assert process.returncode == DATA
    assert "text 1: a lone surrogate" in process.stderr


def test_predict_writes_files(run: Path, reviews: Path, cli: Cli, tmp_path: Path, refused: Refused) -> None:
    for name in ("out.csv", "out.jsonl"):
        assert cli("predict", run, "--data", reviews, "--output", tmp_path / name).returncode == DONE
    with reviews.open() as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    with (tmp_path / "out.csv").open() as file:
        table = list(csv.DictReader(file))
    objects = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["text"] for row in table] == [row["text"] for row in objects] == texts
    for row, record in zip(table, objects, strict=True):
        assert row["predicted"] == record["predicted"]
        assert float(row["score:negative"]) == record["scores"]["negative"]
    assert "exists" in refused(USAGE, "predict", run, "--data", reviews, "--output", tmp_path / "out.csv")


def test_bf16_is_used_on_request(run: Path, reviews: Path, cli: Cli) -> None:
    """Its scores are close to those of fp32, the default, but not equal."""
    scores = []
    for flags in ([], ["--precision", "fp32"], ["--precision", "bf16"]):
        predicted = cli("predict", run, "--data", reviews, "--json", *flags)
        assert predicted.returncode == DONE, predicted.stderr
        assert ("warning" in predicted.stderr) == ("bf16" in flags and not fast_at_bf16())
        scores.append([json.loads(line)["scores"]["negative"] for line in predicted.stdout.splitlines()])
        evaluated = cli("evaluate", run, "--data", reviews, "--json", *flags)
        scores.append([json.loads(evaluated.stdout)["log_loss"]])
    default, default_loss, fp32, fp32_loss, bf16, bf16_loss = scores
    assert (default, default_loss) == (fp32, fp32_loss)
    assert bf16 == pytest.approx(fp32, abs=0.02) and bf16 != fp32
    assert bf16_loss == pytest.approx(fp32_loss, abs=0.02) and bf16_loss != fp32_loss


def test_failed_prediction_writes_no_file(run: Path, tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text\n" + "fine\n" * 3000 + "too,many\n")
    assert "line 3002" in refused(DATA, "predict", run, "--data", path, "--output", tmp_path / "out.csv")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows.csv"]


def test_invalid_arguments_are_refused(run: Path, tmp_path: Path, refused: Refused) -> None:
    assert "no such folder" in refused(USAGE, "predict", tmp_path / "none", "text")
    assert "no trained run" in refused(USAGE, "predict", tmp_path, "text")
    assert "one of them" in refused(USAGE, "predict", run, "text", "--data", "x.csv")
    assert ".csv .tsv .jsonl .parquet" in refused(USAGE, "predict", run, "text", "--output", "x.txt")
    assert "did you mean --split?" in refused(USAGE, "evaluate", run, "--data", "x.csv", "--splt", "dev")
    assert "required: RUN" in refused(USAGE, "predict")
    assert "unrecognized arguments: --verison" in refused(USAGE, "--verison")


def test_evaluate_prints_a_table_or_json(run: Path, reviews: Path, cli: Cli) -> None:
    as_json = json.loads(cli("evaluate", run, "--data", reviews, "--json").stdout)
    results = json.loads((run / "metrics.json").read_text())
    assert as_json["accuracy"] == results["test"]["accuracy"]
    assert as_json["log_loss"] == pytest.approx(results["test"]["log_loss"], abs=1e-5)
    table = cli("evaluate", run, "--data", reviews).stdout
    assert f"accuracy {as_json['accuracy']:.4f}" in table
    assert "as positive" in table


def test_evaluate_refuses_an_unknown_label(run: Path, tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\na,positive\nb,neutral\n")
    assert "line 3: label 'neutral'" in refused(DATA, "evaluate", run, "--data", path)


def test_evaluate_leaves_incomplete_rows_out_on_request(run: Path, tmp_path: Path, refused: Refused, cli: Cli) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\na,positive\nb,\nc,negative\n")
    assert "--incomplete skip" in refused(DATA, "evaluate", run, "--data", path)
    process = cli("evaluate", run, "--data", path, "--incomplete", "skip", "--json")
    assert json.loads(process.stdout)["rows"] == 2
    assert f"{path}: 1 of 3 rows left out" in process.stderr


def test_predict_never_leaves_a_row_out(run: Path, tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n{"text": null}\n')
    assert f"{path}, line 2: column 'text' is null" in refused(DATA, "predict", run, "--data", path)


def test_doctor_prints_versions_and_hardware(cli: Cli) -> None:
    report = json.loads(cli("doctor", "--json").stdout)
    assert report["versions"]["accel_clf"]
    assert "accelerate: " in report["would use"]
    assert report["would use"] in cli("doctor").stdout


def test_terminal_shows_a_bar_and_a_pipe_lines(reviews: Path, tiny_bert: Path, tmp_path: Path, cli: Cli) -> None:
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    command = ["train", "--model.name", str(tiny_bert), "--data.train", str(reviews), "--data.max_length", "64"]
    piped = cli(*command, "--output", tmp_path / "piped")
    assert piped.returncode == DONE, piped.stderr
    assert "\x1b" not in piped.stderr + piped.stdout
    master, terminal = pty.openpty()
    command = [sys.executable, "-m", "accel_clf.cli", *command, "--output", str(tmp_path / "terminal")]
    with subprocess.Popen(command, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        output = b""
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:  # how Linux reports the end of a terminal
                break
            if not chunk:
                break
            output += chunk
        assert process.wait(timeout=300) == DONE
    os.close(master)
    assert "training" in output.decode()
    assert "\x1b[" in output.decode()
    assert "rows/s" in output.decode()
