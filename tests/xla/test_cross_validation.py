"""Folds on eight virtual cores: later folds reuse the first one's graphs, and predictions agree with one process."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY, make_xlmr, read_csv
from tests.forked import command, run_forked
from tests.xla.faults import forbid_changes_of_the_environment

FOLDS = 3


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory, translations: Path) -> Path:
    """One layer, so that its many graphs compile fast."""
    return make_xlmr(tmp_path_factory.mktemp("encoder"), [row["text"] for row in read_csv(translations)], layers=1)


@pytest.fixture(scope="module")
def flags(translations: Path, encoder: Path) -> list[str]:
    """Uneven groups, rows of several widths and a last step with fewer micro-batches: folds of many shapes."""
    return [
        "--model.name", str(encoder), "--data.train", str(translations), "--data.group", "id", "--data.slice", "lang",
        "--data.max_length", "48", "--data.validation", "null", "--data.limit", "96", "--folds", str(FOLDS),
        "--training.learning_rate", "1e-3", "--training.lr_scaling", "none", "--batch.accumulate", "2",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory, flags: list[str]) -> Path:
    """The folder of one process, from a new interpreter: this environment's forks are set up for XLA."""
    output = tmp_path_factory.mktemp("one") / "cv"
    flags = [*flags, "--batch.size", "8", "--training.precision", "fp32", "--output", str(output)]  # as virtual cores
    subprocess.run([sys.executable, "-m", "accel_clf.cli", "cv", *flags], check=True, timeout=600, cwd=REPOSITORY)
    return output


@pytest.fixture(scope="module", params=["xla", "accelerate"])
def eight_cores(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, flags: list[str]
) -> tuple[Path, str]:
    """The folder of eight cores, and their output."""
    output = tmp_path_factory.mktemp(request.param) / "cv"
    cores = ["--strategy", request.param, "--virtual_cores", "8", "--batch.size", "1"]
    work = command(["cv", *flags, *cores, "--output", output], forbid_changes_of_the_environment)
    process = run_forked(work, output.parent, timeout=600)
    assert process.returncode == 0, process.stderr
    return output, process.stderr


def hardware(cv: Path, fold: int) -> dict[str, Any]:
    counts: dict[str, Any] = json.loads((cv / f"fold-{fold}" / "metrics.json").read_text())["hardware"]
    return counts


def test_only_the_first_fold_compiles(eight_cores: tuple[Path, str]) -> None:
    cv, stderr = eight_cores
    assert [hardware(cv, fold)["programs_compiled"] for fold in range(1, FOLDS)] == [0] * (FOLDS - 1)
    assert 0 < hardware(cv, 0)["programs_compiled"] <= hardware(cv, 0)["programs_announced"]
    assert stderr.count(" of them to compile") == 1
    assert "compiled for" not in stderr


def test_each_fold_counts_its_own_steps(eight_cores: tuple[Path, str]) -> None:
    cv, _ = eight_cores
    for fold in range(FOLDS):
        steps = json.loads((cv / f"fold-{fold}" / "metrics.json").read_text())["training"]["steps"]
        assert hardware(cv, fold)["optimizer_steps"] == hardware(cv, fold)["gradient_reductions"] == steps


def test_eight_cores_predict_as_one_process(eight_cores: tuple[Path, str], one_process: Path) -> None:
    rows, expected_rows = (read_csv(cv / "out_of_fold.csv") for cv in (eight_cores[0], one_process))
    assert [int(row["row"]) for row in rows] == sorted(int(row["row"]) for row in expected_rows)
    assert len({row["row"] for row in rows}) == 96
    for row, expected in zip(rows, expected_rows, strict=True):
        assert row["fold"] == expected["fold"]
        for label in ("good", "bad"):
            assert float(row[f"logit:{label}"]) == pytest.approx(float(expected[f"logit:{label}"]), abs=1e-3)
