"""Kill a run again and again, start it again each time, and compare its end with that of a run that nobody killed.

python -m benchmarks.chaos [--kills 25] [--seed 0] [-- FLAGS OF accel-clf train]

Kills are SIGKILLs at random moments. The verdict is on the last checkpoint (weights, optimizer), the saved model and
the metrics, bit for bit; times are left out.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from accel_clf.core.console import format_table

SMALL = ("--data.limit", "1600", "--evaluation.baseline", "false", "--checkpoint.every", "3")
KILLS_AN_EPOCH = 2  # all fit into one run: a start makes 5 to 13 steps of 45 before it is killed, on the average
SAVES = (0, 3, 6, 12)  # steps, of which every third is saved
STARTING, STEPPING = 8.0, 0.2  # seconds
TIMES = {"seconds", "logged_seconds", "rows_per_second"}


def command(output: Path, flags: list[str]) -> list[str]:
    return [sys.executable, "-m", "accel_clf.cli", "train", *SMALL, *flags, "--output", str(output)]


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items() if key not in TIMES}
    return value


def outcome(run: Path) -> dict[str, Any]:
    """What two runs must have in common, by name."""
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
    """Kill a run so long after the checkpoint so many steps on; False if it ends before."""
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
    given, flags = sys.argv[1:], []
    if "--" in given:
        given, flags = given[: given.index("--")], given[given.index("--") + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args(given)
    flags = ["--training.epochs", str(max(2, wanted.kills // KILLS_AN_EPOCH)), *flags]
    draw = random.Random(wanted.seed)
    with tempfile.TemporaryDirectory() as folder:
        reference, run = Path(folder) / "reference", Path(folder) / "run"
        subprocess.run(command(reference, flags), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        training = json.loads((reference / "metrics.json").read_text())["training"]
        print(f"a run that nobody kills: {training['steps']} steps in {training['seconds']:.1f} s", flush=True)
        kills, starts, from_steps = 0, 0, []
        while not (run / "metrics.json").is_file():
            starts += 1
            with (Path(folder) / "said").open("w+") as said:
                process = subprocess.Popen(command(run, flags), stdout=subprocess.DEVNULL, stderr=said)
                steps = draw.choice(SAVES)
                seconds = draw.uniform(0, STEPPING if steps else STARTING)
                if kills < wanted.kills and kill_after(run, process, steps, seconds):
                    kills += 1
                code = process.wait()
                said.seek(0)
                told = said.read()
            if code not in (0, -9):
                print(f"start {starts} ended with exit code {code}:\n{told}")
                return 1
            if found := [line for line in told.splitlines() if line.startswith("going on after step")]:
                from_steps.append(found[0].split()[4].rstrip(","))
            print(f"start {starts}: {'killed' if code else 'finished'}; {found[0] if found else 'from the beginning'}")
        one, other = outcome(reference), outcome(run)
    rows = [[name, "equal" if one[name] == other[name] else "DIFFERS"] for name in one]
    print(format_table(["at the end", f"after {kills} kills"], rows))
    print(f"{kills} kills, {len(from_steps)} resumes, after steps {', '.join(from_steps)}")
    if kills < wanted.kills:
        print(f"the run was over before all {wanted.kills}: more of --training.epochs, after --")
    return int(one != other or kills < wanted.kills)


if __name__ == "__main__":
    sys.exit(main())
