"""A run folder as a function from texts to scores, by the same tokens and forward as evaluation."""

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from accel_clf.core.chunks import chunks
from accel_clf.core.console import log, progress_bar
from accel_clf.core.errors import ConfigError
from accel_clf.core.files import read_json
from accel_clf.data.collate import make_inputs, padding_row, shape_step
from accel_clf.data.texts import Text
from accel_clf.data.tokenization import TokenizedDataset, tokenize_texts
from accel_clf.data.tokenizers import PYTHON_TOKENIZER, is_fast
from accel_clf.inference.at_risk import at_risk
from accel_clf.inference.forward import answer_logits
from accel_clf.inference.quantize import quantize
from accel_clf.models.kernel_selection import apply_layout, optimize_for_inference
from accel_clf.models.loading import load_trained
from accel_clf.models.packed import PACKED
from accel_clf.models.padding import padding_of
from accel_clf.models.pairs import takes_types
from accel_clf.models.precision import precision_for
from accel_clf.models.windows import pool_windows
from accel_clf.run_folder.layout import fold_name, is_cross_validation, read_config
from accel_clf.strategies.accelerate import AccelerateStrategy
from accel_clf.strategies.precision import WITHOUT_BF16, device_type, fast_at_bf16
from accel_clf.targets.base import Target
from accel_clf.targets.registry import of_model

TEXTS_PER_CHUNK = 2048  # sorted by length within a chunk; memory does not grow with the file
BATCH_ROWS = 64
SHAPES_PER_DOUBLING = 8  # of packed batches, between a power of two tokens and the next: a CPU keeps kernels for each
SMALLEST_STEP = 16  # tokens between two shapes
WARM_UP_SECONDS = 3.0


class Predictor:
    """A trained run, or the models of a cross-validation together: the mean of their probabilities.

    Args:
        run: the folder.
        precision: of matrix products: "fp32", "bf16" or "int8"; "auto" is bf16 where the hardware is fast at it.
        low_latency: whether to be fast for a few short texts, as a server gets them, rather than for a file.
        risk: of a wrong answer, among those given; None gives one for every text.

    Attributes:
        config: the run's settings.
        precision: the one in use.
        target: what it predicts.
        temperature: the divisor of logits: a cross-validation's, fitted on its out-of-fold logits; 1 for a run.
        has_pairs: whether it reads pairs of texts.
        with_types: whether its models take token types.

    Raises:
        ConfigError: the folder is not a trained run's, or a finished cross-validation's; or there is nothing that a
            risk could go by.
    """

    def __init__(
        self, run: Path, precision: str = "fp32", low_latency: bool = False, risk: float | None = None
    ) -> None:
        self.config = read_config(run)
        folders, self.temperature, thresholds = [run], 1.0, None
        if is_cross_validation(run):
            results = read_json(run / "metrics.json")
            folders = [run / fold_name(fold) for fold in range(results["folds"])]
            self.temperature = results["calibration"]["temperature"]
            thresholds = results.get("thresholds")
        trained = self.config.model.model_copy(update={"name": str(folders[0] / "model")})
        precision = precision_for(trained, precision, "precision")
        if precision == "auto":
            precision = "bf16" if fast_at_bf16() else "fp32"
        self.precision = precision
        if precision == "int8" and device_type() != "cpu":
            log(f"int8 runs on the CPU, not on {device_type()}: torch has kernels for it on CPUs only")
        # Whatever it was trained in, and wherever it is used.
        self.strategy = AccelerateStrategy("bf16" if precision == "bf16" else "fp32", cpu=precision == "int8")
        if precision == "bf16" and self.strategy.device.type == "cpu" and not fast_at_bf16("cpu"):
            log(f"warning: {WITHOUT_BF16}")
        self.has_pairs, self.with_types = self.config.data.pair is not None, False
        self.models = []
        targets = set()
        for folder in folders:
            model, self.tokenizer = load_trained(folder / "model", self.config.model)
            target = of_model(model.config)
            self.with_types = takes_types(model, self.tokenizer, self.has_pairs)
            targets.add(target.names)
            pool_windows(model, self.config.data.windows)
            self.layout, _ = apply_layout(model, self.strategy.layout, kernels=self.config.model.kernels)
            if precision != "fp32":
                quantize(model.eval(), precision)
            optimize_for_inference(model, self.layout, self.strategy.device, precision, low_latency=low_latency)
            self.models.append(self.strategy.prepare_for_evaluation(model).eval())
        if not is_fast(self.tokenizer):
            log(f"{run}: {PYTHON_TOKENIZER}")
        if len(targets) > 1:
            raise ConfigError(f"{run}: its models have different labels", "folds of one cross-validation")
        self.target: Target = target if thresholds is None else target.at_thresholds(thresholds)
        if risk is not None:
            self.target = at_risk(self.target, run, risk, self.temperature)
        self.padding = padding_of(model, self.tokenizer, self.has_pairs)

    def logits(self, tokens: TokenizedDataset, show_progress: bool = False) -> list[np.ndarray]:
        """Compute each model's logits: float32 [rows, outputs]."""
        return [
            answer_logits(
                model,
                tokens,
                self.strategy,
                self.target,
                size=BATCH_ROWS,
                layout=self.layout,
                max_length=self.config.data.max_length,
                padding=self.padding,
                show_progress=show_progress,
            )
            for model in self.models
        ]

    @torch.inference_mode()
    def logits_batch(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """Compute one batch's logits by each model: float32 [rows, models, outputs].

        Args:
            rows: token ids, int [length] each; or, with token types, [length, 2].
        """
        count = len(rows)
        if self.layout == PACKED:
            tokens = sum(map(len, rows))
            longest = min(max(map(len, rows)), self.config.data.max_length)
            padding = -tokens % shape_step(tokens, SHAPES_PER_DOUBLING, SMALLEST_STEP)
            fillers = (min(longest, padding - start) for start in range(0, padding, longest))
            rows = [*rows, *(padding_row(self.padding, length, like=rows[0]) for length in fillers)]
        inputs = make_inputs(rows, self.layout, self.padding, max_length=self.config.data.max_length)
        inputs = self.strategy.to_device(inputs)
        per_model = [model(**inputs).logits[:count].float() for model in self.models]
        logits: np.ndarray = torch.stack(per_model, dim=1).cpu().numpy()
        return logits

    def warm_up(self, max_tokens: int) -> None:
        """Run a batch of each shape, up to a size and for some seconds at most, the smallest first.

        A CPU then makes its kernels for them, and takes their memory, before requests come.
        """
        deadline, tokens = time.monotonic() + WARM_UP_SECONDS, SMALLEST_STEP
        row = padding_row(self.padding, min(SMALLEST_STEP, self.config.data.max_length), like=np.empty(0))
        while tokens <= max_tokens and time.monotonic() < deadline:
            self.logits_batch([row] * (tokens // len(row)))
            if self.layout != PACKED or self.strategy.device.type != "cpu":
                return  # kernels do not depend on the shape
            tokens += shape_step(tokens, SHAPES_PER_DOUBLING, SMALLEST_STEP)

    def ensemble_scores(self, per_model: Sequence[np.ndarray]) -> np.ndarray:
        """Average the scores of each model's logits: float64 [rows, scores]."""
        mean: np.ndarray = np.mean([self.target.scores(logits / self.temperature) for logits in per_model], axis=0)
        return mean

    def predict(self, texts: Iterable[Text], show_progress: bool = False) -> Iterator[tuple[Text, np.ndarray]]:
        """Yield each text with its scores, float64 [scores], in the texts' order.

        Args:
            texts: any number of them; pairs where `has_pairs`.
            show_progress: whether to show a bar.
        """
        data = self.config.data
        with progress_bar("predicting", None, show_progress) as bar:
            for chunk in chunks(texts, TEXTS_PER_CHUNK):
                options = {"with_types": self.with_types, "is_symmetric": data.symmetric}
                tokens = tokenize_texts(chunk, self.tokenizer, data.max_length, data.windows, **options)
                scores = self.ensemble_scores(self.logits(tokens, show_progress))
                yield from zip(chunk, scores, strict=True)
                bar.advance(len(chunk))
