"""Measure the cost of checkpoints: a run that saves every 50 steps, compared with one that saves only at its end.

python -m benchmarks.checkpoint [--model FOLDER] [--every 50] [--saves 4] [--repeats 5]

Both take turns in one process, with the real loop, strategy, writer and disk, so a machine whose speed drifts slows
both down equally.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from accel_clf.config.load import load
from accel_clf.config.schema import DataConfig, ModelConfig
from accel_clf.data.collate import Padding
from accel_clf.data.sources import read_dataset
from accel_clf.data.tokenization import tokenize
from accel_clf.models.kernel_selection import apply_layout
from accel_clf.models.loading import load_model, load_tokenizer
from accel_clf.strategies.accelerate import AccelerateStrategy
from accel_clf.training.batches import TrainingRows
from accel_clf.training.checkpoint import Writer
from accel_clf.training.loop import fit
from accel_clf.training.optim import make_optimizer
from accel_clf.training.state import TrainState

RATE = 2e-5  # the learning rate; what is measured does not depend on it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo", help="a folder or Hub id (default: the demo's)")
    parser.add_argument("--every", type=int, default=50, help="steps between checkpoints")
    parser.add_argument("--saves", type=int, default=4, help="checkpoints per run")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", type=int, default=32, help="rows per batch")
    args = parser.parse_args()
    source = read_dataset("demo", DataConfig(), split="train")
    rows = source.take(torch.arange(args.every * args.saves * args.size).numpy() % len(source))
    base = {"model": {"name": args.model}, "data": {"max_length": 64}, "batch": {"size": args.size}}
    config = load(None, {**base, "training": {"epochs": 1}})
    tokenizer = load_tokenizer(config.model, source, 64)
    strategy = AccelerateStrategy(config.training.precision)
    bare = load_model(ModelConfig(name=args.model), rows.target, tokenizer, 64, 0)
    layout, _ = apply_layout(bare, strategy.layout)
    model, optimizer = strategy.prepare(bare, lambda moved: make_optimizer(moved, 0.01))
    tokens, padding = tokenize(rows, tokenizer, 64), Padding(tokenizer.pad_token_id)
    training_rows = TrainingRows.of(tokens, rows, config.target, layout, padding)

    def train_seconds(every: int, folder: Path) -> float:
        """Train one epoch with a checkpoint every few steps; return the time it took."""
        state = TrainState(RATE)
        settings = config.model_copy(update={"checkpoint": config.checkpoint.model_copy(update={"every": every})})
        began = time.perf_counter()
        with Writer(folder, keep=2) as writer:

            def save_checkpoint() -> None:
                optimizer_state = strategy.gather_optimizer_state(model, optimizer)
                writer.write({"progress": state.to_json()}, strategy.gather_weights(model), optimizer_state)

            fit(
                model,
                optimizer,
                training_rows,
                settings,
                strategy,
                state=state,
                evaluate=None,
                save_best=lambda: None,
                save_checkpoint=save_checkpoint,
                log_metrics=lambda line: None,
            )
        return time.perf_counter() - began

    total = args.every * args.saves
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        train_seconds(total, Path(folder) / "warm-up")
        for repeat in range(args.repeats):
            order = (total, args.every) if repeat % 2 == 0 else (args.every, total)
            seconds = {every: train_seconds(every, Path(folder) / f"{repeat}-{every}") for every in order}
            ratios.append(seconds[args.every] / seconds[total])
            print(
                f"saving at the end {seconds[total]:.2f} s  every {args.every} steps {seconds[args.every]:.2f} s  "
                f"ratio {ratios[-1]:.3f}",
                flush=True,
            )
    size = sum(tensor.numel() for tensor in bare.state_dict().values()) * 12 / 2**20
    print(f"{args.model}, {size:.0f} MiB per checkpoint: median ratio {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
