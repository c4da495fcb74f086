"""Cross-validation that is killed, interrupted or run by two processes has the same results (case 14)."""

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import read_csv
from tests.faults.harness import LaunchedRun

MakeRun = Callable[..., LaunchedRun]
RESULTS = ("metrics.json", "out_of_fold.csv", "suspect_labels.csv", "folds.json")


@pytest.fixture(scope="module")
def make_run(tmp_path_factory: pytest.TempPathFactory, translations: Path, tiny_xlmr: Path) -> MakeRun:
    folder = tmp_path_factory.mktemp("cv")

    def make(name: str, *flags: object, processes: int = 1) -> LaunchedRun:
        args: list[object] = ["--model.name", tiny_xlmr, "--data.train", translations, "--data.max_length", 48]
        args += ["--data.slice", "lang", "--data.group", "id", "--data.validation", 0.2, "--folds", 4]
        args += ["--training.epochs", 9, "--training.learning_rate", 1e-3, "--training.lr_scaling", "none"]
        args += ["--training.precision", "fp32", "--training.timeout", 1]
        args += ["--batch.size", 8 // processes, "--checkpoint.every", 3]
        return LaunchedRun([*args, *flags], folder / name, processes, "cv")

    return make


@pytest.fixture(scope="module")
def reference(make_run: MakeRun) -> LaunchedRun:
    """An undisturbed one: four folds of 57 steps, of which every third is saved."""
    run = make_run("reference")
    assert run.start().wait() == [0], run.output()
    return run


def results(run: LaunchedRun) -> dict[str, bytes]:
    return {name: (run.folder / name).read_bytes() for name in RESULTS}


def mtimes(run: LaunchedRun, folds: tuple[int, ...]) -> dict[Path, int]:
    """Return the modification time of each file and folder of some folds."""
    folders = [run.folder / f"fold-{fold}" for fold in folds]
    return {path: path.stat().st_mtime_ns for folder in folders for path in (folder, *folder.rglob("*"))}


def test_kills_in_a_fold(make_run: MakeRun, reference: LaunchedRun) -> None:
    """Eight kills in fold 2, in training, evaluation and saves: the earlier folds are not touched again."""
    run, rng = make_run("killed"), random.Random(0)
    fold = LaunchedRun([], run.folder / "fold-2")
    run.start().wait_for("event", fold.folder / "metrics.jsonl")
    run.kill()
    earlier_folds = mtimes(run, (0, 1))
    kills = 1
    for steps in (0, 3, 6, 3, 9, 3, 6):
        fold.ranks = run.start().ranks
        assert fold.kill_after(steps, rng.uniform(0, 0.1)), run.output()
        assert run.wait() == [-signal.SIGKILL]
        kills += 1
    assert not (fold.folder / "metrics.json").exists()
    assert run.start().wait() == [0], run.output()
    assert "resuming after step" in run.output()
    assert kills == 8
    assert mtimes(run, (0, 1)) == earlier_folds
    assert results(run) == results(reference)


def test_kills_between_folds_and_while_collecting(make_run: MakeRun, reference: LaunchedRun) -> None:
    run = make_run("between")
    for file in ("folds.json", "fold-0/metrics.json", "fold-2/held_out.csv", "out_of_fold.csv", "suspect_labels.csv"):
        run.start().wait_for("", run.folder / file)
        run.kill()
    assert run.start().wait() == [0], run.output()
    assert results(run) == results(reference)


def test_signal_in_a_fold(make_run: MakeRun, reference: LaunchedRun) -> None:
    run = make_run("signal")
    run.start().wait_for('"step": 10,', run.folder / "fold-1" / "metrics.jsonl")
    os.kill(run.ranks[0].pid, signal.SIGTERM)
    assert run.wait(20) == [143]
    assert "to resume:\naccel-clf cv " in run.output()
    assert run.start().wait() == [0], run.output()
    assert "fold 0," not in run.output()
    assert results(run) == results(reference)


def test_two_processes_agree_with_one(make_run: MakeRun, reference: LaunchedRun) -> None:
    """With the same global batches: the folds are equal, and logits differ by rounding only."""
    run = make_run("two", processes=2)
    assert run.start().wait() == [0, 0], run.output()
    assert (run.folder / "folds.json").read_bytes() == (reference.folder / "folds.json").read_bytes()
    rows, expected_rows = (read_csv(job.folder / "out_of_fold.csv") for job in (run, reference))
    assert len(rows) == 249
    for row, expected in zip(rows, expected_rows, strict=True):
        for name, value in row.items():
            if name.startswith("logit:"):
                assert float(value) == pytest.approx(float(expected[name]), abs=1e-4)
            elif name in ("row", "fold", "label", "slice"):
                assert value == expected[name]
