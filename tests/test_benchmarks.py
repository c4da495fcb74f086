"""The benchmark for a GPU runs to its end where there is none, with tiny models."""

import subprocess
import sys

from tests.conftest import REPOSITORY


def test_gpu_benchmark_runs_dry() -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--dry_run"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=REPOSITORY)
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stdout.count(" right") == 9
    assert "WRONG" not in process.stdout
    for model in ("BERT-base", "XLM-R base"):
        table = process.stdout.partition(f"\n{model}, 25000 rows")[2].partition("\n\n")[0]
        assert [line.split("  ")[1] for line in table.splitlines()[2:]] == ["accel_clf", "HF Trainer, best"]


def test_gpu_benchmark_says_that_it_needs_one() -> None:
    command = [sys.executable, "-m", "benchmarks.gpu"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=REPOSITORY)
    assert process.returncode == 2
    assert "no GPU here; --dry_run" in process.stderr
