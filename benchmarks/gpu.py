"""Check that one GPU computes what it should, and measure an epoch of IMDB on it, beside the HF Trainer.

python -m benchmarks.gpu [--rows 25000] [--steps 300]

First the checks of `benchmarks.gpu_checks`. Then BERT-base and XLM-R base with random weights, on random rows that are
as long as IMDB's reviews, 512 tokens at most, batches of 32, in bf16: with accel_clf, and with the HF Trainer at its
best settings (bf16, rows of similar length in a batch, fused AdamW, four workers). Each is a process of its own, which
trains for so many steps; the first ones are not counted. An epoch is that time, for `--rows` rows.

MFU is as in `benchmarks.training`. Launches are those of kernels in a step, and host time is what a step takes until it
is launched, both of steps of their own, after those that are counted. It needs no network, and should take less than 9
minutes on an H100. On a machine without a GPU, --dry_run runs all of it with tiny models, to show that it runs.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from accel_clf.core.console import format_table
from accel_clf.data.tokenization import TokenizedDataset
from accel_clf.strategies.precision import fast_at_bf16
from benchmarks.gpu_checks import DTYPES, check_attention, check_model, check_resume
from benchmarks.training import count_flops, matmul_speed

OURS, TRAINER = "accel_clf", "HF Trainer, best"
MODELS: dict[str, dict[str, Any]] = {
    "BERT-base": {"model_type": "bert"},
    "XLM-R base": {
        "model_type": "xlm-roberta", "vocab_size": 250002, "max_position_embeddings": 514, "type_vocab_size": 1,
        "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
    },
}  # fmt: skip
TINY = {
    "vocab_size": 2000,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
}
SIZE, MAX_LENGTH = 32, 512
WARM_UP, HOST_STEPS, PROFILED_STEPS = 20, 10, 2  # steps before those that are counted, and after them

Figures = dict[str, Any]

RATE = 2e-5  # the learning rate; what is measured does not depend on it


class Meter:
    """Measures the steps of a loop: seconds, host time and launches.

    Args:
        steps: of the whole loop.
    """

    def __init__(self, steps: int) -> None:
        self.steps, self.step = steps, 0
        self.last_counted = steps - HOST_STEPS - PROFILED_STEPS
        self.began = self.ended = self._step_began = 0.0
        self.host: list[float] = []
        self.launches: list[int] = []
        self._profiler: Any = None

    def step_begins(self) -> None:
        if self.step == WARM_UP:
            self.began = _synchronized_time()
        if self.step >= self.last_counted:
            self._step_began = _synchronized_time()
            self.ended = self.ended or self._step_began
        if self.step >= self.steps - PROFILED_STEPS and torch.cuda.is_available():
            self._profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
            self._profiler.__enter__()

    def step_ends(self) -> None:
        if self.last_counted <= self.step < self.steps - PROFILED_STEPS:
            self.host.append(time.perf_counter() - self._step_began)
        if self._profiler:
            torch.cuda.synchronize()
            self._profiler.__exit__(None, None, None)
            on_gpu = [event for event in self._profiler.events() if event.device_type.name == "CUDA"]
            self.launches.append(sum(not event.name.startswith(("Memcpy", "Memset")) for event in on_gpu))
            self._profiler = None
        self.step += 1

    def figures(self) -> Figures:
        """Return what was measured; launches are None without a GPU."""
        return {
            "seconds": (self.ended - self.began) / (self.last_counted - WARM_UP),
            "host": statistics.median(self.host),
            "launches": statistics.median(self.launches) if self.launches else None,
            "peak": torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None,
        }


def _synchronized_time() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def make_rows(count: int, max_length: int, vocabulary: int) -> TokenizedDataset:
    """Make random rows, as long as IMDB's reviews: 260 tokens on average where 512 are the most."""
    rng = np.random.default_rng(0)
    lengths = np.minimum(np.exp(rng.normal(5.45, 0.65, count)) * max_length / MAX_LENGTH + 10, max_length).astype(int)
    ends = lengths.cumsum()
    return TokenizedDataset(
        rng.integers(5, vocabulary, ends[-1]).astype(np.int32), ends - lengths, ends, vocabulary - 1
    )


def make_model(shape: dict[str, Any]) -> nn.Module:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    torch.manual_seed(0)
    model: nn.Module = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(**shape, num_labels=2))
    return model


def train_ours(model: nn.Module, tokens: TokenizedDataset, max_length: int, meter: Meter) -> float:
    """Train with accel_clf's loop; return the positions per token."""
    import accel_clf.training.loop as loop
    from accel_clf.config.load import load
    from accel_clf.data.collate import Padding
    from accel_clf.models.kernel_selection import apply_layout
    from accel_clf.strategies.accelerate import AccelerateStrategy
    from accel_clf.targets.single_label import SingleLabel
    from accel_clf.training.batches import TrainingRows
    from accel_clf.training.optim import make_optimizer
    from accel_clf.training.state import TrainState

    config = load(None, {"data": {"max_length": max_length}, "batch": {"size": SIZE}, "training": {"epochs": 1}})
    strategy = AccelerateStrategy("auto")
    layout, _ = apply_layout(model, strategy.layout, is_requested=True)
    prepared, optimizer = strategy.prepare(model, lambda moved: make_optimizer(moved, 0.01))
    positions, train_step = 0, loop.train_step

    def metered_step(model: nn.Module, optimizer: Any, loss_of: Any, batches: Any, *rest: Any) -> Any:
        nonlocal positions
        batches = list(batches)
        positions += sum(batch["input_ids"].numel() for batch in batches)
        meter.step_begins()
        result = train_step(model, optimizer, loss_of, batches, *rest)
        meter.step_ends()
        return result

    loop.train_step = metered_step  # type: ignore[assignment]
    target, labels = SingleLabel(("negative", "positive")), np.arange(len(tokens)) % 2
    rows = TrainingRows(tokens, target.objective(config.target, labels), np.arange(len(tokens)), layout, Padding(0))
    loop.fit(
        prepared,
        optimizer,
        rows,
        config,
        strategy,
        state=TrainState(RATE),
        evaluate=None,
        save_best=lambda: None,
        save_checkpoint=lambda: None,
        log_metrics=lambda line: None,
    )
    return positions / int(tokens.lengths.sum())


def train_hf(model: nn.Module, tokens: TokenizedDataset, meter: Meter) -> float:
    """Train with the HF Trainer; return the positions per token."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    on_gpu, positions = torch.cuda.is_available(), 0
    items = [
        {"input_ids": tokens[row].tolist(), "labels": row % 2, "length": len(tokens[row])} for row in range(len(tokens))
    ]

    def collate(batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        width = -(-max(item["length"] for item in batch) // 8) * 8
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, item in enumerate(batch):
            ids[row, : item["length"]] = torch.tensor(item["input_ids"])
            mask[row, : item["length"]] = 1
        labels = torch.tensor([item["labels"] for item in batch])
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    class MeterSteps(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            meter.step_begins()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            meter.step_ends()

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=SIZE,
            num_train_epochs=1,
            train_sampling_strategy="group_by_length",
            length_column_name="length",
            remove_unused_columns=False,
            bf16=fast_at_bf16(),
            optim="adamw_torch_fused",
            dataloader_num_workers=4 if on_gpu else 0,
            dataloader_pin_memory=on_gpu,
            logging_nan_inf_filter=False,  # its default waits for the device at every step
            logging_steps=10,
            use_cpu=not on_gpu,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Trainer(model, arguments, train_dataset=items, data_collator=collate, callbacks=[MeterSteps()])
        trainer.train()
    for batch in trainer.get_train_dataloader():
        positions += batch["input_ids"].numel()
    return positions / int(tokens.lengths.sum())


def worker(contestant: str, shape: dict[str, Any], steps: int, max_length: int) -> None:
    """Run one contestant in this process; print its figures as JSON."""
    model = make_model(shape)
    tokens, meter = make_rows(steps * SIZE, max_length, model.config.vocab_size), Meter(steps)  # type: ignore[union-attr, arg-type]
    flops = count_flops(model, tokens) / steps
    positions = train_ours(model, tokens, max_length, meter) if contestant == OURS else train_hf(model, tokens, meter)
    speed = matmul_speed("bf16" if fast_at_bf16() else "fp32")
    figures = meter.figures()
    print(json.dumps(figures | {"positions": positions, "mfu": flops / figures["seconds"] / speed, "matmul": speed}))


def run_checks() -> bool:
    """Print the checks; return whether all are right."""
    on_gpu = torch.cuda.is_available()
    device, layout = torch.device("cuda" if on_gpu else "cpu"), "varlen" if on_gpu else "packed"
    # Without a GPU there is neither its attention nor autocast in fp16.
    checks = [
        *(check_attention(device) if on_gpu else ()),
        *check_model(device, layout, DTYPES if on_gpu else DTYPES[:2]),
    ]
    checks += check_resume(layout)
    lines = [
        [check.name, f"{check.error:.1e}", f"{check.limit:.1e}", "right" if check.is_right else "WRONG"]
        for check in checks
    ]
    print(format_table(["check", "error", "limit", ""], lines), flush=True)
    return all(check.is_right for check in checks)


def measure(name: str, shape: dict[str, Any], rows: int, steps: int, max_length: int) -> bool:
    """Print what both contestants take for one model; return whether both have come to their end."""
    figures: dict[str, Figures] = {}
    for contestant in (OURS, TRAINER):
        arguments = json.dumps([contestant, shape, steps, max_length])
        command: list[str] = [sys.executable, "-m", "benchmarks.gpu", "--worker", arguments]
        process = subprocess.run(command, capture_output=True, text=True)
        if process.returncode:
            print(f"{contestant} has failed:\n{process.stderr[-2000:]}", flush=True)
            continue
        figures[contestant] = json.loads(process.stdout.splitlines()[-1])

    def optional(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    lines = [
        [
            contestant,
            f"{figure['seconds'] * rows / SIZE:.1f}",
            f"{figure['seconds'] / figures[OURS]['seconds']:.2f}" if OURS in figures else "-",
            f"{figure['mfu']:.0%}",
            optional(figure["launches"], ".0f"),
            f"{1000 * figure['host']:.1f}",
            f"{figure['positions']:.2f}",
            optional(figure["peak"], ".1f"),
        ]
        for contestant, figure in figures.items()
    ]
    header = ["", "s an epoch", "over ours", "MFU", "launches", "host ms a step", "positions a token", "peak GiB"]
    print(f"\n{name}, {rows} rows, {max_length} tokens at most, batches of {SIZE}, {steps} steps")
    print(format_table(header, lines), flush=True)
    return len(figures) == 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=25000, help="of an epoch")
    parser.add_argument("--steps", type=int, default=300, help="that each contestant takes")
    parser.add_argument("--dry_run", action="store_true", help="with tiny models, on any machine")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(*args.worker)
        return 0
    device: Callable[[], str] = torch.cuda.get_device_name if torch.cuda.is_available() else lambda: "no GPU"
    if not torch.cuda.is_available() and not args.dry_run:
        parser.error("no GPU here; --dry_run shows on any machine that the script runs")
    print(f"{device()}, torch {torch.__version__}; bf16 {'is' if fast_at_bf16() else 'is not'} fast here")
    results = [run_checks()]
    steps, max_length = (WARM_UP + HOST_STEPS + PROFILED_STEPS + 8, 64) if args.dry_run else (args.steps, MAX_LENGTH)
    for name, shape in MODELS.items():
        results.append(measure(name, shape | (TINY if args.dry_run else {}), args.rows, steps, max_length))
    return int(not all(results))


if __name__ == "__main__":
    sys.exit(main())
