"""Which hardware a run gets, how missing hardware is refused, and what the cores of a process share."""

import gc
import os
import re
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
from accel_clf.core.process_env import is_main_process, rank, shared_across_cores
from accel_clf.strategies import launch
from accel_clf.strategies.base import Strategy
from accel_clf.strategies.xla import virtual
from accel_clf.strategies.xla.detect import CHIPS, VIRTUAL_CORES_VARIABLE

Refused = Callable[..., str]
without_xla = pytest.mark.skipif(find_spec("torch_xla") is not None, reason="torch_xla is installed")


@pytest.fixture(autouse=True)
def restored_environment() -> Iterator[None]:
    environment = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(environment)


def test_accelerate_does_not_use_xla() -> None:
    strategies: list[Strategy] = []
    assert launch.choose(load(None, {}))(strategies.append)
    assert os.environ["USE_TORCH_XLA"] == "false"
    assert [strategy.device.type for strategy in strategies] == ["cpu"] or strategies[0].device.type == "cuda"


@without_xla
@pytest.mark.parametrize("flags", [["--strategy", "xla"], ["--virtual_cores", "8"]])
def test_missing_torch_xla_is_refused(flags: list[str], refused: Refused, tmp_path: Path) -> None:
    message = refused(2, "train", *flags, "--output", tmp_path / "run")
    assert "torch_xla is not installed" in message
    assert "pip install 'accel_clf[xla]'" in message
    assert not (tmp_path / "run").exists()


def test_virtual_cores_are_refused_on_a_tpu(refused: Refused, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(virtual, "tpu_chips", lambda: [CHIPS["0x005e"]] * 4)
    message = refused(2, "train", "--virtual_cores", 8, "--output", tmp_path / "run")
    assert "virtual cores asked for on a machine with 4 TPU chips" in message


@pytest.mark.parametrize("value", ["eight", "0", "-1", "8.0"])
def test_virtual_cores_variable_must_be_a_positive_integer(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VIRTUAL_CORES_VARIABLE, value)
    with pytest.raises(ConfigError, match=f"ACCEL_CLF_VIRTUAL_CORES is '{value}'"):
        launch.choose(load(None, {}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": {"layout": "padded"}}, "batch.layout is padded, on XLA"),
        ({"model": {"gradient_checkpointing": True}}, "model.gradient_checkpointing, on XLA"),
    ],
)
def test_what_xla_cannot_do_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], message: str
) -> None:
    monkeypatch.setenv("FORK_LAUNCHED", "1")
    with pytest.raises(ConfigError, match=re.escape(message)):
        launch.choose(load(None, settings))


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, 0),
        ({"RANK": "3"}, 3),  # by torch's launcher
        ({"TPU_WORKER_ID": "0"}, 0),
        ({"TPU_WORKER_ID": "2"}, 2),  # what starts the cores of host 2
        # Two cores on each of three hosts: torch_xla's variables in one of their processes.
        ({"TPU_WORKER_ID": "0", "CLOUD_TPU_TASK_ID": "0", "PJRT_LOCAL_PROCESS_RANK": "0"}, 0),
        ({"TPU_WORKER_ID": "0", "CLOUD_TPU_TASK_ID": "1", "PJRT_LOCAL_PROCESS_RANK": "1"}, 1),
        ({"TPU_WORKER_ID": "2", "CLOUD_TPU_TASK_ID": "4", "PJRT_LOCAL_PROCESS_RANK": "0"}, 4),
    ],
)
def test_rank_is_among_the_processes_of_all_hosts(
    variables: dict[str, str], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    launch.join_hosts(load(None, {"virtual_cores": 2}))
    assert rank() == expected


def test_job_without_cores_is_alone_on_a_tpus_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TPU_WORKER_ID", "1")
    launch.join_hosts(load(None, {}))
    assert is_main_process()


class Job:
    """An object that a weak reference can point to."""


def test_cores_of_a_process_share_one_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORK_LAUNCHED", raising=False)
    monkeypatch.setattr(process_env, "_cores_of_this_process", lambda: 3)
    first, second = load(None, {}), load(None, {"training": {"seed": 1}})
    # Outside an XLA worker nothing is shared.
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
        results = list(cores.map(lambda _: shared_across_cores("job", make), range(8)))
    assert len(jobs) == 1
    assert all(job is jobs[0] for job in results)
    reference = weakref.ref(jobs.pop())
    del results
    gc.collect()
    assert reference() is None
    new_job = shared_across_cores("job", make)
    assert jobs == [new_job]
    assert all(shared_across_cores("job", make) is new_job for _ in range(7))
