"""What ends a job: a process that fails, dies or hangs, a NaN loss, a full memory or disk."""

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
from accel_clf.training.run import train
from tests.conftest import REPOSITORY
from tests.faults.harness import LaunchedRun
from tests.parity.test_processes import free_port


@pytest.fixture
def settings(reviews: Path, tiny_bert: Path) -> list[object]:
    args: list[object] = ["--model.name", tiny_bert, "--data.train", reviews, "--data.max_length", 64]
    return [*args, "--data.validation", 0.25, "--training.epochs", 4, "--checkpoint.every", 5]


@pytest.fixture
def two(tmp_path: Path, settings: list[object]) -> LaunchedRun:
    """A job of two processes that wait three seconds for each other."""
    return LaunchedRun([*settings, "--batch.size", 8, "--training.timeout", 0.05], tmp_path / "run", processes=2)


def fail_in_step_7(rank: int, failing_rank: int | None) -> None:
    """Make a rank, or none, fail in its seventh step; each says when it destroys its group of processes."""
    import accel_clf.training.loop

    destroy = torch.distributed.destroy_process_group

    def destroy_and_say(*args: Any) -> None:
        print("group destroyed", file=sys.stderr)
        destroy(*args)

    torch.distributed.destroy_process_group = destroy_and_say
    step, steps = accel_clf.training.loop.train_step, [0]

    def failing_step(*args: Any) -> Any:
        steps[0] += 1
        if steps[0] == 7 and rank == failing_rank:
            raise RuntimeError("the roof is on fire")
        return step(*args)

    accel_clf.training.loop.train_step = failing_step


@pytest.mark.parametrize("rank", [0, 1])
def test_process_that_raises_ends_the_job(two: LaunchedRun, rank: int) -> None:
    """Nobody waits for the others to destroy the group, as NCCL would; after success all do."""
    assert two.start(before=fail_in_step_7, before_arg=rank).wait(30) == [1, 1]
    assert "group destroyed" not in two.output() + two.output(1)
    assert "RuntimeError: the roof is on fire" in two.output(rank)
    assert "Traceback" in two.output(rank)
    assert "process" in two.output(1 - rank)
    assert "Traceback" not in two.output(1 - rank)
    saved, damaged = newest(two.folder / "checkpoints")
    assert saved
    assert (saved.step, damaged) == (5, [])
    assert two.start(before=fail_in_step_7).wait() == [0, 0], two.output()
    assert [two.output(each).count("group destroyed") for each in (0, 1)] == [1, 1]


@pytest.mark.parametrize("rank", [0, 1])
def test_process_that_is_killed_ends_the_job(two: LaunchedRun, rank: int) -> None:
    two.start().wait_for('"step": 10,')
    two.ranks[rank].kill()
    codes = two.wait(30)
    assert codes[rank] == -signal.SIGKILL
    assert codes[1 - rank] == 1
    assert "another process has ended or does not answer" in two.output(1 - rank)


def test_process_that_hangs_ends_the_job(two: LaunchedRun) -> None:
    two.start().wait_for('"step": 10,')
    os.kill(two.ranks[1].pid, signal.SIGSTOP)
    exit_code = two.ranks[0].wait(30)
    two.ranks[1].kill()
    two.wait()
    assert exit_code == 1
    assert "another process has ended or does not answer" in two.output()


def test_launcher_restarts_a_job_that_resumes(tmp_path: Path, settings: list[object]) -> None:
    """`accelerate launch` with max_restarts, of whose processes one is killed."""
    if not _children(os.getpid()).is_file():
        pytest.skip("this system does not list a process's children")
    run = tmp_path / "run"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", str(free_port())]
    command += ["--config_file", str(REPOSITORY / "accelerate_configs" / "multi_cpu.yaml"), "--max_restarts", "2"]
    command += [str(REPOSITORY / "accel_clf" / "train.py"), *map(str, settings), "--output", str(run)]
    command += ["--batch.size", "8", "--training.learning_rate", "1e-3"]
    output = tmp_path / "output"
    with output.open("w") as file:
        launcher = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, "OMP_NUM_THREADS": "1"})
    log, deadline = run / "metrics.jsonl", time.monotonic() + 120
    while not log.is_file() or '"step": 10,' not in log.read_text():
        assert launcher.poll() is None, output.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(int(_children(launcher.pid).read_text().split()[-1]), signal.SIGKILL)
    assert launcher.wait(120) == 0, output.read_text()
    assert "resuming after step" in output.read_text()
    args = [*settings, "--batch.size", 8, "--training.learning_rate", 1e-3]
    reference = LaunchedRun(args, tmp_path / "reference", processes=2)
    assert reference.start().wait() == [0, 0]
    assert LaunchedRun([], run).outcome() == reference.outcome()


def _children(pid: int) -> Path:
    return Path(f"/proc/{pid}/task/{pid}/children")


def make_config(settings: list[object], folder: Path, *flags: object) -> Config:
    """Make the configuration of a run in this process."""
    from accel_clf.config.flags import parse

    args = [*settings, *flags, "--output", folder, "--batch.size", 16]
    return parse([str(arg) for arg in args], "train", "")[0]


def test_nan_loss_names_its_step_and_rows(
    settings: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint and the best model stay as they were."""
    import accel_clf.training.loop

    config = make_config(settings, tmp_path / "run")
    step, steps, best_model = accel_clf.training.loop.train_step, [0], {}

    def step_with_nan(model: Any, *args: Any) -> Any:
        steps[0] += 1
        if steps[0] == 23:
            best_model.update({path: path.read_bytes() for path in (tmp_path / "run" / "model").iterdir()})
            with torch.no_grad():
                model.classifier.bias.fill_(float("nan"))
        return step(model, *args)

    monkeypatch.setattr(accel_clf.training.loop, "train_step", step_with_nan)
    with pytest.raises(UserError, match="the loss is nan at step 23, of these rows of the training data") as error:
        train(config)
    from accel_clf.data import sampling, splits

    rows = splits.load(config.data, config.training.seed).train
    permutation = sampling.permutation(len(rows), config.training.seed, 1)
    expected = sorted(rows.ids[permutation[3 * 16 : 4 * 16]].tolist())  # the epoch before had 19 steps
    assert error.value.got.endswith(": " + ", ".join(map(str, expected)))
    assert best_model
    assert all(path.read_bytes() == content for path, content in best_model.items())
    saved, damaged = newest(tmp_path / "run" / "checkpoints")
    assert saved
    assert (saved.step, damaged) == (20, [])


def test_full_memory_names_settings_that_resume_the_run(
    settings: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import accel_clf.training.loop

    step, steps = accel_clf.training.loop.train_step, [0]

    def step_without_memory(*args: Any) -> Any:
        steps[0] += 1
        if steps[0] == 8:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return step(*args)

    with monkeypatch.context() as patch:
        patch.setattr(accel_clf.training.loop, "train_step", step_without_memory)
        with pytest.raises(UserError, match="memory is full, at step 8 with batches of 16") as error:
            train(make_config(settings, tmp_path / "run"))
    assert error.value.fix.startswith("--batch.size 8 --batch.accumulate 2,")
    config = make_config(settings, tmp_path / "run", "--batch.accumulate", 2)
    results = train(config.model_copy(update={"batch": config.batch.model_copy(update={"size": 8})}))
    assert results["training"]["steps"] == 76


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"this user cannot mount a file system: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_run_resumes_after_a_full_disk(settings: list[object], small_disk: Path, tmp_path: Path) -> None:
    """The disk fills up during the run: the last checkpoint is intact, and the run resumes when there is space."""
    run = LaunchedRun([*settings, "--batch.size", 16, "--training.learning_rate", 1e-3], small_disk / "run")
    run.output_path = tmp_path / "output"
    run.start().wait_for('"step": 10,')
    filler, deadline = small_disk / "filler", time.monotonic() + 60
    with filler.open("wb", buffering=0) as file:
        while run.ranks[0].poll() is None and time.monotonic() < deadline:
            try:
                file.write(bytes(4096))
            except OSError:  # full; it is filled again should the run remove an old checkpoint
                time.sleep(0.001)
    assert run.wait() == [1]
    assert "error: No space left on device" in run.output()
    assert "free some space on that disk, then run the same command again" in run.output()
    saved, damaged = newest(run.folder / "checkpoints")
    assert saved
    assert not damaged
    filler.unlink()
    assert run.start().wait() == [0], run.output()
    assert f"resuming after step {saved.step}," in run.output()
    reference = LaunchedRun(run.args[:-2], tmp_path / "reference")
    assert reference.start().wait() == [0]
    assert run.outcome() == reference.outcome()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root, or Windows, may write anywhere")
def test_missing_permission_is_raised(settings: list[object], tmp_path: Path) -> None:
    config = make_config(settings, tmp_path / "run", "--training.epochs", 1)
    train(config)
    (tmp_path / "run" / "metrics.json").unlink()
    (tmp_path / "run" / "checkpoints").chmod(0o500)
    with pytest.raises(PermissionError):
        train(config)
