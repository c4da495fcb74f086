"""Compare kinds of targets and losses with what a user would pick instead, on real texts and one encoder.

python -m benchmarks.targets multi_label|ordinal|regression|imbalance --model FOLDER_OR_ID --train FILE [--seeds 0 1 2]

multi_label: FILE is CLINC150's (text, label); a row is 0 to 3 utterances of 20 intents, grouped by utterance. Against
the HF Trainer at the best of its rates and fixed cuts, and TF-IDF with one-vs-rest logistic regression.
ordinal, regression: FILE is IMDB's (text, rating). Against a classifier of the ratings, and the Trainer's MSE.
imbalance: FILE has one label a text, of which rows are left out, down to 50:1. Against plain cross-entropy.
"""

import argparse
import csv
import gzip
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.config.load import load
from accel_clf.config.schema import Config, merge
from accel_clf.core.console import format_table
from accel_clf.data import splits
from accel_clf.targets.base import Target
from accel_clf.training.baseline import tfidf_scores
from accel_clf.training.run import train

INTENTS, JOINED = 20, 3
RATES = (1e-4, 3e-4, 5e-4)  # of the Trainer
CUTS = np.arange(1, 20) / 20
Row = list[str]
Items = list[dict[str, Any]]


def read(path: str) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, header: Row, rows: list[Row]) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def joined_utterances(source: str, rows: int, seed: int) -> Iterator[Row]:
    """Yield rows of several intents: text, labels, and the first utterance, which is the group."""
    draw = random.Random(seed)
    utterances = read(source)
    intents = draw.sample(sorted({row["label"] for row in utterances} - {"oos"}), INTENTS)
    inside = [row for row in utterances if row["label"] in intents]
    outside = [row for row in utterances if row["label"] not in intents]
    for _ in range(rows):
        count = draw.randrange(JOINED + 1)
        parts = draw.sample(inside, count) if count else [draw.choice(outside)]
        labels = sorted({part["label"] for part in parts if part["label"] in intents})
        yield [" ".join(part["text"] for part in parts), "|".join(labels), parts[0]["text"]]


def fit_trainer(
    model: Any, tokenizer: Any, training: Items, test: Items, config: Config, rate: float, is_tuned: bool = True
) -> tuple[Any, float]:
    """Train with the HF Trainer; return what it predicts, and the seconds of training.

    Args:
        model, tokenizer: of transformers.
        training, test: the model's inputs, and labels, of each row.
        config: has batch size, epochs, warm-up and seed.
        rate: the learning rate.
        is_tuned: whether with its best settings for a CPU (batches of like length, bf16), or as it comes.
    """
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=config.batch.size,
            num_train_epochs=config.training.epochs,
            learning_rate=rate,
            warmup_steps=config.training.warmup,
            seed=config.training.seed,
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **({"bf16": True, "train_sampling_strategy": "group_by_length"} if is_tuned else {}),
        )
        trainer = Trainer(model, arguments, train_dataset=training, data_collator=DataCollatorWithPadding(tokenizer))
        began = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - began
        return trainer.predict(test), seconds


def trainer_scores(config: Config, rate: float) -> tuple[np.ndarray, np.ndarray, Target]:
    """Train with the HF Trainer; return the scores of the test rows, and their labels.

    Its head begins as transformers makes it, and it is evaluated after its last step.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    rows = splits.load(config.data, config.training.seed, config.target)
    assert rows.test is not None
    target: Target = rows.train.target
    tokenizer = AutoTokenizer.from_pretrained(config.model.name)
    model = AutoModelForSequenceClassification.from_pretrained(config.model.name, **target.hf_config())
    rescaling = target.objective(config.target, rows.train.labels).rescaling
    is_number = target.kind == "regression"

    def items(part: Any) -> list[dict[str, Any]]:
        encoded = tokenizer(list(part.texts()), truncation=True, max_length=config.data.max_length)["input_ids"]
        labels = (part.labels - rescaling.shift) / rescaling.scale if is_number else part.labels
        labels = labels.astype(np.int64 if target.kind == "single_label" else np.float32)
        return [{"input_ids": ids, "labels": label} for ids, label in zip(encoded, labels, strict=True)]

    output, _ = fit_trainer(model, tokenizer, items(rows.train), items(rows.test), config, rate)
    logits = output.predictions.reshape(len(rows.test), -1) * rescaling.scale + rescaling.shift
    labels = output.label_ids * rescaling.scale + rescaling.shift if is_number else output.label_ids
    return target.scores(logits), labels.astype(target.label_type), target


def best_cut_f1(target: Target, labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the macro F1 at the best of fixed cuts."""
    return max(target.metrics(labels, scores, decided=(scores >= cut).astype(np.int8))["macro_f1"] for cut in CUTS)


def multi_label(args: argparse.Namespace, seed: int, folder: Path) -> list[Row]:
    rows = list(joined_utterances(args.train, args.rows, seed))
    held_out = {row[2] for row in rows[: args.rows // 4]}  # whole groups
    header = ["text", "label", "utterance"]
    files = {
        "train": write(folder / "train.csv", header, [row for row in rows if row[2] not in held_out]),
        "test": write(folder / "test.csv", header, [row for row in rows if row[2] in held_out]),
    }
    data = {**files, "label_separator": "|", "group": "utterance", "validation": 0.15, "max_length": 96}
    base = settings(args, seed, {"data": data})
    ours = train(load(None, merge(base, {"target": {"thresholds": "f1", "calibration": "temperature"}})))
    metrics = ours["test"]
    lines = [
        ["accel_clf", f"{metrics['macro_f1']:.4f}", f"{metrics['mean_average_precision']:.4f}", f"{metrics['ece']:.4f}"]
    ]
    # The Trainer and TF-IDF have all rows to learn from: they have no use for validation rows.
    config = load(None, merge(base, {"data": {**data, "validation": None}}))
    for rate in args.rates:
        scores, labels, target = trainer_scores(config, rate)
        of_rate = target.metrics(labels, scores)
        lines.append([f"HF Trainer, rate {rate:g}, best cut", f"{best_cut_f1(target, labels, scores):.4f}",
                      f"{of_rate['mean_average_precision']:.4f}", f"{of_rate['ece']:.4f}"])  # fmt: skip
    all_rows = splits.load(config.data, seed, config.target)
    assert all_rows.test is not None
    of_tfidf = tfidf_scores(all_rows.train, all_rows.test)
    assert of_tfidf is not None
    of_words, target = all_rows.test.labels, all_rows.train.target
    lines.append(["TF-IDF, one vs. rest, best cut", f"{best_cut_f1(target, of_words, of_tfidf):.4f}",
                  f"{target.metrics(of_words, of_tfidf)['mean_average_precision']:.4f}", ""])  # fmt: skip
    return lines


def ratings(args: argparse.Namespace, seed: int, folder: Path, kind: str) -> list[Row]:
    rows = read(args.train)
    random.Random(seed).shuffle(rows)
    table = [[row["text"], row["rating"]] for row in rows[: 2 * args.rows]]
    files = {
        "train": write(folder / "train.csv", ["text", "rating"], table[: args.rows]),
        "test": write(folder / "test.csv", ["text", "rating"], table[args.rows :]),
    }
    data = {**files, "label": "rating", "validation": None, "max_length": 128}
    base = settings(args, seed, {"data": data})

    def run(name: str, of_kind: str) -> dict[str, Any]:
        results = train(load(None, merge(base, {"target": {"type": of_kind}, "output": str(folder / name)})))
        metrics: dict[str, Any] = results["test"]
        return metrics

    if kind == "ordinal":
        from accel_clf.run_folder.predictions import PREDICTION_FILES
        from accel_clf.targets.ordinal import quadratic_kappa

        ordinal = run("ordinal", "ordinal")
        as_classes = run("classes", "single_label")
        with (folder / "classes" / PREDICTION_FILES["test"]).open(encoding="utf-8", newline="") as file:
            answers = [(int(row["label"]), int(row["predicted"])) for row in csv.DictReader(file)]
        labels, predicted = np.unique(np.array(answers), return_inverse=True)[1].reshape(-1, 2).T
        kappa = quadratic_kappa(labels, predicted)
        return [
            ["ordinal", f"{ordinal['quadratic_kappa']:.4f}", f"{ordinal['accuracy']:.4f}"],
            ["as classes", f"{kappa:.4f}", f"{as_classes['accuracy']:.4f}"],
        ]
    number = run("number", "regression")
    lines = [["regression", f"{number['spearman']:.4f}", f"{number['rmse']:.4f}"]]
    config = load(None, merge(base, {"target": {"type": "regression"}}))
    scores, labels, target = trainer_scores(config, args.learning_rate or 2e-5)
    metrics = target.metrics(labels, scores)
    return [*lines, ["HF Trainer, MSE", f"{metrics['spearman']:.4f}", f"{metrics['rmse']:.4f}"]]


def imbalance(args: argparse.Namespace, seed: int, folder: Path) -> list[Row]:
    """Leave rows out so that label k has the share 50^(-k/(labels - 1)) of the commonest's; test rows stay balanced."""
    rows = read(args.train)
    draw = random.Random(seed)
    draw.shuffle(rows)
    names = sorted({row["label"] for row in rows})
    draw.shuffle(names)
    by_label = {name: [[row["text"], name] for row in rows if row["label"] == name] for name in names}
    tested = {name: table[: len(table) // 4] for name, table in by_label.items()}
    kept: list[Row] = []
    for code, name in enumerate(names):
        learned = by_label[name][len(tested[name]) :]
        count = max(2, round(min(len(learned), args.rows) * 50 ** (-code / (len(names) - 1))))
        kept += learned[:count]
    data = {
        "train": write(folder / "train.csv", ["text", "label"], kept),
        "test": write(folder / "test.csv", ["text", "label"], [row for table in tested.values() for row in table]),
        "validation": 0.15, "max_length": 64,
    }  # fmt: skip
    base = settings(args, seed, {"data": data, "evaluation": {"metric": "macro_f1"}})
    lines = []
    for loss in args.losses:
        target = {"loss": loss, "calibration": "temperature"}
        metrics = train(load(None, merge(base, {"target": target, "output": str(folder / loss)})))["test"]
        lines.append([loss, *(f"{metrics[name]:.4f}" for name in ("macro_f1", "accuracy", "ece"))])
    return lines


def settings(args: argparse.Namespace, seed: int, more: dict[str, Any]) -> dict[str, Any]:
    training = {"epochs": args.epochs, "seed": seed, "learning_rate": args.learning_rate}
    base = {
        "model": {"name": args.model},
        "training": training,
        "output": str(Path(more["data"]["train"]).parent / "run"),
    }
    return merge(base, more)


HEADERS = {
    "multi_label": ["macro F1", "mean average precision", "ECE a label"],
    "ordinal": ["quadratic kappa", "accuracy"],
    "regression": ["Spearman", "RMSE"],
    "imbalance": ["macro F1", "accuracy", "ECE"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=HEADERS)
    parser.add_argument("--model", required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning_rate", type=float, default=None, help="of accel_clf (default: its own)")
    parser.add_argument("--rates", type=float, nargs="*", default=RATES, help="of the HF Trainer, for several labels")
    parser.add_argument("--losses", nargs="+", default=("plain", "weighted", "focal", "logit_adjusted"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    lines: list[Row] = []
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if args.kind == "multi_label":
                of_seed = multi_label(args, seed, folder)
            elif args.kind == "imbalance":
                of_seed = imbalance(args, seed, folder)
            else:
                of_seed = ratings(args, seed, folder, args.kind)
        lines += [[str(seed), *line] for line in of_seed]
        print(format_table(["seed", "", *HEADERS[args.kind]], lines), flush=True)


if __name__ == "__main__":
    main()
