"""A run resumes anywhere in an epoch, on any number of processes, and only with the settings and rows it began with."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import accel_clf.training.loop
from accel_clf.config.load import load
from accel_clf.config.schema import merge
from accel_clf.core.errors import ConfigError, Interrupted, UserError
from accel_clf.data import sampling
from accel_clf.data.sampling import PADDING_ROW
from accel_clf.run_folder.lock import RunLock
from accel_clf.training.checkpoint import newest
from accel_clf.training.run import train
from tests.faults.harness import LaunchedRun
from tests.parity.test_processes import log_lines

Refused = Callable[..., str]
Settings = dict[str, Any]
RecordSteps = Callable[[int | None], list[list[int]]]


@pytest.fixture
def settings(reviews: Path, tiny_bert: Path) -> Settings:
    """Two epochs of 19 steps."""
    return {
        "model": {"name": str(tiny_bert)},
        "data": {"train": str(reviews), "validation": 0.25, "max_length": 64},
        "training": {"epochs": 2, "learning_rate": 1e-3},
        "checkpoint": {"every": 1, "keep": 1},
    }


def run(settings: Settings, output: Path, changes: Settings | None = None) -> dict[str, Any]:
    return train(load(None, merge(merge(settings, changes or {}), {"output": str(output)})))


@pytest.fixture
def record_steps(monkeypatch: pytest.MonkeyPatch) -> RecordSteps:
    """Record the rows of each step of the next run, in the list that is returned; stop the run after a step."""
    rows_of_steps: list[list[int]] = []
    step = accel_clf.training.loop.train_step
    last_step: list[int | None] = [None]

    def recorded_step(model: Any, optimizer: Any, loss_of: Any, batches: Any, *args: Any) -> Any:
        batches = list(batches)
        rows_of_steps.append(sorted(row for batch in batches for row in batch["rows"].tolist()))
        if len(rows_of_steps) == last_step[0]:
            monkeypatch.setattr("accel_clf.core.signals.stop_signal", lambda: 15)
        return step(model, optimizer, loss_of, batches, *args)

    def start(stop_after: int | None) -> list[list[int]]:
        rows_of_steps.clear()
        last_step[0] = stop_after
        monkeypatch.setattr("accel_clf.core.signals.stop_signal", lambda: 0)
        monkeypatch.setattr(accel_clf.training.loop, "train_step", recorded_step)
        return rows_of_steps

    return start


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("stop", [1, 7, 18, 19, 20, 31, 37, 38])
def test_steps_have_the_same_rows_wherever_the_run_stops(
    settings: Settings, tmp_path: Path, record_steps: RecordSteps, stop: int
) -> None:
    """In the middle of an epoch, at its end, and in the next one; earlier rows are not read again."""
    rows = record_steps(None)
    run(settings, tmp_path / "reference")
    reference = list(rows)
    assert len(reference) == 38
    rows = record_steps(stop)
    with pytest.raises(Interrupted):
        run(settings, tmp_path / "run")
    rows_before_stop = list(rows)
    rows = record_steps(None)
    run(settings, tmp_path / "run")
    assert rows_before_stop == reference[:stop]
    assert rows == reference[stop:]
    assert weights(tmp_path / "run") == weights(tmp_path / "reference")
    for epoch in (0, 1):
        steps = sampling.global_batches(sampling.permutation(302, 0, epoch), 16)
        assert reference[19 * epoch : 19 * (epoch + 1)] == [
            sorted(rows[rows != PADDING_ROW].tolist()) for rows in steps
        ]


def run_and_stop(settings: Settings, output: Path, record_steps: RecordSteps, stop_after: int = 10) -> None:
    record_steps(stop_after)
    with pytest.raises(Interrupted):
        run(settings, output)
    record_steps(None)


CHANGES: list[tuple[Settings, str]] = [
    ({"training": {"seed": 1}}, "training.seed 0 -> 1"),
    ({"training": {"epochs": 3}}, "training.epochs 2 -> 3"),
    ({"training": {"learning_rate": 0.01}}, "training.learning_rate 0.001 -> 0.01"),
    ({"data": {"max_length": 32}}, "data.max_length 64 -> 32"),
    ({"evaluation": {"metric": "macro_f1"}}, "evaluation.metric accuracy -> macro_f1"),
    ({"batch": {"size": 8}}, "rows per step 16 -> 8"),
]


@pytest.mark.parametrize(("changes", "message"), CHANGES, ids=lambda value: value if isinstance(value, str) else "")
def test_changed_settings_are_refused(
    settings: Settings,
    tmp_path: Path,
    record_steps: RecordSteps,
    changes: Settings,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_and_stop(settings, tmp_path / "run", record_steps)
    contents = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=message):
        run(settings, tmp_path / "run", changes)
    assert contents == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    capsys.readouterr()
    run(settings, tmp_path / "run", {**changes, "allow_changes": True})
    assert f"warning: resuming with changes: {message}" in capsys.readouterr().err


def test_changed_rows_and_labels_are_refused(
    settings: Settings, tmp_path: Path, record_steps: RecordSteps, reviews: Path
) -> None:
    copy = tmp_path / "rows.csv"
    shutil.copy(reviews, copy)
    settings = merge(settings, {"data": {"train": str(copy)}})
    run_and_stop(settings, tmp_path / "run", record_steps)
    text = copy.read_text()
    first, second, *others = text.splitlines(keepends=True)
    other = "negative" if second.rstrip().endswith("positive") else "positive"
    for changed in (second.replace(" the ", " a ", 1), f"{second.rsplit(',', 1)[0]},{other}\n"):
        copy.write_text("".join([first, changed, *others]))
        with pytest.raises(ConfigError, match=r"other (train|validation) rows"):
            run(settings, tmp_path / "run")
    copy.write_text(text)
    run(settings, tmp_path / "run")


def test_settings_that_do_not_affect_the_result_may_change(
    settings: Settings, tmp_path: Path, record_steps: RecordSteps
) -> None:
    """Such as the size of micro-batches, for a smaller device."""
    run_and_stop(settings, tmp_path / "run", record_steps)
    changes = {"batch": {"size": 8, "accumulate": 2}, "checkpoint": {"every": "5m", "keep": 3}}
    assert run(settings, tmp_path / "run", changes)["training"]["steps"] == 38


def test_run_of_two_processes_resumes_as_one(tmp_path: Path, reviews: Path) -> None:
    """The demo's encoder has no dropout, so losses can be compared; the learning rate stays what it was."""
    args: list[object] = ["--model.name", "demo", "--data.train", reviews, "--data.validation", 0.25]
    args += ["--training.epochs", 3, "--evaluation.baseline", "false", "--checkpoint.every", 4]
    args += ["--training.learning_rate", 5e-4, "--training.lr_scaling", "linear"]
    two = LaunchedRun([*args, "--batch.size", 8], tmp_path / "two", processes=2)
    assert two.start().wait() == [0, 0], two.output()
    moved = LaunchedRun([*args, "--batch.size", 8], tmp_path / "moved", processes=2)
    assert moved.start().kill_after(12, 0.01)
    moved.wait()
    one = LaunchedRun([*args, "--batch.size", 16], tmp_path / "moved")
    assert one.start().wait() == [0], one.output()
    assert "resuming after step" in one.output()
    expected_lines, lines = (log_lines(tmp_path / name, "train") for name in ("two", "moved"))
    for line, expected in zip(lines, expected_lines, strict=True):
        assert line["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        assert (line["step"], line["rate"]) == (expected["step"], expected["rate"])


def test_resume_never_sets_the_folder_aside(settings: Settings, tmp_path: Path, record_steps: RecordSteps) -> None:
    run_and_stop(settings, tmp_path / "run", record_steps)
    run(settings, tmp_path / "run", {"resume": "never"})
    assert newest(tmp_path / "run.1" / "checkpoints")[0]
    assert not (tmp_path / "run.1" / "metrics.json").exists()
    run(settings, tmp_path / "run", {"resume": "never", "training": {"epochs": 1}})
    assert (tmp_path / "run.2" / "metrics.json").is_file()
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["training"]["steps"] == 19


def test_run_resumes_from_a_checkpoint_in_another_folder(
    settings: Settings, tmp_path: Path, record_steps: RecordSteps
) -> None:
    """From the middle of a finished run, with the best model up to then."""
    changes = {"checkpoint": {"every": 5, "keep": 9}, "evaluation": {"every": 8}}
    run(settings, tmp_path / "run", changes)
    middle = tmp_path / "run" / "checkpoints" / "step-00000015"
    run(settings, tmp_path / "again", {**changes, "resume": str(middle)})
    assert weights(tmp_path / "again") == weights(tmp_path / "run")
    ends = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("again", "run")]
    assert ends[0]["validation"] == ends[1]["validation"]
    last_lines = [log_lines(tmp_path / name, "train")[-1] for name in ("again", "run")]
    assert last_lines[0]["loss"] == last_lines[1]["loss"]
    (tmp_path / "run" / "metrics.json").unlink()
    with pytest.raises(ConfigError, match="the run has come as far as step-00000038"):
        run(settings, tmp_path / "run", {**changes, "resume": str(middle)})
    run_and_stop({**settings, **changes}, tmp_path / "third", record_steps)
    with pytest.raises(ConfigError, match="holds a run of its own"):
        run(settings, tmp_path / "third", {**changes, "resume": str(middle)})


def test_requested_checkpoint_must_exist(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not there"):
        run(settings, tmp_path / "run", {"resume": str(tmp_path / "nowhere")})
    assert not (tmp_path / "run").exists()


def test_run_resumes_from_the_checkpoint_before_a_damaged_one(
    settings: Settings, tmp_path: Path, record_steps: RecordSteps, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**settings, "checkpoint": {"every": 4, "keep": 2}}
    run(settings, tmp_path / "reference")
    run_and_stop(settings, tmp_path / "run", record_steps)
    last = tmp_path / "run" / "checkpoints" / "step-00000010" / "optimizer.safetensors"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    with pytest.raises(UserError, match=r"optimizer\.safetensors is not what was written"):
        run(settings, tmp_path / "elsewhere", {"resume": str(last.parent)})
    capsys.readouterr()
    run(settings, tmp_path / "run")
    stderr = capsys.readouterr().err
    assert "optimizer.safetensors is not what was written; the one before is taken" in stderr
    assert "resuming after step 8," in stderr
    assert weights(tmp_path / "run") == weights(tmp_path / "reference")


def test_run_without_an_intact_checkpoint_does_not_start_from_scratch(
    settings: Settings, tmp_path: Path, record_steps: RecordSteps
) -> None:
    run_and_stop(settings, tmp_path / "run", record_steps)
    for manifest in (tmp_path / "run" / "checkpoints").rglob("manifest.json"):
        manifest.unlink()
    with pytest.raises(UserError, match="no manifest"):
        run(settings, tmp_path / "run")


def test_folder_in_use_is_refused(settings: Settings, tmp_path: Path, refused: Refused) -> None:
    lock = RunLock(load(None, merge(settings, {"output": str(tmp_path / "run")})))
    try:
        flags = ["--data.train", settings["data"]["train"], "--output", tmp_path / "run"]
        assert "is in use by another run" in refused(2, "train", *flags)
    finally:
        lock.release()
    assert not (tmp_path / "run").exists()
    run(settings, tmp_path / "run")


def test_checkpoint_holds_all_of_adamws_state(tmp_path: Path, settings: Settings) -> None:
    """By the names of the bare model's weights."""
    run(settings, tmp_path / "run", {"training": {"epochs": 1}})
    saved, _ = newest(tmp_path / "run" / "checkpoints")
    assert saved
    optimizer_state, model_state = saved.optimizer_state(), saved.weights()
    trained = {name for name in model_state if "position_ids" not in name}
    assert set(optimizer_state) == {f"{name}.{key}" for name in trained for key in ("step", "exp_avg", "exp_avg_sq")}
    assert {float(value) for name, value in optimizer_state.items() if name.endswith(".step")} == {19.0}
    assert all(np.isfinite(value.numpy()).all() for value in optimizer_state.values())
