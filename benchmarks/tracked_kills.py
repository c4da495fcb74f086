"""Kill a tracked run again and again; compare what TensorBoard, MLflow and trackio have with its metrics.jsonl.

python -m benchmarks.tracked_kills [--kills 10] [--seed 0] [--without-trainer]

Each kill is a SIGKILL at a random moment. All three trackers write files on this machine. Beside it the HF Trainer is
killed as often, which reports to the same three and resumes from its last checkpoint.
"""

import argparse
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from accel_clf.core.console import format_table
from benchmarks.chaos import last_saved_step

TRACKERS = ("tensorboard", "mlflow", "trackio")
Points = list[tuple[str, int, float]]  # name of a metric, step, value
SMALL = (
    "--data.limit",
    "1600",
    "--training.epochs",
    "16",
    "--evaluation.baseline",
    "false",
    "--checkpoint.every",
    "15",
)
LOG_EVERY, SAVE_EVERY = 10, 15  # steps; of the Trainer, as of ours
STEPS_TO_KILL, SECONDS = (0, 15, 30), 1.5  # where kills come: after so many saved steps, and a random time


def environment(store: Path) -> dict[str, str]:
    """Return what sends MLflow and trackio to a folder."""
    places = {"MLFLOW_TRACKING_URI": (store / "mlruns").as_uri(), "TRACKIO_DIR": str(store / "trackio")}
    return {**places, "MLFLOW_ALLOW_FILE_STORE": "true"}


def logged_points(run: Path) -> Points:
    """Read the points of metrics.jsonl, by the names that trackers have for them."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        (f"{line['event']}/{name}", line["step"], value)
        for line in lines
        for name, value in line.items()
        if name not in ("event", "step")
    ]


def tensorboard_points(folder: Path) -> Points:
    """Read all scalars of all event files below a folder, as often as they are there."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    return [
        (value.tag, event.step, float(value.tensor.float_val[0]))
        for file in sorted(folder.rglob("events.*"))
        for event in EventFileLoader(str(file)).Load()
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "scalars"
    ]


def mlflow_runs(store: Path) -> list[Points]:
    """Read all points of each run in MLflow's files."""
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    from mlflow import MlflowClient

    client = MlflowClient((store / "mlruns").as_uri())
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    return [
        [
            (name, metric.step, metric.value)
            for name in run.data.metrics
            for metric in client.get_metric_history(run.info.run_id, name)
        ]
        for run in runs
    ]


def trackio_runs(store: Path, step_name: str = "") -> list[Points]:
    """Read all points of each run in trackio's databases.

    Args:
        store: for the trackers' files.
        step_name: of the metric that has the step, where trackio has only counted the calls.
    """
    runs: dict[str, Points] = {}
    for path in sorted((store / "trackio").glob("*.db")):
        with sqlite3.connect(path) as connection:
            for run, step, metrics in connection.execute("SELECT run_id, step, metrics FROM metrics ORDER BY id"):
                values = {name: value for name, value in json.loads(metrics).items() if _is_number(value)}
                at = int(values.get(step_name, step))
                runs.setdefault(run, []).extend((name, at, value) for name, value in values.items())
    return list(runs.values())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def of_training(points: Points) -> Points:
    """Leave out final results, which metrics.jsonl does not have."""
    return [point for point in points if not point[0].startswith("final/")]


def differences(points: Points, expected: Points) -> tuple[int, int, int]:
    """Count the points that are there more than once, that are missing, and whose value is another one.

    Times differ: a step that is repeated takes another time. TensorBoard keeps fp32.
    """
    counts = Counter((name, step) for name, step, _ in points)
    values = {(name, step): value for name, step, value in points}
    twice = sum(counts.values()) - len(counts)
    missing = [(name, step) for name, step, _ in expected if (name, step) not in counts]
    others = [
        name
        for name, step, value in expected
        if (name, step) in values and "per_second" not in name and abs(values[name, step] - value) > 1e-6 * abs(value)
    ]
    return twice, len(missing), len(others)


def kill_and_restart(
    command: list[str], store: Path, begun: Path, saved_step: Callable[[], int], done: Path, kills: int, seed: int
) -> int:
    """Start a command until it is done, and kill it at random moments of its training.

    Args:
        command: trains.
        store: for the trackers' files.
        begun: a file that it writes when training begins.
        saved_step: returns the step of its newest checkpoint.
        done: a file that it writes at its end.
        kills: at most.
        seed: of the moments.

    Returns:
        How often it was killed.
    """
    rng, count = random.Random(seed), 0
    while not done.is_file():
        start_time, first = time.time(), saved_step()
        steps, seconds = rng.choice(STEPS_TO_KILL), rng.uniform(0, SECONDS)
        with (store / "stderr").open("w+") as file:
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=file, env=os.environ | environment(store)
            )
            while count < kills and process.poll() is None:
                is_begun = begun.is_file() and begun.stat().st_mtime > start_time
                if is_begun and saved_step() >= first + steps:
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(seconds)
                    if process.poll() is None:
                        process.kill()
                        count += 1
                    break
                time.sleep(0.01)
            if process.wait() not in (0, -9):
                file.seek(0)
                raise RuntimeError(file.read())
    return count


def rows(name: str, found: dict[str, list[Points]], expected: Points) -> Iterator[list[str]]:
    """Yield a line of the table for each tracker."""
    for tracker, runs in found.items():
        twice, missing, other = differences([point for points in runs for point in points], expected)
        yield [f"{name}, {tracker}", str(len(runs)), str(len(expected)), str(twice), str(missing), str(other)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without-trainer", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store, run = Path(folder), Path(folder) / "run"
        command = [sys.executable, "-m", "accel_clf.cli", "train", *SMALL, "--output", str(run)]
        command += [word for tracker in TRACKERS for word in ("--trackers", tracker)]
        begun, done = run / "environment.json", run / "metrics.json"
        kills = kill_and_restart(command, store, begun, partial(last_saved_step, run), done, args.kills, args.seed)
        print(f"accel_clf: killed {kills} times, {last_saved_step(run)} steps", flush=True)
        found = {
            "tensorboard": [of_training(tensorboard_points(run))],
            "mlflow": [of_training(points) for points in mlflow_runs(store)],
            "trackio": [of_training(points) for points in trackio_runs(store)],
        }
        table = list(rows("accel_clf", found, logged_points(run)))
    failed = any(cells[1] != "1" or cells[3:] != ["0", "0", "0"] for cells in table)
    header = ["run, tracker", "runs", "points", "twice", "missing", "other value"]
    print(format_table(header, table), flush=True)
    if not args.without_trainer:
        with tempfile.TemporaryDirectory() as folder:
            from benchmarks.tracked_trainer import killed_trainer

            print(format_table(header, killed_trainer(Path(folder), args.kills, args.seed)))
    return int(failed or kills < args.kills)


if __name__ == "__main__":
    sys.exit(main())
