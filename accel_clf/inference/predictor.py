"""A run folder as a function from texts to scores, by the same tokens and forward as evaluation."""

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from accel_clf.core.chunks import chunks
from accel_clf.core.console import log, progress_bar
from accel_clf.core.errors import ConfigError, UserError
from accel_clf.core.files import read_json
from accel_clf.data.collate import make_inputs, padding_row, shape_step
from accel_clf.data.texts import Text
from accel_clf.data.tokenization import TokenizedDataset, tokenize_texts
from accel_clf.data.tokenizers import PYTHON_TOKENIZER, is_fast
from accel_clf.inference.at_risk import at_risk
from accel_clf.inference.failures import Failure, answer_apart, answer_others, not_finite
from accel_clf.inference.forward import answer_logits
from accel_clf.inference.quantize import quantize
from accel_clf.inference.shared_base import AdaptedModel, can_share_base
from accel_clf.models.kernel_selection import apply_layout, optimize_for_inference
from accel_clf.models.loading import load_trained
from accel_clf.models.lora import attach
from accel_clf.models.packed import PACKED
from accel_clf.models.padding import padding_of
from accel_clf.models.pairs import takes_types
from accel_clf.models.precision import precision_for
from accel_clf.models.windows import pool_windows
from accel_clf.run_folder.layout import ADAPTER, fold_name, is_cross_validation, model_folder, read_config
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
        trained = self.config.model.model_copy(update={"name": str(model_folder(folders[0]))})
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
        adapters: dict[str, Path] = {}
        if can_share_base(folders, precision, self.config.data.windows):
            adapters = {folder.name: folder / ADAPTER for folder in folders}
        self.models: list[nn.Module] = []
        targets = set()
        for folder in folders[:1] if adapters else folders:
            model, self.tokenizer = load_trained(model_folder(folder), self.config.model)
            target = of_model(model.config)
            self.with_types = takes_types(model, self.tokenizer, self.has_pairs)
            targets.add(target.names)
            selector = attach(model, adapters, self.config.model.lora) if adapters else None
            pool_windows(model, self.config.data.windows, model_folder(folder))
            self.layout, _ = apply_layout(model, self.strategy.layout, kernels=self.config.model.kernels)
            if precision != "fp32":
                quantize(model.eval(), precision)
            optimize_for_inference(model, self.layout, self.strategy.device, precision, low_latency=low_latency)
            prepared = self.strategy.prepare_for_evaluation(model).eval()
            self.models += [AdaptedModel(prepared, selector, name).eval() for name in adapters] or [prepared]
        if not is_fast(self.tokenizer):
            log(f"{run}: {PYTHON_TOKENIZER}")
        if len(targets) > 1:
            raise ConfigError(f"{run}: its models have different labels", "folds of one cross-validation")
        self.target: Target = target if thresholds is None else target.at_thresholds(thresholds)
        if risk is not None:
            self.target = at_risk(self.target, run, risk, self.temperature)
        self.padding = padding_of(model, self.tokenizer, self.has_pairs)

    def logits(
        self, tokens: TokenizedDataset, show_progress: bool = False, failures: dict[int, Failure] | None = None
    ) -> list[np.ndarray]:
        """Compute each model's logits: float32 [rows, outputs].

        Args:
            tokens: of the rows.
            show_progress: whether to show a bar.
            failures: takes the rows that a model fails on, whose logits are NaN, and those without finite logits; None
                raises what it raises, as is done in any case where several processes share the rows.
        """
        recovers = failures is not None and self.strategy.processes == 1
        rows = tokens.in_both_orders()

        def recover(model: nn.Module, ids: list[int]) -> np.ndarray:
            assert failures is not None
            logits, failing = answer_others(partial(self._infer, [model]), [rows[row] for row in ids], self._filler)
            failures.update({ids[index] % len(tokens): failure for index, failure in failing.items()})
            return logits[:, 0]

        per_model = [
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
                recover=partial(recover, model) if recovers else None,
            )
            for model in self.models
        ]
        if failures is not None:
            for logits in per_model:
                failures.update(not_finite(logits) | failures)
        return per_model

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
        return self._infer(self.models, rows)[:count]

    def answer_batch(self, rows: Sequence[np.ndarray]) -> tuple[np.ndarray, dict[int, Failure]]:
        """Compute one batch's logits, as `logits_batch` does, whatever its rows are.

        Returns:
            The logits, NaN of rows that a model fails on, and why these and rows without finite logits have failed.

        Raises:
            Exception: a model fails on any row.
        """
        failures: dict[int, Failure] = {}
        try:
            logits = self.logits_batch(rows)
        except Exception:
            logits, failures = answer_others(self.logits_batch, rows, self._filler)
        return logits, not_finite(logits) | failures

    def _infer(self, models: Sequence[nn.Module], rows: Sequence[np.ndarray]) -> np.ndarray:
        inputs = make_inputs(rows, self.layout, self.padding, max_length=self.config.data.max_length)
        inputs = self.strategy.to_device(inputs)
        per_model = [model(**inputs).logits[: len(rows)].float() for model in models]
        logits: np.ndarray = torch.stack(per_model, dim=1).cpu().numpy()
        return logits

    def _filler(self, length: int) -> np.ndarray:
        """Return a text of one word, repeated until it has so many tokens; the word once where it has more."""
        text: Text = ("a", "a") if self.has_pairs else "a"
        row = tokenize_texts([text], self.tokenizer, self.config.data.max_length, with_types=self.with_types)[0]
        tokens = row.reshape(len(row), -1)[:, 0]
        word = int(np.isin(tokens, self.tokenizer.all_special_ids).argmin())
        repeats = np.ones(len(row), int)
        repeats[word] += max(0, length - len(row))
        return np.repeat(row, repeats, axis=0)

    def warm_up(self, max_tokens: int) -> None:
        """Run a batch of each shape, up to a size and for some seconds at most, the smallest first.

        A CPU then makes its kernels for them, and takes their memory, before requests come.
        """
        deadline, tokens = time.monotonic() + WARM_UP_SECONDS, SMALLEST_STEP
        row = self._filler(min(SMALLEST_STEP, self.config.data.max_length))  # not every model takes padding alone
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

        Raises:
            DataError: a model fails on a text.
        """
        for number, (text, scores) in enumerate(self.outcomes(texts, show_progress), start=1):
            if isinstance(scores, Failure):
                raise scores.as_error(f"text {number}")
            yield text, scores

    def outcomes(
        self, texts: Iterable[Text], show_progress: bool = False
    ) -> Iterator[tuple[Text, np.ndarray | Failure]]:
        """Yield what `predict` does, and why a text has no scores that a model fails on."""
        with progress_bar("predicting", None, show_progress) as bar:
            for chunk in chunks(texts, TEXTS_PER_CHUNK):
                try:
                    tokens = self._tokenize(chunk)
                except UserError:
                    raise
                except Exception:  # the tokenizer's, at a text
                    yield from self._outcomes_apart(chunk, show_progress)
                else:
                    yield from zip(chunk, self._outcomes(tokens, show_progress), strict=True)
                bar.advance(len(chunk))

    def _tokenize(self, texts: Sequence[Text]) -> TokenizedDataset:
        data = self.config.data
        options = {"with_types": self.with_types, "is_symmetric": data.symmetric}
        return tokenize_texts(texts, self.tokenizer, data.max_length, data.windows, **options)

    def _outcomes(self, tokens: TokenizedDataset, show_progress: bool) -> Iterator[np.ndarray | Failure]:
        failures: dict[int, Failure] = {}
        scores = self.ensemble_scores(self.logits(tokens, show_progress, failures))
        if not failures:
            return iter(scores)
        return (failures.get(index, of_text) for index, of_text in enumerate(scores))

    def _outcomes_apart(
        self, texts: Sequence[Text], show_progress: bool
    ) -> Iterator[tuple[Text, np.ndarray | Failure]]:
        """Yield outcomes of texts that the tokenizer does not take all of."""
        taken, failures = answer_apart(lambda some: zip(some, self._tokenize(some).lengths, strict=True), texts)
        others = [texts[index] for index in sorted(taken)]
        outcomes = self._outcomes(self._tokenize(others), show_progress) if others else iter(())
        for index, text in enumerate(texts):
            yield text, failures[index] if index in failures else next(outcomes)
