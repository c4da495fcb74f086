"""TensorBoard, MLflow and trackio have what metrics.jsonl has, once, whatever happens to the run or to them."""

import json
import random
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock

from accel_clf.config.load import from_mapping
from accel_clf.core.errors import ConfigError
from accel_clf.cross_validation.run import cross_validate
from accel_clf.run_folder.compat import differences
from accel_clf.tracking import followers
from accel_clf.tracking.content import Line
from accel_clf.tracking.local import Trackio
from accel_clf.tracking.note import Note
from accel_clf.training.run import train
from benchmarks import tracked_kills
from benchmarks.tracked_kills import TRACKERS, Points, logged_points, of_training
from benchmarks.tracked_kills import differences as differing
from tests.conftest import read_csv
from tests.faults.harness import LaunchedRun


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that MLflow and trackio write to."""
    for name, value in tracked_kills.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    return tmp_path


def settings(output: Path, reviews: Path, model: Path, *trackers: str, **others: Any) -> dict[str, Any]:
    return {
        "model": {"name": str(model)},
        "data": {"train": str(reviews), "validation": 0.25, "max_length": 32, "near_duplicates": False},
        "training": {"epochs": 2, "learning_rate": 1e-3},
        "trackers": list(trackers),
        "output": str(output),
        **others,
    }


def points(run: Path, store: Path) -> dict[str, list[Points]]:
    """What each tracker has of training: a list of points for each run."""
    found = {
        "tensorboard": [tracked_kills.tensorboard_points(run)],
        "mlflow": tracked_kills.mlflow_runs(store),
        "trackio": tracked_kills.trackio_runs(store),
    }
    return {tracker: [of_training(of_run) for of_run in runs] for tracker, runs in found.items()}


def assert_tracked(run: Path, store: Path) -> None:
    """Each tracker has one run, with all points of metrics.jsonl, none twice, with their values."""
    expected = logged_points(run)
    assert len(expected) > 20
    for tracker, runs in points(run, store).items():
        assert len(runs) == 1, tracker
        assert differing(runs[0], expected) == (0, 0, 0), tracker
        assert len(runs[0]) == len(expected), tracker


def test_a_run_that_is_killed_and_stopped_goes_on_in_the_same_one(store: Path, reviews: Path, tiny_bert: Path) -> None:
    """And no process of a killed run remains."""
    args: list[object] = ["--model.name", tiny_bert, "--data.train", reviews, "--data.max_length", 64]
    args += ["--data.validation", 0.25, "--training.epochs", 4, "--training.learning_rate", 1e-3, "--batch.size", 8]
    args += ["--evaluation.every", 13, "--checkpoint.every", 7]
    args += [word for tracker in TRACKERS for word in ("--trackers", tracker)]
    run = LaunchedRun(args, store / "run")
    assert run.start().kill_after(42, random.Random(0).uniform(0, 1.0)), run.output()
    run.wait()
    for path in (store / "run" / "tracking").glob(".*.lock"):
        FileLock(path).acquire(timeout=10).lock.release()
    run.start().wait_for('"step": 100')
    run.ranks[0].send_signal(signal.SIGTERM)
    assert run.wait() == [143]
    assert run.start().wait() == [0], run.output()
    assert_tracked(store / "run", store)


def test_only_rank_0_speaks_and_texts_stay(store: Path, reviews: Path, tiny_bert: Path) -> None:
    args: list[object] = ["--model.name", tiny_bert, "--data.train", reviews, "--data.max_length", 64, "--data.test"]
    args += [reviews, "--training.epochs", 2, "--batch.size", 8, "--training.timeout", 1]
    args += [word for tracker in TRACKERS for word in ("--trackers", tracker)]
    run = LaunchedRun(args, store / "run", 2)
    assert run.start().wait() == [0, 0], run.output()
    assert_tracked(store / "run", store)
    assert "mlflow has the run" in run.output()
    assert "has the run" not in run.output(1)
    folders = [store / "run" / "tensorboard", store / "run" / "tracking", store / "mlruns", store / "trackio"]
    sent = b"".join(path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file())
    assert b"learning_rate" in sent  # settings are there
    assert b"final/test/accuracy" in sent or b"accuracy" in sent
    for row in read_csv(reviews)[:100]:
        assert row["text"].encode() not in sent


def test_results_are_sent_and_a_finished_run_is_left_alone(
    store: Path, reviews: Path, tiny_bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To a tracker that is named only later, too."""
    output = store / "run"
    train(from_mapping(settings(output, reviews, tiny_bert, "mlflow")))
    [run] = tracked_kills.mlflow_runs(store)
    values = {name: value for name, _, value in run}
    results = json.loads((output / "metrics.json").read_text())
    assert values["final/validation/accuracy"] == results["validation"]["accuracy"]
    names = {path.name for path in (store / "mlruns").rglob("artifacts/**/*")}
    assert {"metrics.json", "confusion.tsv"} <= names
    capsys.readouterr()
    train(from_mapping(settings(output, reviews, tiny_bert, "mlflow")))
    assert "mlflow" not in capsys.readouterr().err
    train(from_mapping(settings(output, reviews, tiny_bert, *TRACKERS)))
    assert_tracked(output, store)


def test_folds_are_a_group(store: Path, reviews: Path, tiny_bert: Path) -> None:
    from mlflow import MlflowClient

    config = from_mapping(settings(store / "cv", reviews, tiny_bert, "tensorboard", "mlflow", folds=2))
    cross_validate(config)
    client = MlflowClient((store / "mlruns").as_uri())
    [experiment] = [found for found in client.search_experiments() if found.name == "accel_clf"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"cv", "cv-fold-0", "cv-fold-1"}
    assert {run.data.tags["group"] for run in runs.values()} == {"cv"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs["cv"].data.metrics["final/out_of_fold/accuracy"] > 0
    for fold in ("fold-0", "fold-1"):
        found = of_training(tracked_kills.tensorboard_points(store / "cv" / fold))
        assert differing(found, logged_points(store / "cv" / fold)) == (0, 0, 0)
    before = (store / "cv" / "fold-0" / "tracking" / "mlflow.json").stat().st_mtime_ns
    cross_validate(config)
    assert (store / "cv" / "fold-0" / "tracking" / "mlflow.json").stat().st_mtime_ns == before


def test_folds_are_in_one_store(
    store: Path, reviews: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """That of the working folder, which another command, elsewhere, finds again."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.chdir(tmp_path)
    cross_validate(from_mapping(settings(store / "cv", reviews, tiny_bert, "mlflow", folds=2)))
    stores = {Note.read(folder, "mlflow").store for folder in (store / "cv", *(store / "cv").glob("fold-?"))}
    assert len(stores) == 1
    assert str(tmp_path) in stores.pop()


def test_what_trackio_has_not_stored_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Trackio(Note(tmp_path, "trackio"), "project", "run", None)
    run.tracker, run._logged = SimpleNamespace(log=lambda *_, **__: None, finish=lambda: None), {}
    for step in (1, 2, 3):
        run.log(Line("train", step, {"train/loss": 0.5, "train/rate": 1.0}))
    monkeypatch.setattr(run, "logged", lambda: {"train/loss": {1, 3}, "train/rate": {1, 2, 3}, "others": {7}})
    with pytest.raises(OSError, match="has not stored 1 of 6 values"):
        run.finish(is_complete=True)
    monkeypatch.setattr(run, "logged", lambda: run._logged)
    run.finish(is_complete=True)


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_tracker_that_hangs_ends_in_a_warning(
    store: Path,
    reviews: Path,
    tiny_bert: Path,
    silent_server: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The run is as without it; the same command sends it once the tracker answers."""
    monkeypatch.setattr(followers, "ANSWER_SECONDS", 5.0)
    with monkeypatch.context() as silent:
        silent.setenv("MLFLOW_TRACKING_URI", silent_server)
        tracked = train(from_mapping(settings(store / "run", reviews, tiny_bert, *TRACKERS)))
    printed = capsys.readouterr().err
    assert f"warning: mlflow may not have {store / 'run'}: it does not answer" in printed
    assert "the same command sends the rest" in printed
    assert "tensorboard has the run" in printed
    untracked = train(from_mapping(settings(store / "other", reviews, tiny_bert)))
    assert untracked["training"]["weights_at_the_end"] == tracked["training"]["weights_at_the_end"]
    assert not (store / "other" / "tracking").exists()
    train(from_mapping(settings(store / "run", reviews, tiny_bert, *TRACKERS)))
    assert_tracked(store / "run", store)


def test_a_tracker_that_fails_ends_in_a_warning(
    store: Path,
    reviews: Path,
    tiny_bert: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert train(from_mapping(settings(store / "run", reviews, tiny_bert, "mlflow")))
    printed = capsys.readouterr().err
    assert f"warning: mlflow may not have {store / 'run'}: " in printed
    assert "Traceback" not in printed
    assert Note.read(store / "run", "mlflow").error


def test_an_unknown_tracker_is_refused() -> None:
    with pytest.raises(ConfigError, match="trackers is 'tensorbord'") as refused:
        from_mapping({"trackers": ["tensorbord"]})
    assert "'mlflow'" in str(refused.value)


def test_a_tracker_that_is_not_installed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="comet_ml, and that is not installed") as refused:
        train(from_mapping({"trackers": ["comet_ml"], "output": str(tmp_path / "run")}))
    assert "pip install comet_ml" in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_trackers_may_change_when_a_run_is_resumed() -> None:
    before = from_mapping({})
    after = from_mapping({"trackers": ["mlflow"], "tracking": {"project": "other", "group": "x"}})
    assert differences(before, after) == []


def test_a_note_that_is_damaged_is_made_anew(tmp_path: Path) -> None:
    note = Note(tmp_path, "mlflow", sent={"train": 10})
    note.write()
    assert Note.read(tmp_path, "mlflow") == note
    (tmp_path / "tracking" / "mlflow.json").write_text('{"id": ')
    assert Note.read(tmp_path, "mlflow").sent == {}
