"""Two processes under `accelerate launch` equal one with the same global batch."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.conftest import REPOSITORY


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def launch(config_file: str, output: Path, *flags: object) -> None:
    """Run `accelerate launch` on the script, as users do."""
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    command += ["--main_process_port", str(free_port())]
    command += ["--config_file", str(REPOSITORY / "accelerate_configs" / config_file)]
    command += [str(REPOSITORY / "accel_clf" / "train.py"), *map(str, flags), "--output", str(output)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert process.returncode == 0, process.stderr


def log_lines(run: Path, event: str) -> list[dict[str, Any]]:
    """Read the lines of metrics.jsonl that are of one event."""
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in log if line["event"] == event]


@pytest.fixture(scope="module")
def two_and_one(tmp_path_factory: pytest.TempPathFactory, reviews: Path) -> tuple[Path, Path]:
    """Run folders: the demo's encoder (no dropout) on 403 rows, 101 of them for validation; nothing divides evenly."""
    folder = tmp_path_factory.mktemp("processes")
    flags = ["--model.name", "demo", "--data.train", reviews, "--data.validation", 0.25, "--data.test", reviews]
    flags += ["--training.epochs", 2, "--training.lr_scaling", "none", "--evaluation.baseline", "false"]
    launch("multi_cpu.yaml", folder / "two", *flags, "--batch.size", 8, "--batch.accumulate", 2)
    launch("cpu.yaml", folder / "one", *flags, "--batch.size", 32)
    return folder / "two", folder / "one"


def test_weights_agree(two_and_one: tuple[Path, Path]) -> None:
    two, one = (load_file(run / "model" / "model.safetensors") for run in two_and_one)
    assert max(float((two[name] - one[name]).abs().max()) for name in one) < 1e-5


def test_losses_agree(two_and_one: tuple[Path, Path]) -> None:
    two, one = (log_lines(run, "train") for run in two_and_one)
    assert [line["step"] for line in two] == [line["step"] for line in one] != []
    for line, expected in zip(two, one, strict=True):
        assert line["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        assert line["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-4)


def test_every_row_is_counted_once(two_and_one: tuple[Path, Path]) -> None:
    for run in two_and_one:
        metrics = json.loads((run / "metrics.json").read_text())
        assert metrics["validation"]["rows"] == 101
        ids = [int(line.split(",")[0]) for line in (run / "predictions.csv").read_text().splitlines()[1:]]
        assert ids == list(range(403))
    two, one = ((run / "predictions.csv").read_text().splitlines() for run in two_and_one)
    for line, expected in zip(two[1:], one[1:], strict=True):
        assert line.split(",")[:3] == expected.split(",")[:3]
        assert float(line.split(",")[3]) == pytest.approx(float(expected.split(",")[3]), abs=1e-5)


def test_both_processes_are_recorded(two_and_one: tuple[Path, Path]) -> None:
    two, one = (json.loads((run / "environment.json").read_text()) for run in two_and_one)
    assert (two["processes"], one["processes"]) == (2, 1)
