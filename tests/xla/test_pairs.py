"""Pairs on virtual cores: token types are an input of a fixed shape, and every graph is known before the first step."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, read_csv
from tests.pair_forms import LENGTH, make_encoder, write_pairs
from tests.xla.test_runs import metrics, train


def test_symmetric_pairs_agree_with_one_process(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.csv")
    flags = [
        "--model.name", str(make_encoder(tmp_path / "bert", "bert")), "--data.train", str(pairs),
        "--data.text", "first", "--data.pair", "second", "--data.symmetric", "true",
        "--data.validation", "0.3", "--data.test", str(pairs),
        "--data.max_length", str(LENGTH), "--training.learning_rate", "1e-3", "--training.lr_scaling", "none",
    ]  # fmt: skip
    cores, one = tmp_path / "cores", tmp_path / "one"
    stderr = train(cores, [*flags, "--strategy", "xla", "--virtual_cores", "2", "--batch.size", "4"])
    assert "not announced" not in stderr
    assert "graphs compiled for" not in stderr
    hardware = metrics(cores)["hardware"]
    assert 0 < hardware["programs_compiled"] <= hardware["programs_announced"]
    command = [
        sys.executable,
        "-m",
        "accel_clf.cli",
        "train",
        *flags,
        "--batch.size",
        "8",
        "--training.precision",
        "fp32",
    ]
    subprocess.run([*command, "--output", str(one)], check=True, timeout=600, cwd=REPOSITORY)
    scores, expected = ([float(row["score:same"]) for row in read_csv(run / "predictions.csv")] for run in (cores, one))
    assert scores == pytest.approx(expected, abs=1e-4)
