"""Killed anywhere, started again: the end is the one that the run would have had, bit for bit (cases 1 to 3)."""

import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.harness import LaunchedRun, die_at_file_event

KILLED = -signal.SIGKILL
Made = Callable[..., LaunchedRun]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, reviews: Path, tiny_bert: Path) -> Made:
    """Dropout is on, a step has two micro-batches, evaluations lie amid epochs, every other step is saved."""
    folder = tmp_path_factory.mktemp("kills")

    def make(name: str, processes: int = 1) -> LaunchedRun:
        arguments: list[object] = ["--model.name", tiny_bert, "--data.train", reviews, "--data.max_length", 64]
        arguments += ["--data.validation", 0.25, "--training.epochs", 6, "--training.learning_rate", 1e-3]
        arguments += ["--batch.size", 8 // processes, "--batch.accumulate", 2, "--evaluation.every", 13]
        arguments += ["--checkpoint.every", 2, "--training.timeout", 1]
        return LaunchedRun(arguments, folder / name, processes)

    return make


@pytest.fixture(scope="module")
def whole(job: Made) -> dict[str, Any]:
    """The end of a run that nobody kills: 114 steps."""
    run = job("whole")
    assert run.start().wait() == [0], run.told()
    assert run.outcome()["last checkpoint"] == "step-00000114"
    return run.outcome()


@pytest.fixture(scope="module")
def whole_of_two(job: Made) -> dict[str, Any]:
    run = job("whole-of-two", 2)
    assert run.start().wait() == [0, 0], run.told()
    return run.outcome()


def kill_at_random(run: LaunchedRun, times: int) -> list[int]:
    """The steps whose checkpoints were there at each kill."""
    draw, reached = random.Random(0), []
    for _ in range(times):
        saves = draw.choice((0, 1, 2, 4))
        assert run.start().kill_after(2 * saves, draw.uniform(0, 0.1 if saves else 0.4)), run.told()
        assert KILLED in run.wait()
        reached.append(run.saved())
    return reached


def finish(run: LaunchedRun) -> dict[str, Any]:
    assert run.start().wait() == [0] * run.processes, run.told()
    return run.outcome()


def test_killed_25_times_at_random(job: Made, whole: dict[str, Any]) -> None:
    run = job("random")
    reached = kill_at_random(run, 25)
    assert len(reached) == 25
    assert len(set(reached)) > 8  # it went on between
    assert finish(run) == whole


def test_killed_at_every_file_of_a_save(job: Made, whole: dict[str, Any]) -> None:
    """Each time before one file operation more than the last time, until there are not so many left."""
    run, operations = job("files"), 1
    while run.start(before=die_at_file_event, given=operations).wait() == [KILLED]:
        operations += 1
    assert operations > 30  # a save has about fifteen
    assert run.ranks[0].poll() == 0, run.told()
    assert run.outcome() == whole


def test_two_processes_killed_at_random(job: Made, whole_of_two: dict[str, Any]) -> None:
    run = job("random-of-two", 2)
    assert len(set(kill_at_random(run, 8))) > 2
    assert finish(run) == whole_of_two


def test_two_processes_killed_in_a_save(job: Made, whole_of_two: dict[str, Any]) -> None:
    """The first dies while it writes; the other ends by itself."""
    run = job("files-of-two", 2)
    for event in (1, 3, 6, 9, 12):
        first, other = run.start(before=die_at_file_event, given=event).wait(60)
        assert first == KILLED
        assert other == 1, run.told(1)
    assert finish(run) == whole_of_two
