"""Accuracy beside the HF Trainer's: same rows, batch size, seed and hyper-parameters, one run after the other.

python -m benchmarks.accuracy --model FOLDER_OR_ID --train FILE [--rows 4000] [--validation FILE]
"""

import argparse
import tempfile
import time
from typing import Any

import numpy as np
import torch

from accel_clf.config import Config, load
from accel_clf.data import parts
from accel_clf.data.tokens import encode
from accel_clf.model import load_model, load_tokenizer
from accel_clf.report import table
from accel_clf.run import train


def ours(config: Config) -> tuple[float, float]:
    """Accuracy on validation rows, and seconds of training."""
    results = train(config)
    return results["validation"]["accuracy"], results["training"]["seconds"]


def trainers(config: Config) -> tuple[float, float]:
    """The same by the HF Trainer, from the same tokens."""
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    training, length = config.training, config.data.max_length
    rows = parts.load(config.data, training.seed)
    assert rows.validation is not None
    tokenizer = load_tokenizer(config.model, rows.train, length)
    model: Any = load_model(config.model, rows.train.label_names, tokenizer, length, training.seed)

    def items(part: Any) -> list[dict[str, Any]]:
        tokens = encode(part, tokenizer, length)
        return [{"input_ids": tokens[k].tolist(), "labels": int(part.labels.codes[k])} for k in range(len(part))]

    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model,
            TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=config.batch.size,
                per_device_eval_batch_size=64,
                num_train_epochs=training.epochs,
                learning_rate=training.learning_rate,
                warmup_steps=training.warmup,
                weight_decay=training.weight_decay,
                adam_epsilon=1e-6,
                max_grad_norm=training.max_grad_norm or 0.0,
                seed=training.seed,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=items(rows.train),
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        began = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - began
        found = trainer.predict(items(rows.validation)).predictions
    return float(np.mean(found.argmax(axis=1) == rows.validation.labels.codes)), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--validation", default="0.2", help="a file, or a share of the rows")
    parser.add_argument("--rows", default="null", help="so many of them (default: all)")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--max_length", type=int, default=256)
    parser.add_argument("--learning_rate", type=float, default=5e-5)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = load(
            None,
            {
                "model": {"name": given.model},
                "data": {
                    "train": given.train,
                    "validation": given.validation,
                    "limit": None if given.rows == "null" else given.rows,
                    "max_length": given.max_length,
                },
                "training": {
                    "epochs": given.epochs,
                    "learning_rate": given.learning_rate,
                    "seed": given.seed,
                    "precision": "fp32",
                },
                "output": f"{folder}/run",
            },
        )
        found = {"accel_clf": ours(config), "HF Trainer": trainers(config)}
    rows = [[name, f"{accuracy:.4f}", f"{seconds:.1f}"] for name, (accuracy, seconds) in found.items()]
    print(f"{given.train}, {given.rows} rows, seed {given.seed}, {torch.get_num_threads()} threads")
    print(table(["", "accuracy", "training s"], rows))
    (one, _), (other, _) = found.values()
    print(f"difference: {100 * (one - other):+.2f} points")


if __name__ == "__main__":
    main()
