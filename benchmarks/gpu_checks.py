"""What must be right on a GPU before its speed counts; `benchmarks.gpu` runs these first."""

import copy
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate.utils import send_to_device
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from accel_clf.data.collate import Padding, make_inputs, pad
from accel_clf.models.kernel_selection import apply_layout
from accel_clf.models.kernels.varlen import Documents, varlen_attention
from benchmarks.chaos import last_saved_step

HEAD_SIZES = (26, 64)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
LENGTHS = (1, 512, 37, 200, 3, 129)
SLACK = 2.0  # how many times the error of what others use is still right
FLOAT32_ERROR = 1e-5  # relative; of sums in another order


class Check(NamedTuple):
    """One comparison.

    Attributes:
        name: of what is compared.
        error: relative to the result's norm.
        limit: the most that it may be.
    """

    name: str
    error: float
    limit: float

    @property
    def is_right(self) -> bool:
        return self.error <= self.limit


def check_attention(device: torch.device) -> Iterator[Check]:
    """Compare attention by the device's own operations with that of nested tensors, forward and backward."""
    ends = np.cumsum((0, *LENGTHS))
    starts = torch.tensor(ends, dtype=torch.int32, device=device)
    documents = Documents(starts, max(LENGTHS))
    for dtype in DTYPES:
        for size in HEAD_SIZES:
            torch.manual_seed(0)
            heads = [torch.randn(int(ends[-1]), 12, size, device=device, requires_grad=True) for _ in range(3)]
            factor = torch.randn(int(ends[-1]), 12, size, device=device)

            exact, results, expected = (
                [output, *torch.autograd.grad((output.float() * factor).sum(), heads)]
                for output in (
                    _nested_attention(*_cast(heads, torch.float32), starts),
                    varlen_attention(*_cast(heads, dtype), documents, documents, size**-0.5, 0.0),
                    _nested_attention(*_cast(heads, dtype), starts),
                )
            )
            for part, truth, value, other in zip(("output", "dq", "dk", "dv"), exact, results, expected, strict=True):
                limit = SLACK * _error(other, truth) + FLOAT32_ERROR
                yield Check(f"attention, {_name(dtype)}, heads of {size}, {part}", _error(value, truth), limit)


def _cast(heads: list[torch.Tensor], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    query, key, value = (tensor.to(dtype) for tensor in heads)
    return query, key, value


def _nested_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, starts: torch.Tensor
) -> torch.Tensor:
    query, key, value = (
        torch.nested.nested_tensor_from_jagged(
            tensor, starts.long(), min_seqlen=min(LENGTHS), max_seqlen=max(LENGTHS)
        ).transpose(1, 2)
        for tensor in (query, key, value)
    )
    attended: Any = scaled_dot_product_attention(query, key, value)
    values: torch.Tensor = attended.transpose(1, 2).values()
    return values


def check_model(device: torch.device, layout: str, dtypes: tuple[torch.dtype, ...]) -> Iterator[Check]:
    """Compare our layers with transformers' own, without dropout: logits and gradients.

    Both are compared with float32, and in 16 bits ours may be SLACK times as far from it as transformers' own.
    """
    from transformers import BertConfig, BertForSequenceClassification

    rng = np.random.default_rng(0)
    rows = [rng.integers(1, 999, length) for length in LENGTHS]
    labels = (torch.arange(len(rows)) % 2).to(device)
    padded = send_to_device(pad(rows, 0), device)
    packed = send_to_device(make_inputs(rows, layout, Padding(0), max_length=512), device)
    for size in HEAD_SIZES:
        torch.manual_seed(0)
        config = BertConfig(
            hidden_size=4 * size,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=8 * size,
            vocab_size=1000,
        )
        plain = BertForSequenceClassification(config).to(device).eval()
        ours = copy.deepcopy(plain)
        apply_layout(ours, layout, is_requested=True)
        exact = _logits_and_gradients(plain, padded, labels, torch.float32)
        for dtype in dtypes:
            results = _logits_and_gradients(ours, packed, labels, dtype)
            expected = _logits_and_gradients(plain, padded, labels, dtype)
            for part, truth, value, other in zip(("logits", "gradients"), exact, results, expected, strict=True):
                limit = SLACK * _error(other, truth) + FLOAT32_ERROR
                yield Check(f"model, {_name(dtype)}, heads of {size}, {part}", _error(value, truth), limit)


def _logits_and_gradients(
    model: nn.Module, batch: dict[str, Any], labels: torch.Tensor, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    model.zero_grad()
    with torch.autocast(labels.device.type, dtype, enabled=dtype != torch.float32):
        logits = model(**batch).logits[: len(labels)].float()
    scale = 2.0**10 if dtype == torch.float16 else 1.0  # as a gradient scaler does
    (scale * cross_entropy(logits, labels)).backward()  # type: ignore[no-untyped-call]
    gradients = [weight.grad.flatten() / scale for weight in model.parameters() if weight.grad is not None]
    return logits.detach(), torch.cat(gradients)


def check_resume(layout: str) -> Iterator[Check]:
    """Kill a run and resume it: its weights are no farther from an undisturbed run's than another undisturbed one's.

    Those are equal where attention's gradients are summed in a fixed order, which a GPU's are not.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        undisturbed = [_start(folder / run) for run in ("first", "second")]
        _, killed = _start(folder / "killed")
        while last_saved_step(folder / "killed") < 10 and killed.poll() is None:
            time.sleep(0.005)
        killed.kill()
        killed.wait()
        for run, process in (*undisturbed, _start(folder / "killed")):
            if process.wait():
                raise RuntimeError(f"a run has failed:\n{run.with_suffix('.log').read_text()}")
        first, second, resumed = (
            torch.cat([weight.flatten() for weight in load_file(folder / run / "model" / "model.safetensors").values()])
            for run in ("first", "second", "killed")
        )
    limit = SLACK * _error(second, first) + (FLOAT32_ERROR if layout == "varlen" else 0.0)
    yield Check("resumed run, weights", _error(resumed, first), limit)


def _start(output: Path) -> tuple[Path, "subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "accel_clf.cli", "train", "--data.limit", "800", "--training.epochs", "1"]
    command += ["--evaluation.baseline", "false", "--checkpoint.every", "5", "--batch.layout", "packed"]
    with output.with_suffix(".log").open("w") as log:
        return output, subprocess.Popen([*command, "--output", str(output)], stdout=log, stderr=log)


def _error(value: torch.Tensor, truth: torch.Tensor) -> float:
    return float((value.double() - truth.double()).norm() / truth.double().norm())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
