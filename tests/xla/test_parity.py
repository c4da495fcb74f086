"""All paths agree; and each fault that a distributed loop can have turns the verdict."""

import time
from functools import partial
from pathlib import Path

import pytest

from accel_clf.config.load import load
from accel_clf.training.parity import Trace, Variant, agrees, compare, read_trace, run_apart, settings_for
from tests.conftest import Cli
from tests.forked import run_forked
from tests.xla.broken import worker

STEPS = 4
RAW = Variant("raw", "xla", virtual_cores=2, cores=2)


def settings(reviews: Path, tiny_bert: Path, variant: Variant) -> dict[str, object]:
    flags = {"model": {"name": str(tiny_bert)}, "data": {"train": str(reviews), "max_length": 64}}
    return settings_for(
        load(None, {**flags, "batch": {"size": 8}, "training": {"learning_rate": 1e-3}}), variant, STEPS
    )


@pytest.fixture(scope="module")
def reference(reviews: Path, tiny_bert: Path) -> Trace:
    trace = run_apart(settings(reviews, tiny_bert, Variant("cpu", cpu=True)), cpu=True)
    assert trace is not None
    assert len(trace.losses) == STEPS
    return trace


def test_the_command(cli: Cli, reviews: Path, tiny_bert: Path) -> None:
    """CPU, XLA by Accelerate and raw, on 1 and on 8 cores; in tests/xla for the environment that has all of them."""
    done = cli(
        "parity", "--steps", STEPS, "--model.name", tiny_bert, "--data.train", reviews, "--data.max_length", 64,
        "--training.learning_rate", 1e-3, "--batch.accumulate", 2,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("agrees") == 4
    assert "reference" in done.stdout
    assert "warning" not in done.stderr


@pytest.mark.parametrize(
    "fault", ["skip_the_reduction", "scale_the_rate", "drop_the_tail", "feed_a_core_the_wrong_shard"]
)
def test_a_fault_turns_the_verdict(
    fault: str, reference: Trace, reviews: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "trace.npz"
    done = run_forked(partial(worker, fault, settings(reviews, tiny_bert, RAW), trace), tmp_path)
    if fault == "skip_the_reduction":  # this one is seen before
        assert done.returncode == 1
        assert "2 different models on 2 processes" in done.stderr
        return
    broken = read_trace(trace)
    assert broken, done.stderr
    assert not agrees(compare(reference, broken))


@pytest.mark.parametrize(
    ("fault", "told"), [("fail_on_one_core", "ValueError: planted on one core"), ("kill_the_cores", "has ended before")]
)
def test_a_core_that_fails_ends_all(fault: str, told: str, reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    work = partial(worker, fault, settings(reviews, tiny_bert, RAW), tmp_path / "trace.npz")
    done = run_forked(work, tmp_path, timeout=180)
    assert done.returncode == 1
    assert told in done.stderr
    assert done.stderr.count("Traceback") == (fault == "fail_on_one_core")  # one speaks, the first
    assert time.monotonic() - began < 150  # most of it compiling; without an end it would wait for ever
