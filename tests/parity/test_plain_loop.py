"""The training loop equals a loop in plain PyTorch, bit for bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from accel_clf.config.load import load
from accel_clf.config.schema import Config, DataConfig, ModelConfig
from accel_clf.data.collate import Padding
from accel_clf.data.dataset import Dataset
from accel_clf.data.sampling import step_seed
from accel_clf.data.sources import read_dataset
from accel_clf.data.tokenization import tokenize
from accel_clf.models.kernels import embedding_grad
from accel_clf.models.kernels.dropout import replace_dropout
from accel_clf.models.loading import load_model, load_tokenizer
from accel_clf.strategies.accelerate import AccelerateStrategy
from accel_clf.targets.single_label import SingleLabel
from accel_clf.training.batches import TrainingRows
from accel_clf.training.loop import fit
from accel_clf.training.optim import make_optimizer
from accel_clf.training.state import TrainState

LENGTH, SEED = 64, 3
TARGET = SingleLabel(("negative", "positive"))


class Case:
    """Rows, tokens and a new model for both loops."""

    def __init__(self, reviews: Path, tiny_bert: Path) -> None:
        self.settings = ModelConfig(name=str(tiny_bert))
        rows: Dataset = read_dataset(str(reviews), DataConfig(), split="train")
        self.rows, self.labels = rows, rows.labels
        self.tokenizer = load_tokenizer(self.settings, rows, LENGTH)
        self.tokens = tokenize(rows, self.tokenizer, LENGTH)

    def load_model(self) -> nn.Module:
        return load_model(self.settings, TARGET, self.tokenizer, LENGTH, SEED)

    def fit(self, batch: dict[str, int], **training: Any) -> nn.Module:
        """Train with the loop under test."""
        settings = {
            "model": {"name": self.settings.name},
            "data": {"max_length": LENGTH},
            "batch": batch,
            "training": {"seed": SEED, "learning_rate": 1e-3, "precision": "fp32", **training},
        }
        config: Config = load(None, settings)
        strategy = AccelerateStrategy("fp32")
        model = self.load_model()
        prepared, optimizer = strategy.prepare(model, lambda moved: make_optimizer(moved, config.training.weight_decay))
        rows = TrainingRows.of(self.tokens, self.rows, config.target, "padded", Padding(self.tokenizer.pad_token_id))
        fit(
            prepared,
            optimizer,
            rows,
            config,
            strategy,
            state=TrainState(config.training.learning_rate),
            evaluate=None,
            save_best=lambda: None,
            save_checkpoint=lambda: None,
            log_metrics=lambda line: None,
        )
        return model


@pytest.fixture(scope="module")
def case(reviews: Path, tiny_bert: Path) -> Case:
    return Case(reviews, tiny_bert)


def plain_loop(case: Case, size: int, epochs: int) -> tuple[nn.Module, int]:
    """Fine-tune in plain PyTorch: no strategy, no loader, no layout; our dropout, with the same seeds."""
    model = case.load_model().train()
    replace_dropout(model)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, eps=1e-6, fused=True)
    count = len(case.labels)
    total = epochs * -(-count // size)
    warmup = round(total * 0.1)
    step = 0
    for epoch in range(epochs):
        order = np.random.default_rng((SEED, epoch)).permutation(count)
        for start in range(0, count, size):
            rows = order[start : start + size]
            texts = [case.tokens[row] for row in rows]
            longest = max(map(len, texts))
            ids = torch.zeros(len(rows), longest, dtype=torch.long)
            mask = torch.zeros(len(rows), longest, dtype=torch.long)
            for row, text in enumerate(texts):
                ids[row, : len(text)] = torch.tensor(text.tolist())
                mask[row, : len(text)] = 1
            factor = (step + 1) / (warmup + 1) if step < warmup else (total - step) / (total - warmup)
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * factor
            torch.manual_seed(step_seed(SEED, step, 0))
            logits = model(input_ids=ids, attention_mask=mask).logits
            labels = torch.tensor(case.labels[rows], dtype=torch.long)
            loss = nn.functional.cross_entropy(logits, labels, reduction="sum") / len(rows)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
    return model, step


def largest_difference(model: nn.Module, other: nn.Module) -> float:
    pairs = zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


@pytest.mark.parametrize("large", [embedding_grad.LARGE, 0])
def test_loop_equals_plain_pytorch_bit_for_bit(case: Case, large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In 26 steps with dropout, the last of an epoch ragged; with dense and with sparse embedding gradients."""
    monkeypatch.setattr(embedding_grad, "LARGE", large)
    plain, steps = plain_loop(case, size=32, epochs=2)
    assert steps == 26
    assert largest_difference(plain, case.fit({"size": 32}, epochs=2)) == 0.0


def test_other_weight_decay_is_detected(case: Case) -> None:
    plain, _ = plain_loop(case, size=32, epochs=2)
    assert largest_difference(plain, case.fit({"size": 32}, epochs=2, weight_decay=0.02)) > 0.0


def test_accumulated_batches_equal_one_large_batch(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """8 x 4 and 32, on 403 rows: the last step has 19 rows, in 3 micro-batches of which the last is ragged."""
    load_model = case.load_model

    def load_without_dropout() -> nn.Module:
        """Load a model without dropout, whose masks depend on a batch's shape."""
        model = load_model()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        return model

    monkeypatch.setattr(case, "load_model", load_without_dropout)
    large = case.fit({"size": 32}, epochs=2)
    accumulated = case.fit({"size": 8, "accumulate": 4}, epochs=2)
    assert largest_difference(case.load_model(), large) > 0.0
    assert largest_difference(large, accumulated) < 1e-6
