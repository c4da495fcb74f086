"""Machines that do not see one output folder are refused before anything is trained or written."""

import os
from pathlib import Path

import pytest

from accel_clf.training import shared_folder
from tests.faults.harness import LaunchedRun


def move_to_host(rank: int, folder: Path) -> None:
    """Let each process have a working folder of its own, as on a machine of its own."""
    os.chdir(folder / f"host-{rank}")
    shared_folder.SECONDS_UNTIL_SEEN = 0.5


@pytest.fixture(params=["train", "cv"])
def two_hosts(request: pytest.FixtureRequest, tmp_path: Path, reviews: Path, tiny_bert: Path) -> LaunchedRun:
    """A job of two processes on two hosts, each with its own disk."""
    flags: list[object] = ["--model.name", tiny_bert, "--data.train", reviews, "--data.max_length", 64]
    flags += ["--data.limit", 64, "--data.validation", 0.25, "--training.epochs", 1, "--evaluation.baseline", "false"]
    flags += ["--folds", 2] if request.param == "cv" else []
    job = LaunchedRun(flags, tmp_path / "job", processes=2, command=request.param)
    job.args[-1] = "runs/reviews"
    for rank in range(2):
        (tmp_path / f"host-{rank}").mkdir()
    return job


def test_hosts_without_a_shared_disk_are_refused(two_hosts: LaunchedRun, tmp_path: Path) -> None:
    assert two_hosts.start(move_to_host, tmp_path).wait() == [1, 1], two_hosts.output()
    error = two_hosts.output().partition("error: ")[2]
    assert "1 of 2 processes do not see what rank 0 writes into runs/reviews" in error
    assert "put --output on a shared disk" in error
    assert "process 1: 1 of 2 processes do not see" in two_hosts.output(1)
    assert not [path for host in (0, 1) for path in (tmp_path / f"host-{host}").rglob("*") if path.name != "runs"]


def test_hosts_with_a_shared_disk_train(two_hosts: LaunchedRun, tmp_path: Path) -> None:
    """The second host reaches the first one's folder by a link, as by a mount."""
    (tmp_path / "host-0" / "runs").mkdir()
    (tmp_path / "host-1" / "runs").symlink_to(tmp_path / "host-0" / "runs")
    assert two_hosts.start(move_to_host, tmp_path).wait() == [0, 0], two_hosts.output()
    assert (tmp_path / "host-0" / "runs" / "reviews" / "metrics.json").is_file()
    assert not list((tmp_path / "host-0").rglob(".shared-*"))
    assert two_hosts.output(1) == ""
