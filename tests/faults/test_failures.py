"""What ends a job: a process that fails, dies or stops answering, a loss that is no number, full memory or disk."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from accel_clf.config.schema import Config
from accel_clf.core.errors import UserError
from accel_clf.training.checkpoint import newest
from accel_clf.training.trainer import train
from tests.conftest import REPOSITORY
from tests.faults.harness import LaunchedRun
from tests.parity.test_processes import free_port


@pytest.fixture
def settings(reviews: Path, tiny_bert: Path) -> list[object]:
    made: list[object] = ["--model.name", tiny_bert, "--data.train", reviews, "--data.max_length", 64]
    return [*made, "--data.validation", 0.25, "--training.epochs", 4, "--checkpoint.every", 5]


@pytest.fixture
def two(tmp_path: Path, settings: list[object]) -> LaunchedRun:
    """A job of two processes that wait three seconds for each other."""
    return LaunchedRun([*settings, "--batch.size", 8, "--training.timeout", 0.05], tmp_path / "run", processes=2)


def fail_in_step_7(rank: int, which: int) -> None:
    import accel_clf.training.loop

    step, steps = accel_clf.training.loop.train_step, [0]

    def failing(*arguments: Any) -> Any:
        steps[0] += 1
        if steps[0] == 7 and rank == which:
            raise RuntimeError("the roof is on fire")
        return step(*arguments)

    accel_clf.training.loop.train_step = failing


@pytest.mark.parametrize("which", [0, 1])
def test_a_process_that_raises_ends_the_job(two: LaunchedRun, which: int) -> None:
    assert two.start(before=fail_in_step_7, given=which).wait(30) == [1, 1]
    assert "RuntimeError: the roof is on fire" in two.told(which)
    assert "Traceback" in two.told(which)
    assert "process" in two.told(1 - which)
    assert "Traceback" not in two.told(1 - which)
    found, damaged = newest(two.folder / "checkpoints")
    assert found
    assert (found.step, damaged) == (5, [])
    assert two.start().wait() == [0, 0], two.told()


@pytest.mark.parametrize("which", [0, 1])
def test_a_process_that_is_killed_ends_the_job(two: LaunchedRun, which: int) -> None:
    two.start().until('"step": 10,')
    two.ranks[which].kill()
    codes = two.wait(30)
    assert codes[which] == -signal.SIGKILL
    assert codes[1 - which] == 1
    assert "another process has ended or does not answer" in two.told(1 - which)


def test_a_process_that_stops_answering_ends_the_job(two: LaunchedRun) -> None:
    two.start().until('"step": 10,')
    os.kill(two.ranks[1].pid, signal.SIGSTOP)
    ended = two.ranks[0].wait(30)
    two.ranks[1].kill()
    two.wait()
    assert ended == 1
    assert "another process has ended or does not answer" in two.told()


def test_the_launcher_starts_it_again(tmp_path: Path, settings: list[object]) -> None:
    """`accelerate launch` with max_restarts: one of its processes is killed, and the job goes on by itself."""
    if not _children(os.getpid()).is_file():
        pytest.skip("this system does not tell whose child a process is")
    run = tmp_path / "run"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", str(free_port())]
    command += ["--config_file", str(REPOSITORY / "accelerate_configs" / "multi_cpu.yaml"), "--max_restarts", "2"]
    command += [str(REPOSITORY / "accel_clf" / "train.py"), *map(str, settings), "--output", str(run)]
    command += ["--batch.size", "8", "--training.learning_rate", "1e-3"]
    with (tmp_path / "said").open("w") as said:
        launched = subprocess.Popen(command, stdout=said, stderr=said, env={**os.environ, "OMP_NUM_THREADS": "1"})
    log, until = run / "metrics.jsonl", time.monotonic() + 120
    while not log.is_file() or '"step": 10,' not in log.read_text():
        assert launched.poll() is None, (tmp_path / "said").read_text()
        assert time.monotonic() < until
        time.sleep(0.01)
    os.kill(int(_children(launched.pid).read_text().split()[-1]), signal.SIGKILL)
    assert launched.wait(120) == 0, (tmp_path / "said").read_text()
    assert "resuming after step" in (tmp_path / "said").read_text()
    whole = LaunchedRun(
        [*settings, "--batch.size", 8, "--training.learning_rate", 1e-3], tmp_path / "whole", processes=2
    )
    assert whole.start().wait() == [0, 0]
    assert LaunchedRun([], run).outcome() == whole.outcome()


def _children(process: int) -> Path:
    return Path(f"/proc/{process}/task/{process}/children")


def in_process(settings: list[object], folder: Path, *more: object) -> Config:
    from accel_clf.config.flags import parse

    words = [*settings, *more, "--output", folder, "--batch.size", 16]
    return parse([str(word) for word in words], "train", "")[0]


def test_a_loss_that_is_no_number(
    settings: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reviews: Path
) -> None:
    """The step and its rows are named; the checkpoint and the best model stay as they were."""
    import accel_clf.training.loop

    config = in_process(settings, tmp_path / "run")
    step, seen, kept = accel_clf.training.loop.train_step, [0], {}

    def poisoned(model: Any, *arguments: Any) -> Any:
        seen[0] += 1
        if seen[0] == 23:
            kept.update({path: path.read_bytes() for path in (tmp_path / "run" / "model").iterdir()})
            with torch.no_grad():
                model.classifier.bias.fill_(float("nan"))
        return step(model, *arguments)

    monkeypatch.setattr(accel_clf.training.loop, "train_step", poisoned)
    with pytest.raises(UserError, match="the loss is nan at step 23, of these rows of the training data") as error:
        train(config)
    from accel_clf.data import sampling, splits

    rows = splits.load(config.data, config.training.seed).train
    permutation = sampling.permutation(len(rows), config.training.seed, 1)
    wanted = sorted(rows.ids[permutation[3 * 16 : 4 * 16]].tolist())  # the epoch before had 19 steps
    assert error.value.got.endswith(": " + ", ".join(map(str, wanted)))
    assert kept
    assert all(path.read_bytes() == content for path, content in kept.items())
    found, damaged = newest(tmp_path / "run" / "checkpoints")
    assert found
    assert (found.step, damaged) == (20, [])


def test_full_memory_names_what_to_try(settings: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what it names goes on from the last checkpoint, with the same result."""
    import accel_clf.training.loop

    step, seen = accel_clf.training.loop.train_step, [0]

    def full(*arguments: Any) -> Any:
        seen[0] += 1
        if seen[0] == 8:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(accel_clf.training.loop, "train_step", full)
        with pytest.raises(UserError, match="memory is full, at step 8 with batches of 16") as error:
            train(in_process(settings, tmp_path / "run"))
    assert error.value.fix.startswith("--batch.size 8 --batch.accumulate 2,")
    again = in_process(settings, tmp_path / "run", "--batch.accumulate", 2)
    results = train(again.model_copy(update={"batch": again.batch.model_copy(update={"size": 8})}))
    assert results["training"]["steps"] == 76


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here, as root may: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk(settings: list[object], small_disk: Path, tmp_path: Path) -> None:
    """Filled while the job runs: the checkpoint before is whole, and the job goes on when there is room."""
    run = LaunchedRun([*settings, "--batch.size", 16, "--training.learning_rate", 1e-3], small_disk / "run")
    run.said = tmp_path / "said"
    run.start().until('"step": 10,')
    filler, until = small_disk / "filler", time.monotonic() + 60
    with filler.open("wb", buffering=0) as file:
        while run.ranks[0].poll() is None and time.monotonic() < until:
            try:
                file.write(bytes(4096))
            except OSError:  # full; should the job make room by removing an old checkpoint, that is taken as well
                time.sleep(0.001)
    assert run.wait() == [1]
    assert "error: No space left on device" in run.told()
    assert "free some space on that disk, then run the same command again" in run.told()
    found, damaged = newest(run.folder / "checkpoints")
    assert found
    assert not damaged
    filler.unlink()
    assert run.start().wait() == [0], run.told()
    assert f"resuming after step {found.step}," in run.told()
    whole = LaunchedRun(run.arguments[:-2], tmp_path / "whole")
    assert whole.start().wait() == [0]
    assert run.outcome() == whole.outcome()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(settings: list[object], tmp_path: Path) -> None:
    config = in_process(settings, tmp_path / "run", "--training.epochs", 1)
    train(config)
    (tmp_path / "run" / "metrics.json").unlink()
    (tmp_path / "run" / "checkpoints").chmod(0o500)
    with pytest.raises(PermissionError):
        train(config)
