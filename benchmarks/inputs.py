"""Compare what goes in: windows of long texts with cutting them, and pairs with the HF Trainer's, on real texts.

python -m benchmarks.inputs windows|pairs --model FOLDER_OR_ID --train FILE [--rows 4000] [--seeds 0 1 2]

windows: FILE has a text and a label a row, such as IMDB's. Windows of 128 tokens beside cutting at 128 and at 512, with
the time of training over that of cutting at 128, and the share of tokens over that.
pairs: FILE is CLINC150's (text, label); a pair is of one intent, or not. Beside the Trainer on pairs, and on both texts
joined by a space, as transformers' example script does it; once more as the Trainer comes, without the settings that
suit a CPU best.
"""

import argparse
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.config.load import load
from accel_clf.config.schema import Config, merge
from accel_clf.core.console import format_table
from accel_clf.data import splits
from accel_clf.data.tokenization import tokenize
from accel_clf.training.run import train
from benchmarks.targets import fit_trainer, read, write

LENGTH, LONG, STRIDE = 128, 512, 32
PAIR_LENGTH = 64


def windows(args: argparse.Namespace, seed: int, folder: Path) -> list[list[str]]:
    from transformers import AutoTokenizer

    rows = read(args.train)
    random.Random(seed).shuffle(rows)
    table = [[row["text"], row["label"]] for row in rows[: args.rows + args.rows // 2]]
    files = {
        "train": write(folder / "train.csv", ["text", "label"], table[: args.rows]),
        "test": write(folder / "test.csv", ["text", "label"], table[args.rows :]),
    }
    tokenizer, lines = AutoTokenizer.from_pretrained(args.model), []
    first_time = first_tokens = 0.0
    for name, reading in (
        (f"cut at {LENGTH}", {"max_length": LENGTH}),
        (f"windows of {LENGTH}", {"max_length": LENGTH, "windows": {"stride": STRIDE}}),
        (f"cut at {LONG}", {"max_length": LONG}),
    ):
        config = load(None, settings(args, seed, {**files, **reading}, folder / name.replace(" ", "-")))
        results = train(config)
        training_rows = splits.load(config.data, seed, config.target).train
        tokens = tokenize(training_rows, tokenizer, config.data.max_length, windows=config.data.windows)
        seconds, count = results["training"]["seconds"], int(tokens.lengths.sum())
        first_time, first_tokens = first_time or seconds, first_tokens or count
        lines.append(
            [name, f"{results['test']['accuracy']:.4f}", f"{seconds / first_time:.2f}", f"{count / first_tokens:.2f}"]
        )
    return lines


def intent_pairs(rows: list[dict[str, str]], count: int, draw: random.Random) -> list[list[str]]:
    """Draw pairs of utterances, half of them of one intent."""
    by_intent: dict[str, list[str]] = {}
    for row in rows:
        if row["label"] != "oos":
            by_intent.setdefault(row["label"], []).append(row["text"])
    intents = sorted(by_intent)
    pairs = []
    for number in range(count):
        if number % 2:
            pairs.append([*draw.sample(by_intent[draw.choice(intents)], 2), "same"])
        else:
            first, second = draw.sample(intents, 2)
            pairs.append([draw.choice(by_intent[first]), draw.choice(by_intent[second]), "different"])
    draw.shuffle(pairs)
    return pairs


def pairs(args: argparse.Namespace, seed: int, folder: Path) -> list[list[str]]:
    draw = random.Random(seed)
    utterances = read(args.train)
    draw.shuffle(utterances)
    tested, learned = utterances[: len(utterances) // 4], utterances[len(utterances) // 4 :]
    tables = {"train": intent_pairs(learned, args.rows, draw), "test": intent_pairs(tested, args.rows // 2, draw)}
    header = ["first", "second", "label"]
    files = {name: write(folder / f"{name}.csv", header, table) for name, table in tables.items()}
    data = {**files, "text": "first", "pair": "second", "max_length": PAIR_LENGTH}
    config = load(None, settings(args, seed, data, folder / "run"))
    results = train(config)
    seconds = results["training"]["seconds"]
    lines = [["accel_clf", f"{results['test']['accuracy']:.4f}", "1.00"]]
    for name, joined, is_tuned in (
        ("HF Trainer, pairs", False, True),
        ("HF Trainer, joined texts", True, True),
        ("HF Trainer as it comes, pairs", False, False),
    ):
        accuracy, of_trainer = trainer_run(args, config, tables, joined, is_tuned)
        lines.append([name, f"{accuracy:.4f}", f"{of_trainer / seconds:.2f}"])
    return lines


def trainer_run(
    args: argparse.Namespace, config: Config, tables: dict[str, list[list[str]]], joined: bool, is_tuned: bool
) -> tuple[float, float]:
    """Train with the HF Trainer; return the accuracy, and the seconds of training."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=2)

    def items(table: list[list[str]]) -> list[dict[str, Any]]:
        first, second = [row[0] for row in table], [row[1] for row in table]
        texts = ([" ".join(texts) for texts in zip(first, second, strict=True)],) if joined else (first, second)
        encoded = tokenizer(*texts, truncation=True, max_length=PAIR_LENGTH)
        return [
            {key: encoded[key][row] for key in encoded if key != "attention_mask"} | {"labels": int(of[2] == "same")}
            for row, of in enumerate(table)
        ]

    output, seconds = fit_trainer(
        model, tokenizer, items(tables["train"]), items(tables["test"]), config, args.learning_rate, is_tuned
    )
    return float((output.predictions.argmax(axis=1) == np.asarray(output.label_ids)).mean()), seconds


def settings(args: argparse.Namespace, seed: int, data: dict[str, Any], output: Path) -> dict[str, Any]:
    base = {
        "data": {"validation": None, "near_duplicates": False},
        "model": {"name": args.model},
        "output": str(output),
    }
    training = {"epochs": args.epochs, "seed": seed, "learning_rate": args.learning_rate}
    return merge(base, {"data": data, "training": training})


HEADERS = {"windows": ["accuracy", "time", "tokens"], "pairs": ["accuracy", "time"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=HEADERS)
    parser.add_argument("--model", required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    lines: list[list[str]] = []
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as name:
            of_seed = {"windows": windows, "pairs": pairs}[args.kind](args, seed, Path(name))
        lines += [[str(seed), *line] for line in of_seed]
        print(format_table(["seed", "", *HEADERS[args.kind]], lines), flush=True)


if __name__ == "__main__":
    main()
