"""Measure what our loop adds to a bare one over the same batches: loader, strategy, log, seeds.

python -m benchmarks.overhead [--model FOLDER] [--steps 60] [--repeats 31]

Both loops take turns in one process, on two copies of a model, so a machine whose speed drifts slows both down equally.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import nn

from accel_clf.config.load import load
from accel_clf.config.schema import DataConfig, ModelConfig
from accel_clf.data import sampling
from accel_clf.data.collate import GlobalBatchSampler, Padding, model_inputs
from accel_clf.data.sources import read_dataset
from accel_clf.data.tokenization import tokenize
from accel_clf.models.kernel_selection import apply_layout
from accel_clf.models.kernels.dropout import replace_dropout
from accel_clf.models.loading import load_model, load_tokenizer
from accel_clf.strategies.accelerate import AccelerateStrategy
from accel_clf.training.batches import TrainingRows, labelled_collate
from accel_clf.training.loop import fit
from accel_clf.training.optim import make_optimizer, set_lr
from accel_clf.training.state import TrainState

RATE = 2e-5  # the learning rate; what is measured does not depend on it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default="demo", help="a folder or Hub id (default: the demo's, where overhead shows most)"
    )
    parser.add_argument("--steps", type=int, default=60, help="steps per repeat")
    parser.add_argument("--repeats", type=int, default=31)
    parser.add_argument("--size", type=int, default=32, help="rows per batch")
    args = parser.parse_args()
    config = load(None, {"model": {"name": args.model}, "data": {"max_length": 64}, "batch": {"size": args.size},
                         "training": {"epochs": 1, "precision": "fp32"}})  # fmt: skip
    source = read_dataset("demo", DataConfig(), split="train")
    rows = source.take(torch.arange(args.steps * args.size).numpy())
    tokenizer = load_tokenizer(config.model, source, 64)
    tokens = tokenize(rows, tokenizer, 64)
    strategy = AccelerateStrategy("fp32")
    model = load_model(ModelConfig(name=args.model), rows.target, tokenizer, 64, 0)
    layout, _ = apply_layout(model, strategy.layout)
    bare_model = copy.deepcopy(model)
    replace_dropout(bare_model)  # so that both have the same dropout
    prepared, optimizer = strategy.prepare(model, lambda moved: make_optimizer(moved, 0.01))
    training_rows = TrainingRows.of(tokens, rows, config.target, layout, Padding(tokenizer.pad_token_id))

    def ours() -> None:
        fit(
            prepared,
            optimizer,
            training_rows,
            config,
            strategy,
            state=TrainState(RATE),
            evaluate=None,
            save_best=lambda: None,
            save_checkpoint=lambda: None,
            log_metrics=lambda line: None,
        )

    to_tensors = labelled_collate(training_rows, config.data.max_length)
    shuffled = sampling.permutation(len(rows), 0, 0)
    batches: list[dict[str, Any]] = [
        send_to_device(to_tensors(slots), strategy.device)
        for slots in GlobalBatchSampler(sampling.global_batches(shuffled, args.size), tokens.lengths, layout, 64)
    ]
    bare_optimizer = make_optimizer(bare_model, 0.01)
    set_lr(bare_optimizer, 1e-5)

    def bare() -> None:
        """Forward, loss, backward, clip, step; the batches are on the device already."""
        bare_model.train()
        for batch in batches:
            logits = bare_model(**model_inputs(batch)).logits
            torch.autograd.backward(nn.functional.cross_entropy(logits, batch["labels"]))
            nn.utils.clip_grad_norm_(bare_model.parameters(), 1.0)
            bare_optimizer.step()
            bare_optimizer.zero_grad()

    def run_seconds(loop: Callable[[], None]) -> float:
        began = time.perf_counter()
        loop()
        if strategy.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    ours()  # warm-up of both
    bare()
    ratios = []
    for repeat in range(args.repeats):
        pair = (ours, bare) if repeat % 2 == 0 else (bare, ours)
        seconds = {loop.__name__: run_seconds(loop) for loop in pair}
        ratios.append(seconds["ours"] / seconds["bare"])
        print(f"bare {seconds['bare']:.2f} s  ours {seconds['ours']:.2f} s  ratio {ratios[-1]:.3f}", flush=True)
    print(f"{args.model}, {args.steps} steps of {args.size}: median ratio {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
