"""`accel-clf watch`: what it shows of a run, and when it ends."""

import io
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from accel_clf.cli.main import main
from accel_clf.config.load import from_mapping
from accel_clf.core.errors import ConfigError
from accel_clf.core.exit_codes import DONE, FAILED, USAGE
from accel_clf.reports.watch import live as watch
from accel_clf.reports.watch.braille import BLANK, braille
from accel_clf.reports.watch.pictures import duration, evaluation_line, picture
from accel_clf.reports.watch.progress import CrossValidationProgress, RunProgress
from accel_clf.run_folder import layout

STEPS = 200  # of 400
ACCURACY = {50: 0.7, 100: 0.9, 150: 0.8}


def write_run(folder: Path, steps: int = STEPS, **environment: Any) -> Path:
    """Write what a run has written after some steps of 400, of 32 rows each, at 640 rows per second."""
    folder.mkdir(parents=True, exist_ok=True)
    config = from_mapping({"batch": {"size": 32}, "training": {"epochs": 4}, "output": str(folder)})
    config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"metric": "accuracy"})})
    layout.write_config(folder, config)
    about = {
        "device": "cpu, 2 threads",
        "processes": 1,
        "total_steps": 400,
        "pid": os.getpid(),
        "host": platform.node(),
    }
    (folder / "environment.json").write_text(json.dumps(about | environment))
    lines: list[dict[str, Any]] = []
    for step in range(10, steps + 1, 10):
        line = {"epoch": 1 + step // 101, "rate": 1e-3 / step, "loss": 1 / step, "rows_per_second": 640.0}
        lines.append({"event": "train", "step": step, **line, "grad_norm": 2.0 + step % 3})
        if step in ACCURACY:
            lines.append({"event": "validation", "step": step, "accuracy": ACCURACY[step], "log_loss": 0.5})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def finish(folder: Path) -> None:
    training = {"rows": 9, "steps": 400, "best_step": 100, "seconds": 20.0, "stopped_early": False}
    results = {"training": training, "held_out": {"rows": 9, "accuracy": 0.875}}
    (folder / "metrics.json").write_text(json.dumps(results))


def draw(progress: RunProgress | CrossValidationProgress, width: int, height: int | None = None) -> list[str]:
    progress.update()
    console = Console(width=width, file=io.StringIO())
    console.print(picture(progress, width, height))
    return str(console.file.getvalue()).splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_picture_fits_and_says_it_all(tmp_path: Path, width: int) -> None:
    lines = draw(RunProgress(write_run(tmp_path)), width)
    text = " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= width
    assert "step 200 of 400" in text
    assert "epoch 2 of 4" in text
    assert "640 rows/s" in text
    assert "about 10 s left" in text  # 200 steps of 32 rows
    assert "cpu, 2 threads" in text
    for name in ("loss 0.005", "learning rate 5e-06", "gradient norm 4"):
        assert name in text
    assert "accuracy 0.8000 0.9000" in text  # the last and the best
    assert "best, step 100" in text
    if sys.platform == "linux":
        assert "memory " in text


@pytest.mark.parametrize("height", [10, 16, 24, 50])
@pytest.mark.parametrize("width", [40, 80])
def test_a_picture_fits_into_a_terminal(tmp_path: Path, width: int, height: int) -> None:
    lines = draw(RunProgress(write_run(tmp_path)), width, height)
    assert len(lines) <= max(height, 9)
    assert any("best, step 100" in line for line in lines)
    assert any(ord(letter) > BLANK for line in lines for letter in line) == (height >= 16)


def test_states_of_a_run(tmp_path: Path) -> None:
    run = RunProgress(tmp_path)
    assert "waiting for its first step" in "\n".join(draw(run, 80))
    write_run(tmp_path)
    assert "nothing written" not in "\n".join(draw(run, 80))
    an_hour_ago = time.time() - 3600
    for name in ("metrics.jsonl", "environment.json"):
        os.utime(tmp_path / name, (an_hour_ago, an_hour_ago))
    assert "nothing written for 1 h" in "\n".join(draw(run, 80))
    finish(tmp_path)
    lines = draw(run, 80)
    assert "finished" in lines
    assert not any("left" in line for line in lines)


def test_a_resumed_run_is_read_again(tmp_path: Path) -> None:
    run = RunProgress(write_run(tmp_path))
    draw(run, 80)
    assert (run.step, len(run.training), len(run.evaluations)) == (200, 20, 3)
    (tmp_path / "metrics.jsonl").rename(tmp_path / "old")
    write_run(tmp_path, steps=120)
    draw(run, 80)
    assert (run.step, len(run.training), len(run.evaluations)) == (120, 12, 2)


def test_of_a_metric_that_is_better_when_lower(tmp_path: Path) -> None:
    write_run(tmp_path)
    config = (tmp_path / "config.yaml").read_text().replace("metric: accuracy", "metric: log_loss")
    (tmp_path / "config.yaml").write_text(config)
    run = RunProgress(tmp_path)
    run.update()
    best = run.best()
    assert best
    assert best.step == 50  # the first of equal ones


def write_folds(folder: Path) -> Path:
    """A cross-validation of three folds: finished, in progress, and to come."""
    folder.mkdir()
    (folder / layout.FOLDS).write_text(json.dumps({"folds": 3, "rows": "digest"}))
    finish(write_run(folder / "fold-0", 400))
    write_run(folder / "fold-1")
    return folder


@pytest.mark.parametrize("width", [40, 80])
def test_a_cross_validation(tmp_path: Path, width: int) -> None:
    lines = draw(CrossValidationProgress(write_folds(tmp_path / "cv")), width)
    text = " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= width
    assert "0 finished 0.8750 held out" in text
    assert "1 training 50% 0.9000 validation" in text
    assert "2 waiting" in text
    assert "all folds: about 30 s left" in text  # 200 steps and 400, 20 a second
    assert "one after another fold 1 epoch 2 of 4, step 200 of 400" in text


def test_lines_where_there_is_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It ends when the run does."""
    write_run(tmp_path)
    ending = threading.Timer(1.5, finish, [tmp_path])
    ending.start()
    assert main(["watch", str(tmp_path)]) == DONE
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("step 50 of 400  accuracy 0.7000  log_loss 0.5000  (best accuracy 0.7000 at step 50)")
    assert "(best accuracy 0.9000 at step 100)" in lines[2]
    assert lines[3] == "finished: trained for 20 s"


def test_lines_of_a_cross_validation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folds(tmp_path / "cv")
    finish(folder)
    assert main(["watch", str(folder)]) == DONE
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [*["fold 0"] * 4, *["fold 1"] * 3, "finished"]


def test_a_run_whose_process_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watch, "RESTART_SECONDS", 0.5)
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    write_run(tmp_path, pid=process.pid)
    picture = "\n".join(draw(RunProgress(tmp_path), 80))
    assert "its process has ended" in picture and " left" not in picture
    assert main(["watch", str(tmp_path)]) == FAILED
    output = capsys.readouterr()
    assert "its process ended after step 200 of 400" in output.err
    assert output.out.count("accuracy") and " left" not in output.out


def test_time_left_is_said_of_the_last_evaluation_alone(tmp_path: Path) -> None:
    run = RunProgress(write_run(tmp_path))
    run.update()
    assert [" left" in evaluation_line(run, evaluation) for evaluation in run.evaluations] == [False, False, True]


def test_of_another_machine_nothing_is_known_of_the_process(tmp_path: Path) -> None:
    run = RunProgress(write_run(tmp_path, host="elsewhere"))
    run.update()
    assert run.is_running() is None
    assert run.memory() == {}


def test_memory_of_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho '1, 9'\necho '{os.getpid()}, 512'\necho '{os.getpid()}, 512'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    run = RunProgress(write_run(tmp_path / "run", device="cuda, one GPU"))
    run.update()
    assert run.memory()["GPU memory"] == 2**30


def test_once_and_what_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", str(write_run(tmp_path)), "--once"]) == DONE
    assert "step 200 of 400" in capsys.readouterr().out
    assert main(["watch", str(tmp_path / "none")]) == USAGE
    with pytest.raises(ConfigError):
        watch.watch(tmp_path / "none")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["watch", str(empty), "--once"]) == DONE, "a run may be about to begin there"
    assert "waiting for its first step" in capsys.readouterr().out
    (empty / "notes.txt").touch()
    assert main(["watch", str(empty), "--once"]) == USAGE
    assert "no run" in capsys.readouterr().err


def test_watch_needs_no_torch() -> None:
    heavy = "{'torch', 'transformers', 'accelerate'}"
    code = f"import sys, accel_clf.reports.watch.live; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("points", "corners"),
    [
        ([(0, 0.0), (9, 1.0)], (False, True, True, False)),
        ([(0, 1.0), (9, 0.0)], (True, False, False, True)),
    ],
)
def test_a_curve_rises_and_falls(points: list[tuple[float, float]], corners: tuple[bool, ...]) -> None:
    lines = braille(points, 10, 4)
    ends = (lines[0][0], lines[0][-1], lines[-1][0], lines[-1][-1])
    assert tuple(letter != chr(BLANK) for letter in ends) == corners


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50),
    st.integers(1, 60),
    st.integers(1, 9),
)
def test_every_column_of_a_curve_has_a_dot(values: list[float], width: int, height: int) -> None:
    lines = braille(list(enumerate(values)), width, height)
    assert [len(line) for line in lines] == [width] * height
    columns = ["".join(line[at] for line in lines) for at in range(width)]
    assert all(column.strip(chr(BLANK)) for column in (columns if len(values) > 1 else columns[-1:]))


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s"), (600, "10 min"), (3600, "1 h"), (12000, "3 h 20 min"), (7199, "2 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows pictures one above the other until the run is finished."""
    write_run(tmp_path)
    threading.Timer(0.5, finish, [tmp_path]).start()
    stream = io.StringIO()
    make: Callable[..., Console] = Console
    monkeypatch.setattr(
        watch, "Console", lambda: make(file=stream, force_terminal=True, width=80, height=30, _environ={})
    )
    monkeypatch.setattr(watch, "REFRESH_SECONDS", 0.2)
    watch.watch(tmp_path)
    shown = stream.getvalue()
    assert shown.count("step 200 of 400") > 2
    assert "finished" in shown
