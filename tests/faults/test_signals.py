"""SIGTERM and SIGINT: saved, told how to go on, and gone; on all processes at the same step (cases 7 and 8)."""

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

Made = Callable[..., LaunchedRun]


@pytest.fixture
def job(tmp_path: Path, reviews: Path, tiny_bert: Path) -> Made:
    def make(name: str, *more: object, processes: int = 1) -> LaunchedRun:
        arguments: list[object] = ["--model.name", tiny_bert, "--data.train", reviews, "--data.max_length", 64]
        arguments += ["--data.validation", 0.25, "--training.epochs", 4, "--training.learning_rate", 1e-3]
        return LaunchedRun([*arguments, "--batch.size", 16 // processes, *more], tmp_path / name, processes)

    return make


def saved_at(run: LaunchedRun) -> int:
    found, damaged = newest(run.folder / "checkpoints")
    assert found
    assert not damaged
    return found.step


def wait_slowly(rank: int, seconds: float) -> None:
    """Make every forward pass slow, so that a signal finds the run where it is wanted."""
    from torch import nn

    forward = nn.Module.__call__

    def slow(module: nn.Module, *arguments: Any, **options: Any) -> Any:
        if type(module).__name__.endswith("ForSequenceClassification"):
            time.sleep(seconds)
        return forward(module, *arguments, **options)

    nn.Module.__call__ = slow  # type: ignore[method-assign]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_in_a_step(job: Made, number: int, code: int) -> None:
    whole = job("whole")
    assert whole.start().wait() == [0], whole.told()
    run = job("run").start(before=wait_slowly, given=0.02)
    run.until('"step": 10,')
    os.kill(run.ranks[0].pid, number)
    assert run.wait(20) == [code]
    assert f"stopped after step {saved_at(run)}, whose state is saved" in run.told()
    last = run.told().splitlines()[-1]
    assert last == shlex.join(["accel-clf", "train", *run.arguments])
    assert run.start().wait() == [0], run.told()
    assert run.outcome() == whole.outcome()


def test_in_an_evaluation(job: Made) -> None:
    """It is given up, and made when the run goes on: nothing is lost but its time."""
    settings = ("--evaluation.every", 20, "--data.validation", 0.9)
    whole, run = job("whole", *settings), job("run", *settings)
    assert whole.start().wait() == [0], whole.told()
    # 40 rows are 3 steps an epoch, 12 in all; the last is measured.
    run.start(before=wait_slowly, given=0.1).until('"step": 12,')
    os.kill(run.ranks[0].pid, signal.SIGTERM)
    assert run.wait(20) == [143]
    assert saved_at(run) == 12
    assert "validation" not in (run.folder / "metrics.jsonl").read_text()
    assert run.start().wait() == [0], run.told()
    assert run.outcome() == whole.outcome()


def test_a_second_one_ends_it_at_once(job: Made) -> None:
    run = job("run").start(before=wait_slowly, given=60)
    run.until("command", run.folder / "environment.json")  # written when signals are noted already
    os.kill(run.ranks[0].pid, signal.SIGTERM)
    run.until("SIGTERM: saving", run.said)
    os.kill(run.ranks[0].pid, signal.SIGTERM)
    assert run.wait(2.5) == [143]  # a step takes a minute
    assert not (run.folder / "checkpoints").exists()
    assert run.start().wait() == [0], run.told()


def test_before_there_is_anything_to_save(job: Made) -> None:
    run = job("run").start(before=wait_for_the_signal)
    assert run.wait(20) == [143]
    assert run.told().splitlines()[-1].startswith("accel-clf train --model.name")
    assert not run.folder.exists()


def wait_for_the_signal(rank: int, _: object) -> None:
    """SIGTERM in the middle of reading the rows."""
    from accel_clf.data import splits

    def load(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    splits.load = load  # type: ignore[assignment]


@pytest.mark.parametrize("rank", [0, 1])
def test_one_of_two_processes(job: Made, rank: int) -> None:
    """Both save the same step, whichever was told."""
    whole, run = job("whole", processes=2), job("run", processes=2)
    assert whole.start().wait() == [0, 0], whole.told()
    run.start(before=wait_slowly, given=0.02).until('"step": 10,')
    os.kill(run.ranks[rank].pid, signal.SIGTERM)
    assert run.wait(30) == [143, 143]
    assert f"stopped after step {saved_at(run)}," in run.told()
    assert run.start().wait() == [0, 0], run.told()
    assert run.outcome() == whole.outcome()


def test_one_of_two_processes_in_an_evaluation(job: Made) -> None:
    settings = ("--data.validation", 0.9, "--batch.size", 1)
    run = job("run", *settings, processes=2).start(before=wait_slowly, given=0.05)
    run.until('"step": 20,')
    os.kill(run.ranks[1].pid, signal.SIGINT)
    assert run.wait(30) == [130, 130]
    assert saved_at(run) == 20
    assert "validation" not in (run.folder / "metrics.jsonl").read_text()


def test_the_command_repeats_what_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    from accel_clf.cli.runner import resume_command
    from accel_clf.config.load import load

    args, config = ["my run.yaml", "--training.epochs", "3"], load(None, {})
    assert resume_command("accel-clf train", args, config) == "accel-clf train 'my run.yaml' --training.epochs 3"
    anew = load(None, {"resume": "never"})
    assert resume_command("accel-clf train", args, anew).endswith(" --training.epochs 3 --resume auto")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    launcher = [sys.executable, "bin/accelerate", "launch", "train.py"]
    monkeypatch.setattr("accel_clf.cli.runner._parent", lambda: launcher)
    assert resume_command("train.py", args, config) == "accelerate launch train.py"
