"""SIGTERM and SIGINT: all processes save the same step, print how to resume, and exit (cases 7 and 8)."""

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accel_clf.training.checkpoint import newest
from tests.faults.harness import LaunchedRun

MakeRun = Callable[..., LaunchedRun]


@pytest.fixture
def make_run(tmp_path: Path, reviews: Path, tiny_bert: Path) -> MakeRun:
    def make(name: str, *flags: object, processes: int = 1) -> LaunchedRun:
        args: list[object] = ["--model.name", tiny_bert, "--data.train", reviews, "--data.max_length", 64]
        args += ["--data.validation", 0.25, "--training.epochs", 4, "--training.learning_rate", 1e-3]
        return LaunchedRun([*args, "--batch.size", 16 // processes, *flags], tmp_path / name, processes)

    return make


def saved_step(run: LaunchedRun) -> int:
    """Return the step of the newest checkpoint, which must be intact."""
    saved, damaged = newest(run.folder / "checkpoints")
    assert saved
    assert not damaged
    return saved.step


def slow_down(rank: int, seconds: float) -> None:
    """Make every forward pass slow, so that a signal reaches the run at the intended step."""
    from torch import nn

    call = nn.Module.__call__

    def slow_call(module: nn.Module, *args: Any, **options: Any) -> Any:
        if type(module).__name__.endswith("ForSequenceClassification"):
            time.sleep(seconds)
        return call(module, *args, **options)

    nn.Module.__call__ = slow_call  # type: ignore[method-assign]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_in_a_step(make_run: MakeRun, signum: int, code: int) -> None:
    reference = make_run("reference")
    assert reference.start().wait() == [0], reference.output()
    run = make_run("run").start(before=slow_down, before_arg=0.02)
    run.wait_for('"step": 10,')
    os.kill(run.ranks[0].pid, signum)
    assert run.wait(20) == [code]
    assert f"stopped after step {saved_step(run)}, whose state is saved" in run.output()
    last_line = run.output().splitlines()[-1]
    assert last_line == shlex.join(["accel-clf", "train", *run.args])
    assert run.start().wait() == [0], run.output()
    assert run.outcome() == reference.outcome()


def test_signal_in_an_evaluation(make_run: MakeRun) -> None:
    """The evaluation is abandoned, and made up for when the run resumes: only its time is lost."""
    flags = ("--evaluation.every", 20, "--data.validation", 0.9)
    reference, run = make_run("reference", *flags), make_run("run", *flags)
    assert reference.start().wait() == [0], reference.output()
    # 40 rows are 3 steps per epoch, 12 in all; the model is evaluated after the last.
    run.start(before=slow_down, before_arg=0.1).wait_for('"step": 12,')
    os.kill(run.ranks[0].pid, signal.SIGTERM)
    assert run.wait(20) == [143]
    assert saved_step(run) == 12
    assert "validation" not in (run.folder / "metrics.jsonl").read_text()
    assert run.start().wait() == [0], run.output()
    assert run.outcome() == reference.outcome()


def test_second_signal_ends_the_run_at_once(make_run: MakeRun) -> None:
    run = make_run("run").start(before=slow_down, before_arg=60)
    run.wait_for("command", run.folder / "environment.json")  # written after the handlers are installed
    os.kill(run.ranks[0].pid, signal.SIGTERM)
    run.wait_for("SIGTERM: saving", run.output_path)
    os.kill(run.ranks[0].pid, signal.SIGTERM)
    assert run.wait(2.5) == [143]  # a step takes a minute
    assert not (run.folder / "checkpoints").exists()
    assert run.start().wait() == [0], run.output()


def test_signal_before_there_is_anything_to_save(make_run: MakeRun) -> None:
    run = make_run("run").start(before=signal_while_reading)
    assert run.wait(20) == [143]
    assert run.output().splitlines()[-1].startswith("accel-clf train --model.name")
    assert not run.folder.exists()


def signal_while_reading(rank: int, _: object) -> None:
    """Make the process send itself SIGTERM while it reads the rows."""
    from accel_clf.data import splits

    def load(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    splits.load = load  # type: ignore[assignment]


@pytest.mark.parametrize("rank", [0, 1])
def test_signal_to_one_of_two_processes(make_run: MakeRun, rank: int) -> None:
    """Both save the same step, whichever of them receives it."""
    reference, run = make_run("reference", processes=2), make_run("run", processes=2)
    assert reference.start().wait() == [0, 0], reference.output()
    run.start(before=slow_down, before_arg=0.02).wait_for('"step": 10,')
    os.kill(run.ranks[rank].pid, signal.SIGTERM)
    assert run.wait(30) == [143, 143]
    assert f"stopped after step {saved_step(run)}," in run.output()
    assert run.start().wait() == [0, 0], run.output()
    assert run.outcome() == reference.outcome()


def test_signal_to_one_of_two_processes_in_an_evaluation(make_run: MakeRun) -> None:
    flags = ("--data.validation", 0.9, "--batch.size", 1)
    run = make_run("run", *flags, processes=2).start(before=slow_down, before_arg=0.05)
    run.wait_for('"step": 20,')
    os.kill(run.ranks[1].pid, signal.SIGINT)
    assert run.wait(30) == [130, 130]
    assert saved_step(run) == 20
    assert "validation" not in (run.folder / "metrics.jsonl").read_text()


def test_resume_command_repeats_the_users_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from accel_clf.cli.runner import resume_command
    from accel_clf.config.load import load

    args, config = ["my run.yaml", "--training.epochs", "3"], load(None, {})
    assert resume_command("accel-clf train", args, config) == "accel-clf train 'my run.yaml' --training.epochs 3"
    from_scratch = load(None, {"resume": "never"})
    assert resume_command("accel-clf train", args, from_scratch).endswith(" --training.epochs 3 --resume auto")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    launcher = [sys.executable, "bin/accelerate", "launch", "train.py"]
    monkeypatch.setattr("accel_clf.cli.runner._parent", lambda: launcher)
    assert resume_command("train.py", args, config) == "accelerate launch train.py"
