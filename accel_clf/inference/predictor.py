"""A run folder as a function from texts to labels, by the same tokens and forward as evaluation."""

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device

from accel_clf.core.console import log, progress_bar
from accel_clf.core.errors import ConfigError
from accel_clf.core.files import read_json
from accel_clf.data.collate import make_inputs
from accel_clf.data.tokenization import TokenizedDataset, tokenize_texts
from accel_clf.inference.forward import logits
from accel_clf.inference.quantize import _make_lighter
from accel_clf.models import packed
from accel_clf.models.kernel_selection import apply_layout
from accel_clf.models.kernels.fused_inference import can_fuse, fuse, pays_for_many_tokens
from accel_clf.models.loading import load_trained
from accel_clf.run_folder import layout
from accel_clf.strategies.accelerate import AccelerateStrategy
from accel_clf.strategies.precision import WITHOUT_BF16, fast_at_bf16
from accel_clf.targets.scores import probabilities

TEXTS_AT_ONCE = 2048  # sorted by length among each other; memory does not grow with the file


BATCH = 64  # rows, at most


SHAPES = 8  # that a packed batch may have between a power of two tokens and the next: a CPU keeps kernels for each


FEWEST = 16  # tokens that they differ by


WARMING = 3.0  # seconds


class Predictor:
    """A trained run, or the models of a cross-validation together: the mean of their probabilities.

    Args:
        run: the folder.
        precision: of matrix products: "fp32", "bf16" or "int8"; "auto" is bf16 where the hardware is fast at it.
        few: whether to be quick with a few tokens, as a server gets them, rather than with a file.

    Attributes:
        config: the run's settings.
        precision: which it is.
        labels: the label names, in the order of the probabilities' columns.
        temperature: what logits are divided by: a cross-validation's, fitted on its out-of-fold answers; 1 for a run.

    Raises:
        ConfigError: the folder is not a trained run's, or a finished cross-validation's.
    """

    def __init__(self, run: Path, precision: str = "fp32", low_latency: bool = False) -> None:
        if precision == "auto":
            precision = "bf16" if fast_at_bf16() else "fp32"
        self.config, self.precision = layout.read_config(run), precision
        # Whatever it was trained in, and wherever it is used.
        self.strategy = AccelerateStrategy("bf16" if precision == "bf16" else "fp32")
        if precision == "bf16" and self.strategy.device.type == "cpu" and not fast_at_bf16(on_cpu=True):
            log(f"warning: {WITHOUT_BF16}")
        runs, self.temperature = [run], 1.0
        if layout.is_cross_validation(run):
            results = read_json(run / "metrics.json")
            runs = [run / layout.fold_name(fold) for fold in range(results["folds"])]
            self.temperature = results["calibration"]["temperature"]
        self.models = []
        found = set()
        for one in runs:
            model, self.tokenizer = load_trained(one / "model", self.config.model)
            names: dict[int, str] = model.config.id2label  # type: ignore[union-attr, assignment]
            self.labels = tuple(names[code] for code in range(len(names)))
            found.add(self.labels)
            self.layout, _ = apply_layout(model, self.strategy.layout)
            if precision != "fp32":
                _make_lighter(model.eval(), precision)
            possible = self.layout == packed.PACKED and can_fuse(self.strategy.device, precision)
            if possible and (low_latency or pays_for_many_tokens()):
                fuse(model)
            self.models.append(self.strategy.prepare_for_evaluation(model).eval())
        if len(found) > 1:
            raise ConfigError(f"{run}: its models have different labels", "folds of one cross-validation")
        self.pad_id: int = self.tokenizer.pad_token_id or 0

    def logits(self, tokens: TokenizedDataset, show_progress: bool = False) -> list[np.ndarray]:
        """Each model's: float32 [rows, classes]."""
        return [
            logits(
                model,
                tokens,
                self.strategy,
                size=BATCH,
                layout=self.layout,
                max_length=self.config.data.max_length,
                pad_id=self.pad_id,
                show_progress=show_progress,
            )
            for model in self.models
        ]

    @torch.inference_mode()
    def logits_batch(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """One batch's logits by each model: float32 [rows, models, classes].

        Args:
            rows: token ids, int [length] each.
        """
        wanted = len(rows)
        if self.layout == packed.PACKED:
            tokens, longest = sum(map(len, rows)), max(map(len, rows))
            missing = -tokens % _step(tokens)
            rows = [*rows, *(self._filler(min(longest, missing - made)) for made in range(0, missing, longest))]
        given = send_to_device(make_inputs(rows, self.layout, self.pad_id), self.strategy.device)
        each = [model(**given).logits[:wanted].float() for model in self.models]
        found: np.ndarray = torch.stack(each, dim=1).cpu().numpy()
        return found

    def warm_up(self, most_tokens: int) -> None:
        """Answer a batch of each shape, up to a size and for some seconds at most, the smallest first.

        A CPU's kernels for them are made now, and take their memory now, rather than when requests come.
        """
        until, tokens = time.monotonic() + WARMING, FEWEST
        row = self._filler(min(FEWEST, self.config.data.max_length))
        while tokens <= most_tokens and time.monotonic() < until:
            self.logits_batch([row] * (tokens // len(row)))
            if self.layout != packed.PACKED or self.strategy.device.type != "cpu":
                return  # shapes are of no account
            tokens += _step(tokens)

    def _filler(self, length: int) -> np.ndarray:
        return np.full(length, self.pad_id, np.int32)

    def ensemble_scores(self, each: Sequence[np.ndarray]) -> np.ndarray:
        """The answer to each model's logits: probabilities, float64 [rows, classes]."""
        mean: np.ndarray = np.mean([probabilities(own / self.temperature) for own in each], axis=0)
        return mean

    def predict(self, texts: Iterable[str], show_progress: bool = False) -> Iterator[tuple[str, Any]]:
        """Each text with its probabilities, float64 [classes], in the texts' order.

        Args:
            texts: any number of them.
            show_progress: whether to show progress.
        """
        remaining = iter(texts)
        with progress_bar("predicting", None, show_progress) as progress:
            while some := list(islice(remaining, TEXTS_AT_ONCE)):
                tokens = tokenize_texts(some, self.tokenizer, self.config.data.max_length)
                yield from zip(some, self.ensemble_scores(self.logits(tokens, show_progress)), strict=True)
                progress.advance(len(some))


def _step(tokens: int) -> int:
    """Of what a packed batch of about so many tokens has a multiple."""
    return max(FEWEST, (1 << tokens.bit_length() - 1) // SHAPES)
