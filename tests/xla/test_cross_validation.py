"""Folds on eight virtual cores: what is compiled in the first serves the others, and the answers are one process's."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY, make_xlmr, read_csv
from tests.forked import command, run_forked

FOLDS = 3


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory, translations: Path) -> Path:
    """One layer, so that its many programs compile soon."""
    return make_xlmr(tmp_path_factory.mktemp("encoder"), [row["text"] for row in read_csv(translations)], layers=1)


@pytest.fixture(scope="module")
def flags(translations: Path, encoder: Path) -> list[str]:
    """Groups of unequal numbers of rows, lengths of several widths, and an accumulation tail: folds of many shapes."""
    return [
        "--model.name", str(encoder), "--data.train", str(translations), "--data.group", "id", "--data.slice", "lang",
        "--data.max_length", "48", "--data.validation", "null", "--data.limit", "96", "--folds", str(FOLDS),
        "--training.learning_rate", "1e-3", "--training.lr_scaling", "none", "--batch.accumulate", "2",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, flags: list[str]) -> Path:
    """An interpreter of its own: the forks here are ready for XLA."""
    output = tmp_path_factory.mktemp("one") / "cv"
    flags = [*flags, "--batch.size", "8", "--training.precision", "fp32", "--output", str(output)]  # as virtual cores
    subprocess.run([sys.executable, "-m", "accel_clf.cli", "cv", *flags], check=True, timeout=600, cwd=REPOSITORY)
    return output


@pytest.fixture(scope="module", params=["xla", "accelerate"])
def eight(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, flags: list[str]
) -> tuple[Path, str]:
    """The folder, and what was said."""
    output = tmp_path_factory.mktemp(request.param) / "cv"
    cores = ["--strategy", request.param, "--virtual_cores", "8", "--batch.size", "1"]
    done = run_forked(command(["cv", *flags, *cores, "--output", output]), output.parent, timeout=600)
    assert done.returncode == 0, done.stderr
    return output, done.stderr


def hardware(cv: Path, fold: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((cv / f"fold-{fold}" / "metrics.json").read_text())["hardware"]
    return found


def test_only_the_first_fold_compiles(eight: tuple[Path, str]) -> None:
    cv, said = eight
    assert [hardware(cv, fold)["programs_compiled"] for fold in range(1, FOLDS)] == [0] * (FOLDS - 1)
    assert 0 < hardware(cv, 0)["programs_compiled"] <= hardware(cv, 0)["programs_announced"]
    assert said.count(" of them to compile") == 1
    assert "compiled for" not in said


def test_each_fold_counts_its_own_steps(eight: tuple[Path, str]) -> None:
    for fold in range(FOLDS):
        steps = json.loads((eight[0] / f"fold-{fold}" / "metrics.json").read_text())["training"]["steps"]
        assert hardware(eight[0], fold)["optimizer_steps"] == hardware(eight[0], fold)["gradient_reductions"] == steps


def test_eight_cores_answer_as_one_process(eight: tuple[Path, str], one: Path) -> None:
    mine, others = (read_csv(cv / "out_of_fold.csv") for cv in (eight[0], one))
    assert [int(row["row"]) for row in mine] == sorted(int(row["row"]) for row in others)
    assert len({row["row"] for row in mine}) == 96
    for row, other in zip(mine, others, strict=True):
        assert row["fold"] == other["fold"]
        for label in ("good", "bad"):
            assert float(row[f"logit:{label}"]) == pytest.approx(float(other[f"logit:{label}"]), abs=1e-3)
