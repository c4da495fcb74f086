"""Training beside the HF Trainer: speed, memory and accuracy on the same rows, batch size, seed and rate.

python -m benchmarks.training --model FOLDER_OR_ID --train FILE [--rows 2000] [--validation 0.2] [--seeds 3]
    [--max_length 256] [--size 16] [--fixed] [--compile]

Each training is a process of its own, from the same tokens; they take turns, and each seed turns their order round.
The Trainer runs with its defaults, and with the best of its settings for this machine: batches of like length, and bf16
where the hardware is fast at it. --fixed adds our own layouts and, among precisions that the hardware is fast at, each;
to see what `auto` should have chosen. --compile adds the Trainer under torch.compile. --random CONFIG takes a model of
another shape, with weights drawn at random, which suffice for speed, and the tokenizer of --model:

    --random '{"model_type": "xlm-roberta", "vocab_size": 250002, "hidden_size": 384, "num_hidden_layers": 6,
               "num_attention_heads": 12, "intermediate_size": 1536, "pad_token_id": 1}'

For a GPU, BERT-base on IMDB's training rows as the Hub has them, or others of that length:

    --random '{"model_type": "bert"}' --rows 25000 --validation 0.02 --max_length 512 --size 32 --seeds 1

Speed is what the epoch took, evaluation and start left out. MFU is the share of the hardware's own speed at matrix
products, measured in the same process and precision, that the model's products on real tokens made use of.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accel_clf.config.load import load
from accel_clf.config.schema import Config
from accel_clf.core.console import format_table
from accel_clf.data import sampling, splits
from accel_clf.data.dataset import Dataset
from accel_clf.data.tokenization import TokenizedDataset, tokenize
from accel_clf.models.loading import load_model, load_tokenizer
from accel_clf.strategies.precision import fast_at_bf16

OURS, DEFAULTS, BEST, COMPILED = "accel_clf", "HF Trainer, defaults", "HF Trainer, best", "HF Trainer, best, compiled"
FIXED = {f"accel_clf, {layout}, {precision}": (layout, precision)
         for layout in ("packed", "padded") for precision in ("fp32", "bf16")}  # fmt: skip


def ours(config: Config) -> dict[str, Any]:
    """One of our runs."""
    import accel_clf.training.loop
    from accel_clf.training.trainer import train

    first: list[float] = []
    step = accel_clf.training.loop.train_step

    def timed(*given: Any) -> Any:
        done = step(*given)
        if not first:
            first.append(time.time())
        return done

    accel_clf.training.loop.train_step = timed  # type: ignore[assignment]
    results = train(config)
    return {
        "accuracy": results["validation"]["accuracy"],
        "seconds": results["training"]["seconds"],
        "first": first[0],
    }


def trainers(config: Config, best: bool, compiled: bool) -> dict[str, Any]:
    """The same by the HF Trainer, from the same tokens."""
    from transformers import DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments

    training, length = config.training, config.data.max_length
    rows = splits.load(config.data, training.seed)
    assert rows.validation is not None
    tokenizer = load_tokenizer(config.model, rows.train, length)
    model: Any = load_model(config.model, rows.train.label_names, tokenizer, length, training.seed)
    pad, computed = DataCollatorWithPadding(tokenizer), [0]
    first: list[float] = []

    def items(part: Dataset) -> list[dict[str, Any]]:
        tokens = tokenize(part, tokenizer, length)
        return [{"input_ids": tokens[k].tolist(), "labels": int(part.labels.codes[k])} for k in range(len(part))]

    def collate(some: Any) -> Any:
        batch = pad(some)
        computed[0] += batch["input_ids"].numel()
        return batch

    class FirstStep(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            if not first:
                first.append(time.time())

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
                use_cpu=not torch.cuda.is_available(),  # without a GPU it takes bf16 only if it is told so
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                **settings,
            ),
            train_dataset=items(rows.train),
            data_collator=collate,
            callbacks=[FirstStep()],
        )
        began = time.perf_counter()
        trainer.train()
        seconds, tokens = time.perf_counter() - began, computed[0]
        found: Any = trainer.predict(items(rows.validation))
    accuracy = float(np.mean(found.predictions.argmax(axis=1) == found.label_ids))  # by length, if it trains so
    return {"accuracy": accuracy, "seconds": seconds, "first": first[0], "computed": tokens}


def worker(name: str, settings: dict[str, Any]) -> None:
    """One training in this process."""
    began = time.time()
    config = load(None, settings)
    if name in (DEFAULTS, BEST, COMPILED):
        found = trainers(config, best=name != DEFAULTS, compiled=name == COMPILED)
    else:
        found = ours(config)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated()
    rows = splits.load(config.data, config.training.seed).train
    tokenizer = load_tokenizer(config.model, rows, config.data.max_length)
    tokens = tokenize(rows, tokenizer, config.data.max_length)
    fastest = "bf16" if name != DEFAULTS and fast_at_bf16() else "fp32"
    precision = FIXED[name][1] if name in FIXED else fastest
    real, model = int(tokens.lengths.sum()), load_model(config.model, rows.label_names, tokenizer, 3, 0)
    work = products(model, tokens)
    print(json.dumps(found | {
        "first": found["first"] - began,
        "rows": len(rows),
        "tokens": real,
        "waste": 1 - real / found.get("computed", padded(tokens, config) if "padded" in name else real),
        "mfu": work / found["seconds"] / matmul_speed(precision),
        "peak": peak / 2**20,
    }))  # fmt: skip


def padded(tokens: TokenizedDataset, config: Config) -> int:
    """Tokens that an epoch of ours computes in the padded layout."""
    rows = sampling.global_batches(sampling.permutation(len(tokens), config.training.seed, 0), config.batch.size)
    lengths = np.where(rows == sampling.PADDING_ROW, 0, tokens.lengths[rows])
    return int((lengths.max(axis=1) * (lengths > 0).sum(axis=1)).sum())


def products(model: Any, tokens: TokenizedDataset) -> float:
    """Floating-point operations of an epoch's matrix products, forward and backward, on real tokens.

    Six for each weight of an encoder's linear layers and token, and twelve for each layer, column and pair of tokens.
    """
    encoder = [module for name, module in model.base_model.named_modules() if "pooler" not in name]
    weights = sum(module.weight.numel() for module in encoder if isinstance(module, torch.nn.Linear))
    config, lengths = model.config, tokens.lengths.astype(float)
    pairs = config.num_hidden_layers * config.hidden_size * float((lengths**2).sum())
    return float(6 * weights * lengths.sum() + 12 * pairs)


def matmul_speed(precision: str) -> float:
    """Floating-point operations a second of large matrix products here."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = 8192 if device == "cuda" else 1536
    one = torch.randn(size, size, device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    best = 0.0
    for _ in range(10):
        began = time.perf_counter()
        one @ one
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--validation", default="0.2", help="a file, or a share of the rows")
    parser.add_argument("--rows", type=int, default=2000, help="validation's share included")
    parser.add_argument("--max_length", type=int, default=256)
    parser.add_argument("--size", type=int, default=16, help="rows a batch")
    parser.add_argument("--random", type=json.loads, help="a model's configuration, as JSON")
    parser.add_argument("--learning_rate", type=float, default=5e-5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fixed", action="store_true", help="our layouts and precisions, each fixed")
    parser.add_argument("--compile", action="store_true", help="the Trainer under torch.compile, too")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        return worker(given.worker[0], json.loads(given.worker[1]))
    possible = [name for name, (_, precision) in FIXED.items() if precision == "fp32" or fast_at_bf16()]
    names = [OURS, DEFAULTS, BEST] + [COMPILED] * given.compile + possible * given.fixed
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as drawn:
        model = draw(given.random, given.model, Path(drawn)) if given.random else given.model
        compete(given, names, model, found)
    report(given, names, found)


def draw(shape: dict[str, Any], tokenizer: str, folder: Path) -> str:
    """A folder with a model of random weights."""
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    config = AutoConfig.for_model(**shape)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    return str(folder)


def compete(given: Any, names: list[str], model: str, found: dict[str, list[dict[str, Any]]]) -> None:
    """Every contestant's runs, one after another."""
    for seed in range(given.seeds):
        for name in names if seed % 2 == 0 else names[::-1]:
            layout, precision = FIXED.get(name, ("auto", "auto"))
            data = {"train": given.train, "validation": given.validation, "limit": given.rows}
            with tempfile.TemporaryDirectory() as folder:
                settings = {
                    "model": {"name": model},
                    "data": data | {"max_length": given.max_length},
                    "batch": {"size": given.size, "layout": layout},
                    "training": {"learning_rate": given.learning_rate, "seed": seed, "precision": precision},
                    "output": f"{folder}/run",
                }
                command = [sys.executable, "-m", "benchmarks.training", "--model", "", "--train", ""]
                command += ["--worker", name, json.dumps(settings)]
                done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{name} has failed:\n{done.stderr[-3000:]}")
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"seed {seed}, {name}: {found[name][-1]['seconds']:.1f} s", file=sys.stderr, flush=True)


def report(given: Any, names: list[str], found: dict[str, list[dict[str, Any]]]) -> None:
    """Print the medians."""

    def median(name: str, key: str) -> float:
        return float(statistics.median(run[key] for run in found[name]))

    def over_ours(name: str) -> float:
        pairs = zip(found[name], found[OURS], strict=True)
        return float(statistics.median(run["seconds"] / our["seconds"] for run, our in pairs))

    first = found[OURS][0]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(f"{device}; bf16 {'is' if fast_at_bf16() else 'is not'} fast here; "
          f"{first['rows']} rows of {first['tokens'] / first['rows']:.0f} tokens in the mean, "
          f"at most {given.max_length}, batches of {given.size}, {given.seeds} seeds; medians")  # fmt: skip
    lines = [
        [
            name,
            f"{median(name, 'rows') / median(name, 'seconds'):.1f}",
            f"{over_ours(name):.2f}",
            f"{median(name, 'tokens') / median(name, 'seconds'):.0f}",
            f"{100 * median(name, 'waste'):.0f}%",
            f"{100 * median(name, 'mfu'):.0f}%",
            f"{median(name, 'first'):.1f}",
            f"{median(name, 'peak'):.0f}",
            " ".join(f"{run['accuracy']:.3f}" for run in found[name]),
        ]
        for name in names
    ]
    heads = [
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
    print(format_table(heads, lines))


if __name__ == "__main__":
    main()
