"""A run on eight virtual cores that is killed or stopped ends with the same bits as one that is not."""

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
from benchmarks.chaos import last_saved_step, outcome
from tests.conftest import REPOSITORY, make_bert, write_csv
from tests.forked import Forked, command

StartRun = Callable[..., Any]


@pytest.fixture(scope="module", params=["xla", "accelerate"])
def start(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> StartRun:
    """Start a run of 24 steps of one width, with dropout and a checkpoint every other step."""
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
        """Start the run in a new process group, by itself or by `accelerate launch`."""
        path = output_path(output)
        if not launched:
            return Forked(command(["train", *flags, "--virtual_cores", 8, "--output", output], os.setsid), path, path)
        with path.open("w") as file:
            return subprocess.Popen(
                [sys.executable, *launcher, "accel_clf/train.py", *flags, "--output", str(output)],
                stdout=file, stderr=file, text=True, cwd=REPOSITORY, start_new_session=True,
                env={**os.environ, "ACCEL_CLF_VIRTUAL_CORES": "8"},
            )  # fmt: skip

    return call


@pytest.fixture(scope="module")
def reference(start: StartRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed run."""
    run = tmp_path_factory.mktemp("reference") / "run"
    assert start(run).wait(300) == 0, output_of(run)
    return run


def output_path(run: Path) -> Path:
    return Path(f"{run}.output")


def output_of(run: Path) -> str:
    """Return what a run has written since its last start."""
    return output_path(run).read_text()


def wait_for_steps(process: Any, run: Path, steps: int) -> None:
    deadline, first = time.monotonic() + 200, last_saved_step(run)
    while last_saved_step(run) < first + steps:
        assert process.poll() is None, output_of(run)
        assert time.monotonic() < deadline, output_of(run)
        time.sleep(0.01)


def test_five_kills(start: StartRun, reference: Path, tmp_path: Path) -> None:
    """Of the process group, or only of the process that the user has started: its cores then exit, too."""
    run, rng = tmp_path / "run", random.Random(0)
    for kill in range(5):
        process = start(run)
        wait_for_steps(process, run, 2)
        time.sleep(rng.uniform(0, 0.5))
        if kill % 2:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL, output_of(run)
    assert start(run).wait(300) == 0, output_of(run)
    assert "resuming after step" in output_of(run)
    assert outcome(run) | {"metrics": None} == outcome(reference) | {"metrics": None}
    assert outcome(run)["metrics"]["training"] == outcome(reference)["metrics"]["training"]


def test_signal_saves_and_stops(
    start: StartRun, reference: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """SIGTERM to `accel-clf train`, as by a process manager; or SIGINT to the group of `accelerate launch`.

    A terminal sends the latter. That launcher starts the cores in another process, and does not forward signals.
    """
    run, launched = tmp_path / "run", request.node.callspec.params["start"] == "accelerate"
    process = start(run, launched)
    wait_for_steps(process, run, 4)
    if launched:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    assert process.wait(60) == (130 if launched else 143), output_of(run)
    saved, damaged = newest(run / "checkpoints")
    assert saved
    assert not damaged
    *_, stopped, to_resume, resume_command = output_of(run).splitlines()
    assert f"stopped after step {saved.step}, whose state is saved" in stopped
    assert to_resume == "to resume:"
    assert ("accelerate.commands.launch --config_file" in resume_command) == launched
    assert resume_command.startswith("ACCEL_CLF_VIRTUAL_CORES=8 " if launched else "accel-clf train --model.name")
    assert start(run, launched).wait(300) == 0, output_of(run)
    assert outcome(run)["weights"] == outcome(reference)["weights"]
    assert outcome(run)["optimizer"] == outcome(reference)["optimizer"]
    assert ("8 virtual XLA cores by Accelerate" in output_of(run)) == launched
    assert "all 8 ended with the same weights" in output_of(run)
    assert output_of(run).count("run folder:") == 1  # only rank 0 logs
