"""Kill a run again and again, restart it each time, and compare its results with those of an uninterrupted run.

python -m benchmarks.chaos [--kills 25] [--seed 0] [-- FLAGS OF accel-clf train]

Each kill is a SIGKILL at a random moment. The last checkpoint (weights, optimizer), the saved model and the metrics
must be equal, bit for bit, except for times.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from accel_clf.core.console import format_table

SMALL = ("--data.limit", "1600", "--evaluation.baseline", "false", "--checkpoint.every", "3")
KILLS_PER_EPOCH = 2  # so that all fit into the run: a start takes 5 to 13 of an epoch's 45 steps, on average
STEPS_TO_KILL = (0, 3, 6, 12)  # every third step is saved
START_SECONDS, STEP_SECONDS = 8.0, 0.2  # a kill comes at random within these
TIMES = {"seconds", "logged_seconds", "rows_per_second"}


def command(output: Path, flags: list[str]) -> list[str]:
    return [sys.executable, "-m", "accel_clf.cli", "train", *SMALL, *flags, "--output", str(output)]


def without_times(value: Any) -> Any:
    """Remove times from nested JSON objects."""
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items() if key not in TIMES}
    return value


def outcome(run: Path) -> dict[str, Any]:
    """Read the results that two equal runs have in common."""
    last = max((run / "checkpoints").glob("step-*"))
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        "last checkpoint": last.name,
        "weights": (last / "model.safetensors").read_bytes(),
        "optimizer": (last / "optimizer.safetensors").read_bytes(),
        "saved model": (run / "model" / "model.safetensors").read_bytes(),
        "metrics": without_times(json.loads((run / "metrics.json").read_text())),
        "log": [without_times(line) for line in log],
    }


def kill_after(run: Path, process: "subprocess.Popen[bytes]", steps: int, seconds: float) -> bool:
    """Kill a run some seconds after it has saved `steps` steps more; return False if it ends before."""
    first = last_saved_step(run)
    while last_saved_step(run) < first + steps:
        if process.poll() is not None:
            return False
        time.sleep(0.005)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return True
    return False


def last_saved_step(run: Path) -> int:
    """Return the step of a run's newest checkpoint, intact or not; 0 for none."""
    return max((int(path.name.split("-")[1]) for path in (run / "checkpoints").glob("step-*")), default=0)


def main() -> int:
    arguments, flags = sys.argv[1:], []
    if "--" in arguments:
        arguments, flags = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    flags = ["--training.epochs", str(max(2, args.kills // KILLS_PER_EPOCH)), *flags]
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        reference, run = Path(folder) / "reference", Path(folder) / "run"
        subprocess.run(command(reference, flags), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        training = json.loads((reference / "metrics.json").read_text())["training"]
        print(f"uninterrupted run: {training['steps']} steps in {training['seconds']:.1f} s", flush=True)
        kills, starts, from_steps = 0, 0, []
        while not (run / "metrics.json").is_file():
            starts += 1
            with (Path(folder) / "stderr").open("w+") as file:
                process = subprocess.Popen(command(run, flags), stdout=subprocess.DEVNULL, stderr=file)
                steps = rng.choice(STEPS_TO_KILL)
                seconds = rng.uniform(0, STEP_SECONDS if steps else START_SECONDS)
                if kills < args.kills and kill_after(run, process, steps, seconds):
                    kills += 1
                code = process.wait()
                file.seek(0)
                stderr = file.read()
            if code not in (0, -9):
                print(f"start {starts} ended with exit code {code}:\n{stderr}")
                return 1
            beginning = "from the beginning"
            if resumed := re.search(r"^resuming after step (\d+),.*", stderr, re.MULTILINE):
                beginning = resumed[0]
                from_steps.append(resumed[1])
            print(f"start {starts}: {'killed' if code else 'finished'}; {beginning}")
        expected, results = outcome(reference), outcome(run)
    rows = [[name, "equal" if expected[name] == results[name] else "DIFFERS"] for name in expected]
    print(format_table(["result", f"after {kills} kills"], rows))
    print(f"{kills} kills, {len(from_steps)} resumes, after steps {', '.join(from_steps)}")
    if kills < args.kills:
        print(f"the run ended before all {args.kills} kills: use more --training.epochs, after --")
    return int(expected != results or kills < args.kills)


if __name__ == "__main__":
    sys.exit(main())
