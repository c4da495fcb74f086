"""Going on: anywhere in an epoch, in whatever number of processes, and only with what the run began with."""

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
from accel_clf.training.trainer import train
from tests.faults.harness import LaunchedRun
from tests.parity.test_processes import lines

Refused = Callable[..., str]
Settings = dict[str, Any]


@pytest.fixture
def settings(reviews: Path, tiny_bert: Path) -> Settings:
    """19 steps an epoch, two epochs."""
    return {
        "model": {"name": str(tiny_bert)},
        "data": {"train": str(reviews), "validation": 0.25, "max_length": 64},
        "training": {"epochs": 2, "learning_rate": 1e-3},
        "checkpoint": {"every": 1, "keep": 1},
    }


def go(settings: Settings, output: Path, changes: Settings | None = None) -> dict[str, Any]:
    return train(load(None, merge(merge(settings, changes or {}), {"output": str(output)})))


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], list[list[int]]]:
    """Lets a run be interrupted after a step, and notes the rows of each step that it has made."""
    made: list[list[int]] = []
    step = accel_clf.training.loop.train_step
    stop_after: list[int | None] = [None]

    def noting(model: Any, optimizer: Any, batches: Any, *others: Any) -> Any:
        batches = list(batches)
        made.append(sorted(row for batch in batches for row in batch["rows"].tolist()))
        if len(made) == stop_after[0]:
            monkeypatch.setattr("accel_clf.core.signals.stop_signal", lambda: 15)
        return step(model, optimizer, batches, *others)

    def prepare(stop: int | None) -> list[list[int]]:
        made.clear()
        stop_after[0] = stop
        monkeypatch.setattr("accel_clf.core.signals.stop_signal", lambda: 0)
        monkeypatch.setattr(accel_clf.training.loop, "train_step", noting)
        return made

    return prepare


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("stop", [1, 7, 18, 19, 20, 31, 37, 38])
def test_the_same_rows_wherever_it_stopped(settings: Settings, tmp_path: Path, taken: Any, stop: int) -> None:
    """In the middle of an epoch, at its end, in the next: what was before is not read again."""
    rows = taken(None)
    go(settings, tmp_path / "reference")
    reference = list(rows)
    assert len(reference) == 38
    rows = taken(stop)
    with pytest.raises(Interrupted):
        go(settings, tmp_path / "run")
    before = list(rows)
    rows = taken(None)
    go(settings, tmp_path / "run")
    assert before == reference[:stop]
    assert rows == reference[stop:]
    assert weights(tmp_path / "run") == weights(tmp_path / "reference")
    for epoch in (0, 1):
        steps = sampling.global_batches(sampling.permutation(302, 0, epoch), 16)
        assert reference[19 * epoch : 19 * (epoch + 1)] == [
            sorted(rows[rows != PADDING_ROW].tolist()) for rows in steps
        ]


def interrupted(settings: Settings, output: Path, taken: Any, after: int = 10) -> None:
    taken(after)
    with pytest.raises(Interrupted):
        go(settings, output)
    taken(None)


CHANGES: list[tuple[Settings, str]] = [
    ({"training": {"seed": 1}}, "training.seed 0 -> 1"),
    ({"training": {"epochs": 3}}, "training.epochs 2 -> 3"),
    ({"training": {"learning_rate": 0.01}}, "training.learning_rate 0.001 -> 0.01"),
    ({"data": {"max_length": 32}}, "data.max_length 64 -> 32"),
    ({"evaluation": {"metric": "macro_f1"}}, "evaluation.metric accuracy -> macro_f1"),
    ({"batch": {"size": 8}}, "rows per step 16 -> 8"),
]


@pytest.mark.parametrize(("changes", "told"), CHANGES, ids=lambda value: value if isinstance(value, str) else "")
def test_changed_settings_are_refused(
    settings: Settings, tmp_path: Path, taken: Any, changes: Settings, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted(settings, tmp_path / "run", taken)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=told):
        go(settings, tmp_path / "run", changes)
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    capsys.readouterr()
    go(settings, tmp_path / "run", {**changes, "allow_changes": True})
    assert f"warning: resuming with changes: {told}" in capsys.readouterr().err


def test_changed_rows_and_labels_are_refused(settings: Settings, tmp_path: Path, taken: Any, reviews: Path) -> None:
    copy = tmp_path / "rows.csv"
    shutil.copy(reviews, copy)
    mine = merge(settings, {"data": {"train": str(copy)}})
    interrupted(mine, tmp_path / "run", taken)
    text = copy.read_text()
    first, second, *others = text.splitlines(keepends=True)
    other = "negative" if second.rstrip().endswith("positive") else "positive"
    for changed in (second.replace(" the ", " a ", 1), f"{second.rsplit(',', 1)[0]},{other}\n"):
        copy.write_text("".join([first, changed, *others]))
        with pytest.raises(ConfigError, match=r"other (train|validation) rows"):
            go(mine, tmp_path / "run")
    copy.write_text(text)
    go(mine, tmp_path / "run")


def test_what_does_not_decide_the_result_may_change(settings: Settings, tmp_path: Path, taken: Any) -> None:
    """Another shape of the same step, as a smaller device needs it."""
    interrupted(settings, tmp_path / "run", taken)
    changes = {"batch": {"size": 8, "accumulate": 2}, "checkpoint": {"every": "5m", "keep": 3}}
    assert go(settings, tmp_path / "run", changes)["training"]["steps"] == 38


def test_two_processes_go_on_as_one(tmp_path: Path, reviews: Path) -> None:
    """The demo's encoder has no dropout, so that the numbers can be compared; the rate is the one in force."""
    arguments: list[object] = ["--model.name", "demo", "--data.train", reviews, "--data.validation", 0.25]
    arguments += ["--training.epochs", 3, "--evaluation.baseline", "false", "--checkpoint.every", 4]
    arguments += ["--training.learning_rate", 5e-4, "--training.lr_scaling", "linear"]
    two = LaunchedRun([*arguments, "--batch.size", 8], tmp_path / "two", processes=2)
    assert two.start().wait() == [0, 0], two.told()
    moved = LaunchedRun([*arguments, "--batch.size", 8], tmp_path / "moved", processes=2)
    assert moved.start().kill_after(12, 0.01)
    moved.wait()
    one = LaunchedRun([*arguments, "--batch.size", 16], tmp_path / "moved")
    assert one.start().wait() == [0], one.told()
    assert "resuming after step" in one.told()
    one_by_one = zip(lines(tmp_path / "two", "train"), lines(tmp_path / "moved", "train"), strict=True)
    for line, other in one_by_one:
        assert other["loss"] == pytest.approx(line["loss"], rel=1e-5)
        assert (other["step"], other["rate"]) == (line["step"], line["rate"])


def test_never_sets_aside_what_was_there(settings: Settings, tmp_path: Path, taken: Any) -> None:
    interrupted(settings, tmp_path / "run", taken)
    go(settings, tmp_path / "run", {"resume": "never"})
    assert newest(tmp_path / "run.1" / "checkpoints")[0]
    assert not (tmp_path / "run.1" / "metrics.json").exists()
    go(settings, tmp_path / "run", {"resume": "never", "training": {"epochs": 1}})
    assert (tmp_path / "run.2" / "metrics.json").is_file()
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["training"]["steps"] == 19


def test_a_checkpoint_goes_on_in_a_folder_of_its_own(settings: Settings, tmp_path: Path, taken: Any) -> None:
    """From the middle of a finished run, with the best model as it was then."""
    kept = {"checkpoint": {"every": 5, "keep": 9}, "evaluation": {"every": 8}}
    go(settings, tmp_path / "run", kept)
    middle = tmp_path / "run" / "checkpoints" / "step-00000015"
    go(settings, tmp_path / "again", {**kept, "resume": str(middle)})
    assert weights(tmp_path / "again") == weights(tmp_path / "run")
    ends = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("again", "run")]
    assert ends[0]["validation"] == ends[1]["validation"]
    assert lines(tmp_path / "again", "train")[-1]["loss"] == lines(tmp_path / "run", "train")[-1]["loss"]
    (tmp_path / "run" / "metrics.json").unlink()
    with pytest.raises(ConfigError, match="the run has come as far as step-00000038"):
        go(settings, tmp_path / "run", {**kept, "resume": str(middle)})
    interrupted({**settings, **kept}, tmp_path / "third", taken)
    with pytest.raises(ConfigError, match="holds a run of its own"):
        go(settings, tmp_path / "third", {**kept, "resume": str(middle)})


def test_an_explicit_checkpoint_must_be_whole(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not there"):
        go(settings, tmp_path / "run", {"resume": str(tmp_path / "nowhere")})
    assert not (tmp_path / "run").exists()


def test_a_damaged_one_gives_way_to_the_one_before(
    settings: Settings, tmp_path: Path, taken: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    two = {**settings, "checkpoint": {"every": 4, "keep": 2}}
    go(two, tmp_path / "whole")
    interrupted(two, tmp_path / "run", taken)
    last = tmp_path / "run" / "checkpoints" / "step-00000010" / "optimizer.safetensors"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    with pytest.raises(UserError, match=r"optimizer\.safetensors is not what was written"):
        go(two, tmp_path / "elsewhere", {"resume": str(last.parent)})
    capsys.readouterr()
    go(two, tmp_path / "run")
    told = capsys.readouterr().err
    assert "optimizer.safetensors is not what was written; the one before is taken" in told
    assert "resuming after step 8," in told
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


def test_where_none_is_whole_it_does_not_start_anew(settings: Settings, tmp_path: Path, taken: Any) -> None:
    interrupted(settings, tmp_path / "run", taken)
    for manifest in (tmp_path / "run" / "checkpoints").rglob("manifest.json"):
        manifest.unlink()
    with pytest.raises(UserError, match="no manifest"):
        go(settings, tmp_path / "run")


def test_two_runs_in_one_folder(settings: Settings, tmp_path: Path, refused: Refused) -> None:
    claim = RunLock(load(None, merge(settings, {"output": str(tmp_path / "run")})))
    try:
        flags = ["--data.train", settings["data"]["train"], "--output", tmp_path / "run"]
        assert "is in use by another run" in refused(2, "train", *flags)
    finally:
        claim.release()
    assert not (tmp_path / "run").exists()
    go(settings, tmp_path / "run")


def test_the_host_moments_come_back(tmp_path: Path, settings: Settings) -> None:
    """All of AdamW's state is in a checkpoint, in plain names."""
    go(settings, tmp_path / "run", {"training": {"epochs": 1}})
    found, _ = newest(tmp_path / "run" / "checkpoints")
    assert found
    optimizer_state, model = found.optimizer_state(), found.weights()
    trained = {name for name in model if "position_ids" not in name}
    assert set(optimizer_state) == {f"{name}.{key}" for name in trained for key in ("step", "exp_avg", "exp_avg_sq")}
    assert {float(value) for name, value in optimizer_state.items() if name.endswith(".step")} == {19.0}
    assert all(np.isfinite(value.numpy()).all() for value in optimizer_state.values())
