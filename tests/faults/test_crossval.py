"""Cross-validation killed, interrupted and shared by processes: the end is that of an undisturbed one (case 14)."""

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import read_csv
from tests.faults.harness import LaunchedRun

Made = Callable[..., LaunchedRun]
RESULTS = ("metrics.json", "out_of_fold.csv", "suspect_labels.csv", "folds.json")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, translations: Path, tiny_xlmr: Path) -> Made:
    folder = tmp_path_factory.mktemp("cv")

    def make(name: str, *more: object, processes: int = 1) -> LaunchedRun:
        arguments: list[object] = ["--model.name", tiny_xlmr, "--data.train", translations, "--data.max_length", 48]
        arguments += ["--data.slice", "lang", "--data.group", "id", "--data.validation", 0.2, "--folds", 4]
        arguments += ["--training.epochs", 9, "--training.learning_rate", 1e-3, "--training.lr_scaling", "none"]
        arguments += ["--training.precision", "fp32", "--training.timeout", 1]
        arguments += ["--batch.size", 8 // processes, "--checkpoint.every", 3]
        return LaunchedRun([*arguments, *more], folder / name, processes, "cv")

    return make


@pytest.fixture(scope="module")
def whole(job: Made) -> LaunchedRun:
    """One that nobody disturbs: four folds of 57 steps, of which every third is saved."""
    run = job("whole")
    assert run.start().wait() == [0], run.told()
    return run


def results(run: LaunchedRun) -> dict[str, bytes]:
    return {name: (run.folder / name).read_bytes() for name in RESULTS}


def times(run: LaunchedRun, folds: tuple[int, ...]) -> dict[Path, int]:
    """When each file and folder of some folds was changed."""
    inside = [
        path for fold in folds for path in (run.folder / f"fold-{fold}", *(run.folder / f"fold-{fold}").rglob("*"))
    ]
    return {path: path.stat().st_mtime_ns for path in inside}


def test_killed_in_a_fold(job: Made, whole: LaunchedRun) -> None:
    """Eight times in fold 2, in training, evaluation and saves: the folds before are not touched again."""
    run, draw = job("killed"), random.Random(0)
    fold = LaunchedRun([], run.folder / "fold-2")
    run.start().until("event", fold.folder / "metrics.jsonl")
    run.kill()
    before = times(run, (0, 1))
    kills = 1
    for steps in (0, 3, 6, 3, 9, 3, 6):
        fold.ranks = run.start().ranks
        assert fold.kill_after(steps, draw.uniform(0, 0.1)), run.told()
        assert run.wait() == [-signal.SIGKILL]
        kills += 1
    assert not (fold.folder / "metrics.json").exists()
    assert run.start().wait() == [0], run.told()
    assert "resuming after step" in run.told()
    assert kills == 8
    assert times(run, (0, 1)) == before
    assert results(run) == results(whole)


def test_killed_between_folds_and_while_collecting(job: Made, whole: LaunchedRun) -> None:
    run = job("between")
    for place in ("folds.json", "fold-0/metrics.json", "fold-2/held_out.csv", "out_of_fold.csv", "suspect_labels.csv"):
        run.start().until("", run.folder / place)
        run.kill()
    assert run.start().wait() == [0], run.told()
    assert results(run) == results(whole)


def test_a_signal_in_a_fold(job: Made, whole: LaunchedRun) -> None:
    run = job("signal")
    run.start().until('"step": 10,', run.folder / "fold-1" / "metrics.jsonl")
    os.kill(run.ranks[0].pid, signal.SIGTERM)
    assert run.wait(20) == [143]
    assert "to resume:\naccel-clf cv " in run.told()
    assert run.start().wait() == [0], run.told()
    assert "fold 0," not in run.told()
    assert results(run) == results(whole)


def test_two_processes(job: Made, whole: LaunchedRun) -> None:
    """The same global batches: the same folds, and logits that differ by rounding."""
    run = job("two", processes=2)
    assert run.start().wait() == [0, 0], run.told()
    assert (run.folder / "folds.json").read_bytes() == (whole.folder / "folds.json").read_bytes()
    mine, others = (read_csv(one.folder / "out_of_fold.csv") for one in (run, whole))
    assert len(mine) == 249
    for row, other in zip(mine, others, strict=True):
        for name, value in row.items():
            if name.startswith("logit:"):
                assert float(value) == pytest.approx(float(other[name]), abs=1e-4)
            elif name in ("row", "fold", "label", "slice"):
                assert value == other[name]
