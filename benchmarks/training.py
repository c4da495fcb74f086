"""Compare training with the HF Trainer: speed, memory and accuracy with the same rows, batch size, seed and rate.

python -m benchmarks.training --model FOLDER_OR_ID --train FILE [--rows 2000] [--validation 0.2] [--seeds 3]
    [--max_length 256] [--size 16] [--fixed] [--compile]

Each run is a separate process with the same tokens; they take turns, in an order that is reversed for every other seed.
The Trainer runs with its defaults, and with the best of its settings for this machine: batches of similar length, and
bf16 where the hardware is fast at it. --fixed adds each of our layouts in each precision that the hardware is fast at,
to show what `auto` should have chosen. --compile adds the Trainer with torch.compile. --random CONFIG replaces the
model, but not the tokenizer, by one of another shape with random weights, which suffice to measure speed:

    --random '{"model_type": "xlm-roberta", "vocab_size": 250002, "hidden_size": 384, "num_hidden_layers": 6,
               "num_attention_heads": 12, "intermediate_size": 1536, "pad_token_id": 1}'

--form does so with one of MiniLM's size, of one of several families, see benchmarks.forms.

For a GPU, BERT-base on IMDB's training rows from the Hub, or others of that length:

    --random '{"model_type": "bert"}' --rows 25000 --validation 0.02 --max_length 512 --size 32 --seeds 1

Speed is that of the epoch, without start and evaluation. MFU (model FLOPs utilization) is the model's floating-point
operations per second on real tokens, as a fraction of what the hardware reaches in large matrix products, measured in
the same process and precision.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accel_clf.config.load import load
from accel_clf.config.schema import Config
from accel_clf.core.console import format_table
from accel_clf.data import splits
from accel_clf.data.collate import Batch
from accel_clf.data.dataset import Dataset
from accel_clf.data.tokenization import TokenizedDataset, tokenize
from accel_clf.models.loading import load_model, load_tokenizer
from accel_clf.strategies.precision import fast_at_bf16
from benchmarks.forms import FORMS, make_form, make_random_model

OURS, DEFAULTS, BEST, COMPILED = "accel_clf", "HF Trainer, defaults", "HF Trainer, best", "HF Trainer, best, compiled"
FIXED = {f"accel_clf, {layout}, {precision}": (layout, precision)
         for layout in ("packed", "padded") for precision in ("fp32", "bf16")}  # fmt: skip

Figures = dict[str, Any]


def train_ours(config: Config) -> Figures:
    """Train with accel_clf."""
    import accel_clf.training.loop
    from accel_clf.training.run import train

    first_step: list[float] = []
    padded_tokens = [0]
    step = accel_clf.training.loop.train_step

    def counted(batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            padded_tokens[0] += batch["input_ids"].numel()
            yield batch

    def timed_step(model: Any, optimizer: Any, loss_of: Any, batches: Iterable[Batch], *args: Any) -> Any:
        result = step(model, optimizer, loss_of, counted(batches), *args)
        if not first_step:
            first_step.append(time.time())
        return result

    accel_clf.training.loop.train_step = timed_step  # type: ignore[assignment]
    results = train(config)
    return {
        "accuracy": results["validation"]["accuracy"],
        "seconds": results["training"]["seconds"],
        "first_step": first_step[0],
        "padded_tokens": padded_tokens[0],
    }


def train_hf(config: Config, best: bool, compiled: bool) -> Figures:
    """Train with the HF Trainer, on the same tokens.

    Args:
        best: whether to use its best settings for this machine.
        compiled: whether to use torch.compile.
    """
    from transformers import DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments

    training, length = config.training, config.data.max_length
    data = splits.load(config.data, training.seed)
    assert data.validation is not None
    tokenizer = load_tokenizer(config.model, data.train, length)
    model: Any = load_model(config.model, data.train.target, tokenizer, length, training.seed)
    pad, padded_tokens = DataCollatorWithPadding(tokenizer), [0]
    first_step: list[float] = []

    def items(rows: Dataset) -> list[dict[str, Any]]:
        tokens = tokenize(rows, tokenizer, length)
        return [{"input_ids": tokens[k].tolist(), "labels": int(rows.labels[k])} for k in range(len(rows))]

    def collate(batch_items: Any) -> Any:
        batch = pad(batch_items)
        padded_tokens[0] += batch["input_ids"].numel()
        return batch

    class FirstStep(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            if not first_step:
                first_step.append(time.time())

    settings = {"train_sampling_strategy": "group_by_length", "bf16": fast_at_bf16()} if best else {}
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
                torch_compile=compiled,
                use_cpu=not torch.cuda.is_available(),  # otherwise it refuses bf16 where there is no GPU
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                **settings,
            ),
            train_dataset=items(data.train),
            data_collator=collate,
            callbacks=[FirstStep()],
        )
        began = time.perf_counter()
        trainer.train()
        seconds, tokens = time.perf_counter() - began, padded_tokens[0]
        output: Any = trainer.predict(items(data.validation))
    # Its label_ids are in the order of its predictions, which may be sorted by length.
    accuracy = float(np.mean(output.predictions.argmax(axis=1) == output.label_ids))
    return {"accuracy": accuracy, "seconds": seconds, "first_step": first_step[0], "padded_tokens": tokens}


def worker(name: str, settings: dict[str, Any]) -> None:
    """Run one contestant in this process; print its figures as JSON."""
    began = time.time()
    config = load(None, settings)
    if name in (DEFAULTS, BEST, COMPILED):
        figures = train_hf(config, best=name != DEFAULTS, compiled=name == COMPILED)
    else:
        figures = train_ours(config)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated()
    rows = splits.load(config.data, config.training.seed).train
    tokenizer = load_tokenizer(config.model, rows, config.data.max_length)
    tokens = tokenize(rows, tokenizer, config.data.max_length)
    fastest = "bf16" if name != DEFAULTS and fast_at_bf16() else "fp32"
    precision = FIXED[name][1] if name in FIXED else fastest
    real, model = int(tokens.lengths.sum()), load_model(config.model, rows.target, tokenizer, 3, 0)
    flops = count_flops(model, tokens)
    print(json.dumps(figures | {
        "first_step": figures["first_step"] - began,
        "rows": len(rows),
        "tokens": real,
        "padding": 1 - real / figures["padded_tokens"],
        "mfu": flops / figures["seconds"] / matmul_speed(precision),
        "peak": peak / 2**20,
    }))  # fmt: skip


def count_flops(model: Any, tokens: TokenizedDataset) -> float:
    """Count the floating-point operations of an epoch's matrix products, forward and backward, on real tokens.

    Six per token and weight of the encoder's linear layers, and twelve per layer, column and pair of tokens.
    """
    encoder = [module for name, module in model.base_model.named_modules() if "pooler" not in name]
    weights = sum(module.weight.numel() for module in encoder if isinstance(module, torch.nn.Linear))
    config, lengths = model.config, tokens.lengths.astype(float)
    pairs = config.num_hidden_layers * config.hidden_size * float((lengths**2).sum())
    return float(6 * weights * lengths.sum() + 12 * pairs)


def matmul_speed(precision: str) -> float:
    """Measure how many floating-point operations per second this hardware does in large matrix products."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = 8192 if device == "cuda" else 1536
    matrix = torch.randn(size, size, device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    best = 0.0
    for _ in range(10):
        began = time.perf_counter()
        matrix @ matrix
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--validation", default="0.2", help="a file, or a fraction of the rows")
    parser.add_argument("--rows", type=int, default=2000, help="rows, validation included")
    parser.add_argument("--max_length", type=int, default=256)
    parser.add_argument("--size", type=int, default=16, help="rows per batch")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--form", choices=FORMS, help="of a random encoder of MiniLM's size, see benchmarks.forms")
    shape.add_argument("--random", type=json.loads, metavar="CONFIG", help="a model's configuration, as JSON")
    parser.add_argument("--learning_rate", type=float, default=5e-5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fixed", action="store_true", help="add each of our layouts in each precision")
    parser.add_argument("--compile", action="store_true", help="add the Trainer with torch.compile")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(args.worker[0], json.loads(args.worker[1]))
    fixed = [name for name, (_, precision) in FIXED.items() if precision == "fp32" or fast_at_bf16()]
    names = [OURS, DEFAULTS, BEST] + [COMPILED] * args.compile + fixed * args.fixed
    with tempfile.TemporaryDirectory() as folder:
        model = args.model
        if args.random or args.form:
            make, shape = (make_random_model, args.random) if args.random else (make_form, args.form)
            model = make(shape, args.model, Path(folder))
        figures = run_all(args, names, model)
    report(args, names, figures)


def run_all(args: argparse.Namespace, names: list[str], model: str) -> dict[str, list[Figures]]:
    """Run all contestants with all seeds, one after another; return each one's figures by seed."""
    figures: dict[str, list[Figures]] = {name: [] for name in names}
    for seed in range(args.seeds):
        for name in names if seed % 2 == 0 else names[::-1]:
            layout, precision = FIXED.get(name, ("auto", "auto"))
            data = {"train": args.train, "validation": args.validation, "limit": args.rows}
            with tempfile.TemporaryDirectory() as folder:
                settings = {
                    "model": {"name": model},
                    "data": data | {"max_length": args.max_length},
                    "batch": {"size": args.size, "layout": layout},
                    "training": {"learning_rate": args.learning_rate, "seed": seed, "precision": precision},
                    "output": f"{folder}/run",
                }
                command = [sys.executable, "-m", "benchmarks.training", "--model", "", "--train", ""]
                command += ["--worker", name, json.dumps(settings)]
                process = subprocess.run(command, capture_output=True, text=True)
            if process.returncode:
                sys.exit(f"{name} has failed:\n{process.stderr[-3000:]}")
            figures[name].append(json.loads(process.stdout.splitlines()[-1]))
            print(f"seed {seed}, {name}: {figures[name][-1]['seconds']:.1f} s", file=sys.stderr, flush=True)
    return figures


def report(args: argparse.Namespace, names: list[str], figures: dict[str, list[Figures]]) -> None:
    """Print the medians over seeds."""

    def median(name: str, key: str) -> float:
        return float(statistics.median(run[key] for run in figures[name]))

    def seconds_over_ours(name: str) -> float:
        pairs = zip(figures[name], figures[OURS], strict=True)
        return float(statistics.median(run["seconds"] / ours["seconds"] for run, ours in pairs))

    first = figures[OURS][0]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(f"{device}; bf16 {'is' if fast_at_bf16() else 'is not'} fast here; "
          f"{first['rows']} rows of {first['tokens'] / first['rows']:.0f} tokens on average, "
          f"at most {args.max_length}, batches of {args.size}, {args.seeds} seeds; medians")  # fmt: skip
    lines = [
        [
            name,
            f"{median(name, 'rows') / median(name, 'seconds'):.1f}",
            f"{seconds_over_ours(name):.2f}",
            f"{median(name, 'tokens') / median(name, 'seconds'):.0f}",
            f"{100 * median(name, 'padding'):.0f}%",
            f"{100 * median(name, 'mfu'):.0f}%",
            f"{median(name, 'first_step'):.1f}",
            f"{median(name, 'peak'):.0f}",
            " ".join(f"{run['accuracy']:.3f}" for run in figures[name]),
        ]
        for name in names
    ]
    header = [
        "",
        "rows/s",
        "seconds over ours",
        "real tokens/s",
        "padding",
        "MFU",
        "first step s",
        "peak MiB",
        "accuracy",
    ]
    print(format_table(header, lines))


if __name__ == "__main__":
    main()
