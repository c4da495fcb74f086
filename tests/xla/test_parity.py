"""All strategies agree, and faults that a distributed loop can have are detected."""

import time
from functools import partial
from pathlib import Path

import pytest

from accel_clf.config.load import load
from accel_clf.training.parity import Trace, Variant, agrees, compare, read_trace, run_in_subprocess, settings_for
from tests.conftest import Cli
from tests.forked import run_forked
from tests.xla.faults import worker

STEPS = 4
RAW = Variant("raw", "xla", virtual_cores=2, cores=2)


def settings(reviews: Path, tiny_bert: Path, variant: Variant) -> dict[str, object]:
    base = {"model": {"name": str(tiny_bert)}, "data": {"train": str(reviews), "max_length": 64}}
    config = load(None, {**base, "batch": {"size": 8}, "training": {"learning_rate": 1e-3}})
    return settings_for(config, variant, STEPS)


@pytest.fixture(scope="module")
def reference(reviews: Path, tiny_bert: Path) -> Trace:
    trace = run_in_subprocess(settings(reviews, tiny_bert, Variant("cpu", cpu=True)), cpu=True)
    assert trace is not None
    assert len(trace.losses) == STEPS
    return trace


TARGETS: dict[str, list[object]] = {
    "single_label": ["--data.label", "grade"],
    "multi_label": ["--data.label", "positive", "--data.label", "soup", "--data.label", "never"],
    "regression": ["--data.label", "stars", "--target.type", "regression"],
}


@pytest.mark.parametrize("target", TARGETS)
def test_all_variants_agree(cli: Cli, table: Path, tiny_bert: Path, target: str) -> None:
    """CPU, and XLA by Accelerate and by raw torch_xla, on 1 and on 8 cores."""
    process = cli(
        "parity", "--steps", STEPS, "--model.name", tiny_bert, "--data.train", table, "--data.max_length", 64,
        "--training.learning_rate", 1e-3, "--batch.accumulate", 2, *TARGETS[target],
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("agrees") == 4
    assert "reference" in process.stdout
    assert "warning" not in process.stderr


@pytest.mark.parametrize(
    "fault", ["skip_reduction", "scale_learning_rate", "drop_last_rows", "give_core_1_the_shard_of_core_0"]
)
def test_fault_is_detected(fault: str, reference: Trace, reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace.npz"
    process = run_forked(partial(worker, fault, settings(reviews, tiny_bert, RAW), trace), tmp_path)
    if fault == "skip_reduction":  # the worker detects it itself
        assert process.returncode == 1
        assert "2 different models on 2 processes" in process.stderr
        return
    faulty = read_trace(trace)
    assert faulty, process.stderr
    assert not agrees(compare(reference, faulty))


@pytest.mark.parametrize(
    ("fault", "message"), [("fail_on_one_core", "ValueError: planted on one core"), ("kill_cores", "has ended before")]
)
def test_core_that_fails_ends_the_job(fault: str, message: str, reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    work = partial(worker, fault, settings(reviews, tiny_bert, RAW), tmp_path / "trace.npz")
    process = run_forked(work, tmp_path, timeout=180)
    assert process.returncode == 1
    assert message in process.stderr
    assert process.stderr.count("Traceback") == (fault == "fail_on_one_core")  # only the first core that fails logs
    assert time.monotonic() - began < 150  # most of it to compile; otherwise the other core would wait forever
