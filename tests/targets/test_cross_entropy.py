"""The losses for rare labels are what their papers say, and sums over rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from accel_clf.config.load import load
from accel_clf.config.schema import TargetConfig
from accel_clf.targets.cross_entropy import PADDING_LABEL
from accel_clf.targets.objective import Loss
from accel_clf.targets.single_label import SingleLabel
from accel_clf.training.run import train
from tests.conftest import write_csv

TARGET = SingleLabel(("a", "b", "c"))
TRAINING_LABELS = np.repeat([0, 1, 2], [60, 30, 10])
SHARES = torch.tensor([0.6, 0.3, 0.1])
LOSSES = ("plain", "weighted", "focal", "logit_adjusted")


def loss_of(kind: str, smoothing: float = 0.0) -> Loss:
    settings = TargetConfig.model_validate({"loss": kind, "label_smoothing": smoothing})
    return TARGET.objective(settings, TRAINING_LABELS).loss


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    labels = torch.tensor([0, 1, 2, 0, PADDING_LABEL, 1])
    return torch.randn(6, 3, dtype=torch.float32, requires_grad=True), labels


def test_losses_are_those_of_their_papers(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = batch
    is_row = labels >= 0
    right = labels[is_row]

    def log_probability(values: torch.Tensor) -> torch.Tensor:
        return values[is_row].log_softmax(dim=1)[torch.arange(len(right)), right]

    plain = -log_probability(logits)
    expected = {
        "plain": plain,
        "weighted": plain / (3 * SHARES[right]),
        "focal": (1 - torch.exp(-plain)) ** 2 * plain,
        "logit_adjusted": -log_probability(logits + SHARES.log()),
    }
    for kind in LOSSES:
        torch.testing.assert_close(loss_of(kind)(logits, labels), expected[kind].sum())
    assert torch.equal(loss_of("auto")(logits, labels), loss_of("plain")(logits, labels))
    spread = -logits[is_row].log_softmax(dim=1).mean(dim=1)
    torch.testing.assert_close(loss_of("plain", 0.1)(logits, labels), (0.9 * plain + 0.1 * spread).sum())


@pytest.mark.parametrize("kind", LOSSES)
def test_losses_are_sums_over_rows(kind: str, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    """So neither accumulation nor the number of processes changes a step; padding rows add nothing."""
    logits, labels = batch
    loss = loss_of(kind)
    parts = [loss(logits[row : row + 1], labels[row : row + 1]) for row in range(len(labels))]
    torch.testing.assert_close(torch.stack(parts).sum(), loss(logits, labels))
    assert parts[4] == 0


@pytest.mark.parametrize("kind", ["focal", "logit_adjusted"])
def test_gradients_equal_finite_differences(kind: str, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = batch
    loss = loss_of(kind)
    assert torch.autograd.gradcheck(lambda values: loss(values, labels), logits.detach().double().requires_grad_())


def test_weights_of_training_rows_are_one_on_average() -> None:
    logits, labels = torch.zeros(100, 3), torch.from_numpy(TRAINING_LABELS)
    torch.testing.assert_close(loss_of("weighted")(logits, labels), loss_of("plain")(logits, labels))


def test_smoothing_and_focal_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        TargetConfig(loss="focal", label_smoothing=0.1)


def imbalanced(folder: Path, model: Path, **settings: Any) -> Any:
    """Make a run on 240 rows, of which every twelfth has another label."""
    words = ["dull" if number % 12 else "superb" for number in range(240)]
    rows = [(f"soup number {number} was {word}", str(word == "superb")) for number, word in enumerate(words)]
    data = {"train": str(write_csv(folder / "rows.csv", rows)), "max_length": 32}
    base = {"model": {"name": str(model)}, "data": data, "output": str(folder / "run")}
    return load(None, base | {"training": {"precision": "fp32", "learning_rate": 1e-6}} | settings)


def test_imbalance_and_labels_that_are_never_predicted_are_warned_of(
    tmp_path: Path, tiny_bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = train(imbalanced(tmp_path, tiny_bert))
    log = capsys.readouterr().err
    assert "label 'False' has 198 training rows, 'True' 18: --target.loss logit_adjusted (or weighted, focal)" in log
    assert "'True' 18, which accuracy hardly sees: --evaluation.metric macro_f1" in log
    (missed,) = [name for name, of in results["validation"]["per_class"].items() if of["recall"] == 0]
    assert f"the best model never predicts {missed!r}, which validation rows have as their label" in log
    second = {"target": {"loss": "weighted"}, "evaluation": {"metric": "macro_f1"}, "output": str(tmp_path / "second")}
    train(imbalanced(tmp_path, tiny_bert, **second))
    assert "training rows, 'True'" not in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["weighted", "focal", "logit_adjusted"])
def test_accumulated_steps_end_with_the_same_weights(tmp_path: Path, tiny_xlmr: Path, kind: str) -> None:
    """Without dropout, at a rate at which other sums would show."""
    training, weights = {"precision": "fp32", "learning_rate": 1e-3}, []
    for size, accumulate in ((16, 1), (4, 4)):
        settings = {"batch": {"size": size, "accumulate": accumulate}, "output": str(tmp_path / f"run-{size}")}
        train(imbalanced(tmp_path, tiny_xlmr, target={"loss": kind}, training=training, **settings))
        weights.append(load_file(tmp_path / f"run-{size}" / "model" / "model.safetensors"))
    one, several = weights
    # A key's bias adds the same to all scores of a query, which softmax takes out: its gradient is rounding noise, and
    # Adam makes steps of it.
    compared = [name for name in one if not name.endswith("key.bias")]
    assert max(float((one[name] - several[name]).abs().max()) for name in compared) < 1e-5
