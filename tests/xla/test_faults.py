"""Eight virtual cores killed and stopped: the end is the one that the run would have had, bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accel_clf.training.checkpoint import newest
from benchmarks.chaos import outcome
from tests.conftest import REPOSITORY, make_bert, write_csv
from tests.faults.harness import saved
from tests.forked import Forked, command

StartRun = Callable[..., Any]


@pytest.fixture(scope="module", params=["xla", "accelerate"])
def start(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> StartRun:
    """24 steps of one width, dropout on, a checkpoint every other step."""
    from accel_clf.data.demo_corpus import reviews

    folder = tmp_path_factory.mktemp("rows")
    rows = write_csv(folder / "train.csv", [(text[:60], label) for text, label in reviews(96)])
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    encoder = make_bert(tmp_path_factory.mktemp("encoder"), rows, 16, **shape)
    flags = ["--model.name", str(encoder), "--data.train", str(rows), "--data.validation", "null"]
    flags += ["--data.max_length", "16", "--batch.size", "1", "--training.epochs", "2", "--strategy", request.param]
    flags += ["--training.learning_rate", "1e-3", "--checkpoint.every", "2"]
    launcher = ["-m", "accelerate.commands.launch", "--config_file", "accelerate_configs/tpu.yaml"]

    def call(output: Path, launched: bool = False) -> "subprocess.Popen[str] | Forked":
        """A process that leads a group of its own."""
        told = Path(f"{output}.said")
        if not launched:
            return Forked(command(["train", *flags, "--virtual_cores", 8, "--output", output], os.setsid), told, told)
        with told.open("w") as said:
            return subprocess.Popen(
                [sys.executable, *launcher, "accel_clf/train.py", *flags, "--output", str(output)],
                stdout=said, stderr=said, text=True, cwd=REPOSITORY, start_new_session=True,
                env={**os.environ, "ACCEL_CLF_VIRTUAL_CORES": "8"},
            )  # fmt: skip

    return call


@pytest.fixture(scope="module")
def whole(start: StartRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("whole") / "run"
    assert start(output).wait(300) == 0, told(output)
    return output


def told(output: Path) -> str:
    return Path(f"{output}.said").read_text()


def wait_for_steps(process: Any, output: Path, steps: int) -> None:
    until, first = time.monotonic() + 200, saved(output)
    while saved(output) < first + steps:
        assert process.poll() is None, told(output)
        assert time.monotonic() < until, told(output)
        time.sleep(0.01)


def test_killed_five_times(start: StartRun, whole: Path, tmp_path: Path) -> None:
    """All of it, or the process that the user has started, whose cores follow it."""
    output, draw = tmp_path / "run", random.Random(0)
    for kill in range(5):
        process = start(output)
        wait_for_steps(process, output, 2)
        time.sleep(draw.uniform(0, 0.5))
        if kill % 2:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL, told(output)
    assert start(output).wait(300) == 0, told(output)
    assert "resuming after step" in told(output)
    assert outcome(output) | {"metrics": None} == outcome(whole) | {"metrics": None}
    ends = [outcome(run)["metrics"]["training"] for run in (output, whole)]
    assert ends[0] == ends[1]


def test_a_signal(start: StartRun, whole: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """To `accel-clf train`, as a manager of processes sends it; or as a terminal does to `accelerate launch` and all.

    That launcher starts the cores in a process of its own, and knows nothing of signals.
    """
    output, launched = tmp_path / "run", request.node.callspec.params["start"] == "accelerate"
    process = start(output, launched)
    wait_for_steps(process, output, 4)
    if launched:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    assert process.wait(60) == (130 if launched else 143), told(output)
    found, damaged = newest(output / "checkpoints")
    assert found
    assert not damaged
    *_, stopped, to_go_on, last = told(output).splitlines()
    assert f"stopped after step {found.step}, whose state is saved" in stopped
    assert to_go_on == "to resume:"
    assert ("accelerate.commands.launch --config_file" in last) == launched
    assert last.startswith("ACCEL_CLF_VIRTUAL_CORES=8 " if launched else "accel-clf train --model.name")
    assert start(output, launched).wait(300) == 0, told(output)
    assert outcome(output)["weights"] == outcome(whole)["weights"]
    assert outcome(output)["optimizer"] == outcome(whole)["optimizer"]
    assert ("8 virtual XLA cores by Accelerate" in told(output)) == launched
    assert "all 8 ended with the same weights" in told(output)
    assert told(output).count("run folder:") == 1  # one core speaks
