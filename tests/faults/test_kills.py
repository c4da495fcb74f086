"""A run that is killed anywhere and started again ends with the same bits as one that is not (cases 1 to 3)."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.harness import LaunchedRun, die_at_file_event

KILLED = -9  # by SIGKILL, which not every system has
MakeRun = Callable[..., LaunchedRun]


@pytest.fixture(scope="module")
def make_run(tmp_path_factory: pytest.TempPathFactory, reviews: Path, tiny_bert: Path) -> MakeRun:
    """With dropout, two micro-batches per step, evaluations within epochs, and every other step saved."""
    folder = tmp_path_factory.mktemp("kills")

    def make(name: str, processes: int = 1) -> LaunchedRun:
        args: list[object] = ["--model.name", tiny_bert, "--data.train", reviews, "--data.max_length", 64]
        args += ["--data.validation", 0.25, "--training.epochs", 8, "--training.learning_rate", 1e-3]
        args += ["--batch.size", 8 // processes, "--batch.accumulate", 2, "--evaluation.every", 13]
        args += ["--checkpoint.every", 2, "--training.timeout", 1]
        return LaunchedRun(args, folder / name, processes)

    return make


@pytest.fixture(scope="module")
def reference(make_run: MakeRun) -> dict[str, Any]:
    """The outcome of a run that is not killed: 152 steps, which 25 kills do not exhaust on a fast machine."""
    run = make_run("reference")
    assert run.start().wait() == [0], run.output()
    assert run.outcome()["last checkpoint"] == "step-00000152"
    return run.outcome()


@pytest.fixture(scope="module")
def reference_of_two(make_run: MakeRun) -> dict[str, Any]:
    run = make_run("reference-of-two", 2)
    assert run.start().wait() == [0, 0], run.output()
    return run.outcome()


def kill_at_random(run: LaunchedRun, times: int) -> list[int]:
    """Kill a run at random, and start it again, some times; return the last saved step at each kill."""
    rng, steps = random.Random(0), []
    for _ in range(times):
        saves = rng.choice((0, 1, 2, 4))
        assert run.start().kill_after(2 * saves, rng.uniform(0, 0.1 if saves else 0.4)), run.output()
        assert KILLED in run.wait()
        steps.append(run.last_saved_step())
    return steps


def finish(run: LaunchedRun) -> dict[str, Any]:
    """Run until the end; return the outcome."""
    assert run.start().wait() == [0] * run.processes, run.output()
    return run.outcome()


def test_25_random_kills(make_run: MakeRun, reference: dict[str, Any]) -> None:
    run = make_run("random")
    steps = kill_at_random(run, 25)
    assert len(steps) == 25
    assert len(set(steps)) > 8  # it made progress in between
    assert finish(run) == reference


def test_kills_of_a_run_with_several_labels(tmp_path: Path, table: Path, tiny_bert: Path) -> None:
    """Its temperature and thresholds are fitted once, to the best model: not again where it was killed meanwhile."""
    args: list[object] = ["--model.name", tiny_bert, "--data.train", table, "--data.max_length", 64]
    args += [flag for label in ("positive", "soup", "never") for flag in ("--data.label", label)]
    args += ["--data.validation", 0.25, "--training.epochs", 2, "--training.learning_rate", 1e-3]
    args += ["--target.thresholds", "f1", "--target.calibration", "temperature", "--checkpoint.every", 2]
    reference = LaunchedRun(args, tmp_path / "reference")
    assert reference.start().wait() == [0], reference.output()
    run = LaunchedRun(args, tmp_path / "killed")
    kill_at_random(run, 3)
    last = run.last_saved_step()
    assert run.start().kill_after(38 - last, 0.0), run.output()
    run.wait()
    for delay in (0.0, 0.05, 0.1, 0.2, 0.3, 0.4):  # after the last step, in what follows
        run.start().kill_after(0, delay)
        run.wait()
    outcome = finish(run)
    assert outcome == reference.outcome()
    for name in ("config.json", "model.safetensors"):
        files = [folder / "model" / name for folder in (tmp_path / "killed", tmp_path / "reference")]
        assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("processes", [1, 2])
def test_kills_of_a_run_with_adapters(tmp_path: Path, reviews: Path, tiny_bert: Path, processes: int) -> None:
    """Checkpoints have adapters, head and their optimizer's state; the adapter's folder ends as the model's does."""
    args: list[object] = ["--model.name", tiny_bert, "--data.train", reviews, "--data.max_length", 64]
    args += ["--data.validation", 0.25, "--training.epochs", 3, "--training.learning_rate", 1e-2]
    args += ["--batch.size", 16 // processes, "--evaluation.every", 5, "--model.lora.rank", 4]
    args += ["--checkpoint.every", 2, "--training.timeout", 1]
    reference = LaunchedRun(args, tmp_path / "reference", processes)
    assert reference.start().wait() == [0] * processes, reference.output()
    run = LaunchedRun(args, tmp_path / "killed", processes)
    kill_at_random(run, 4)
    assert finish(run) == reference.outcome()
    for name in ("model/model.safetensors", "adapter/adapter_model.safetensors", "adapter/adapter_config.json"):
        assert (run.folder / name).read_bytes() == (reference.folder / name).read_bytes()


def test_kill_at_every_file_operation_of_a_save(make_run: MakeRun, reference: dict[str, Any]) -> None:
    """The n-th start is killed before its n-th file operation, until a start has fewer of them left."""
    run, operations = make_run("files"), 1
    while run.start(before=die_at_file_event, before_arg=operations).wait() == [KILLED]:
        operations += 1
    assert operations > 30  # a save has about fifteen
    assert run.ranks[0].poll() == 0, run.output()
    assert run.outcome() == reference


def test_random_kills_of_two_processes(make_run: MakeRun, reference_of_two: dict[str, Any]) -> None:
    run = make_run("random-of-two", 2)
    assert len(set(kill_at_random(run, 8))) > 2
    assert finish(run) == reference_of_two


def test_kill_of_rank_0_in_a_save(make_run: MakeRun, reference_of_two: dict[str, Any]) -> None:
    """The other process ends by itself."""
    run = make_run("files-of-two", 2)
    for operation in (1, 3, 6, 9, 12):
        rank_0, rank_1 = run.start(before=die_at_file_event, before_arg=operation).wait(60)
        assert rank_0 == KILLED
        assert rank_1 == 1, run.output(1)
    assert finish(run) == reference_of_two
