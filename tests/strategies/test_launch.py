"""Which hardware a run gets, and how it is refused what is not there."""

import gc
import os
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from accel_clf.config.load import load
from accel_clf.core import process_env
from accel_clf.core.errors import ConfigError
from accel_clf.core.process_env import shared_across_cores
from accel_clf.strategies import launch
from accel_clf.strategies.base import Strategy
from accel_clf.strategies.xla import virtual
from accel_clf.strategies.xla.detect import VIRTUAL_CORES_VARIABLE, tpu_chips

Refused = Callable[..., str]
without_xla = pytest.mark.skipif(find_spec("torch_xla") is not None, reason="torch_xla is installed")


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_accelerate_is_told_to_leave_xla_alone() -> None:
    seen: list[Strategy] = []
    assert launch.choose(load(None, {}))(seen.append)
    assert os.environ["USE_TORCH_XLA"] == "false"
    assert [strategy.device.type for strategy in seen] == ["cpu"] or seen[0].device.type == "cuda"


@without_xla
@pytest.mark.parametrize("flags", [["--strategy", "xla"], ["--virtual_cores", "8"]])
def test_without_torch_xla(flags: list[str], refused: Refused, tmp_path: Path) -> None:
    message = refused(2, "train", *flags, "--output", tmp_path / "run")
    assert "torch_xla is not installed" in message
    assert "pip install 'accel_clf[xla]'" in message
    assert not (tmp_path / "run").exists()


def test_virtual_cores_beside_a_tpu(refused: Refused, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(virtual, "tpu_chips", lambda: 4)
    message = refused(2, "train", "--virtual_cores", 8, "--output", tmp_path / "run")
    assert "virtual cores asked for on a machine with 4 TPU chips" in message


@pytest.mark.parametrize("given", ["eight", "0", "-1", "8.0"])
def test_the_environment_must_name_a_number(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VIRTUAL_CORES_VARIABLE, given)
    with pytest.raises(ConfigError, match=f"ACCEL_CLF_VIRTUAL_CORES is '{given}'"):
        launch.choose(load(None, {}))


def test_cores_need_few_widths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORK_LAUNCHED", "1")
    with pytest.raises(ConfigError, match=r"batch\.layout is padded, on XLA"):
        launch.choose(load(None, {"batch": {"layout": "padded"}}))


def test_no_tpu_here_is_found_by_its_chips() -> None:
    assert tpu_chips() == 0


class Job:
    """Something that a weak reference can point to."""


def test_cores_of_a_process_share_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORK_LAUNCHED", raising=False)
    monkeypatch.setattr(process_env, "_cores_of_this_process", lambda: 3)
    first, second = load(None, {}), load(None, {"training": {"seed": 1}})
    # outside an XLA worker each process has its own
    assert shared_across_cores(first, Job) is not shared_across_cores(first, Job)
    monkeypatch.setenv("FORK_LAUNCHED", "1")
    assert shared_across_cores(first, Job) is shared_across_cores(first, Job)
    assert shared_across_cores(first, Job) is not shared_across_cores(second, Job)


def test_shared_job_is_dropped_once_all_cores_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORK_LAUNCHED", "1")
    monkeypatch.setattr(process_env, "_cores_of_this_process", lambda: 8)
    jobs: list[Job] = []

    def make() -> Job:
        time.sleep(0.05)  # long enough for the other cores to arrive
        jobs.append(Job())
        return jobs[-1]

    with ThreadPoolExecutor(8) as cores:
        taken = list(cores.map(lambda _: shared_across_cores("job", make), range(8)))
    assert len(jobs) == 1
    assert all(job is jobs[0] for job in taken)
    reference = weakref.ref(jobs.pop())
    del taken
    gc.collect()
    assert reference() is None
    again = shared_across_cores("job", make)
    assert jobs == [again]
    assert all(shared_across_cores("job", make) is again for _ in range(7))
