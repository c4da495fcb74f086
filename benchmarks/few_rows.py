"""Compare training on a few rows of each label with SetFit's: accuracy, and seconds of the whole training.

python -m benchmarks.few_rows --model FOLDER_OR_ID --train FILE --test FILE [--sizes 8 16 32] [--draws 3]
    [--method lp_ft] [--set training.epochs=20] [--setfit PYTHON] [--pairs 20]

Each draw takes so many rows of each label at random. Both train on the same rows, one after the other, each in a
process of its own, and answer all of --test. Seconds are those from the rows to the trained model: loading the encoder
and training, without Python's imports; CPU seconds, of all threads, say more on a machine that is busy with other
things. --setfit names the Python of an environment that has setfit; without it, ours runs alone. SetFit trains with its
defaults, by which the number of pairs grows with the square of the rows: of 8 rows for each of 151 labels there are 1.4
million. --pairs sets its num_iterations, 20 in its paper: so many pairs of equal and of different labels for each row.
"""

import argparse
import csv
import gzip
import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from accel_clf.core.console import format_table

OURS = """
import json, sys, time
import accel_clf, accel_clf.training.run, transformers  # before the clock starts
settings = json.loads(sys.argv[1])
test = settings.pop("test")
began, cpu = time.time(), time.process_time()
run = accel_clf.train(settings)
seconds, cpu = time.time() - began, time.process_time() - cpu
print(json.dumps({"accuracy": run.evaluate(test)["accuracy"], "seconds": seconds, "cpu": cpu}))
"""

SETFIT = """
import csv, json, sys, time
from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments
options = json.loads(sys.argv[1])
def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
train, test = read(options["train"]), read(options["test"])
labels = sorted({row["label"] for row in train})
began, cpu = time.time(), time.process_time()
model = SetFitModel.from_pretrained(options["model"], labels=labels)
arguments = TrainingArguments(
    output_dir=options["output"], report_to="none", seed=options["seed"], show_progress_bar=False, save_strategy="no",
    logging_strategy="no", num_iterations=options["pairs"],
)
codes = [labels.index(row["label"]) for row in train]
rows = Dataset.from_dict({"text": [row["text"] for row in train], "label": codes})
Trainer(model, args=arguments, train_dataset=rows).train()
seconds, cpu = time.time() - began, time.process_time() - cpu
answers = model.predict([row["text"] for row in test], show_progress_bar=False)
right = [str(answer) == row["label"] for answer, row in zip(answers, test)]
print(json.dumps({"accuracy": sum(right) / len(right), "seconds": seconds, "cpu": cpu}))
"""


def read_rows(path: str) -> list[dict[str, str]]:
    """Read a CSV file's rows."""
    opener: Any = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def draw(rows: list[dict[str, str]], size: int, seed: int) -> list[dict[str, str]]:
    """Take `size` rows of each label at random."""
    by_label: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_label.setdefault(row["label"], []).append(row)
    generator = random.Random(seed)
    return [row for label in sorted(by_label) for row in generator.sample(by_label[label], size)]


def write_rows(path: Path, rows: list[dict[str, str]]) -> str:
    """Write texts and labels as CSV; return the file's name."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *((row["text"], row["label"]) for row in rows)])
    return str(path)


def run(python: str, program: str, options: dict[str, Any]) -> dict[str, float]:
    """Run a program in a process of its own; return the figures on its last line."""
    command = [python, "-W", "ignore", "-c", program, json.dumps(options)]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        raise SystemExit(process.stderr[-3000:])
    figures: dict[str, float] = json.loads(process.stdout.splitlines()[-1])
    return figures


def settings(args: argparse.Namespace, train: str, test: str, folder: str, seed: int) -> dict[str, Any]:
    """Make the settings of our run."""
    values: dict[str, Any] = {
        "model": {"name": args.model},
        "data": {"train": train, "validation": None, "max_length": 256},
        "training": {"method": args.method, "seed": seed},
        "output": f"{folder}/run",
        "test": test,
    }
    for assignment in args.set:
        name, value = assignment.split("=")
        section, _, key = name.partition(".")
        values.setdefault(section, {})[key] = json.loads(value)
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--test", required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 16, 32], help="rows of each label")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--method", default="lp_ft")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=JSON", help="another setting of ours"
    )
    parser.add_argument("--setfit", metavar="PYTHON", help="of an environment that has setfit")
    parser.add_argument("--pairs", type=int, help="SetFit's num_iterations (default: its default)")
    args = parser.parse_args()
    rows, lines = read_rows(args.train), []
    for size in args.sizes:
        figures: dict[str, list[dict[str, float]]] = {}
        for seed in range(args.draws):
            with tempfile.TemporaryDirectory() as folder:
                train = write_rows(Path(folder, "train.csv"), draw(rows, size, seed))
                test = write_rows(Path(folder, "test.csv"), read_rows(args.test))
                ours = run(sys.executable, OURS, settings(args, train, test, folder, seed))
                figures.setdefault(f"accel_clf, {args.method}", []).append(ours)
                print(f"# {size} rows, draw {seed}: accel_clf {ours}", flush=True)
                if args.setfit:
                    options = {"model": args.model, "train": train, "test": test, "output": folder, "seed": seed}
                    theirs = run(args.setfit, SETFIT, options | {"pairs": args.pairs})
                    figures.setdefault("SetFit", []).append(theirs)
                    print(f"# {size} rows, draw {seed}: SetFit {theirs}", flush=True)
        for name, of_draws in figures.items():
            accuracies = [100 * of["accuracy"] for of in of_draws]
            each = " ".join(f"{value:.1f}" for value in accuracies)
            seconds = statistics.mean(of["seconds"] for of in of_draws)
            cpu = statistics.mean(of["cpu"] for of in of_draws)
            lines.append([str(size), name, f"{statistics.mean(accuracies):.2f}", each, f"{seconds:.1f}", f"{cpu:.1f}"])
    print(format_table(["rows a label", "", "accuracy", "of draws", "seconds", "CPU seconds"], lines))


if __name__ == "__main__":
    main()
