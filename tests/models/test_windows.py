"""A text's outputs are those of its windows together, in every layout; texts of one window are untouched."""

from typing import Any

import pytest
import torch
from torch import nn

from accel_clf.config.schema import WindowsConfig
from accel_clf.data.collate import make_inputs, pad
from accel_clf.models.kernel_selection import apply_layout
from accel_clf.models.windows import pool_windows
from tests.models.test_packed import PAD, make_model, random_rows

LENGTH = 16
LENGTHS = [5, 16, 17, 40, 64, 3]


def windowed(layout: str, pool: str, family: str = "bert") -> nn.Module:
    model = make_model(family).eval()
    pool_windows(model, WindowsConfig.model_validate({"stride": 0, "pool": pool}))
    apply_layout(model, layout, is_requested=True)
    return model


@pytest.mark.parametrize("family", ["bert", "modernbert", "eurobert", "qwen3"])
@pytest.mark.parametrize("layout", ["padded", "packed"])
@pytest.mark.parametrize("pool", ["mean", "max"])
def test_outputs_are_pooled(layout: str, pool: str, family: str) -> None:
    rows, plain = random_rows(LENGTHS), make_model(family).eval()
    with torch.no_grad():
        outputs: Any = windowed(layout, pool, family)(**make_inputs(rows, layout, PAD, max_length=LENGTH))
        for row, logits in zip(rows, outputs.logits, strict=True):
            windows = [row[start : start + LENGTH] for start in range(0, len(row), LENGTH)]
            alone = plain(**pad(windows, PAD)).logits
            expected = alone.mean(dim=0) if pool == "mean" else alone.amax(dim=0)
            torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def test_loss_of_a_text_does_not_depend_on_its_windows() -> None:
    """A text whose windows are all the same has the loss and the gradient of one of them."""
    [window] = random_rows([LENGTH])
    gradients = []
    for rows in ([window], [torch.from_numpy(window).repeat(5).numpy()]):
        model = windowed("padded", "mean")
        logits = model(**make_inputs(rows, "padded", PAD, max_length=LENGTH)).logits
        nn.functional.cross_entropy(logits, torch.tensor([1])).backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    for one, several in zip(*gradients, strict=True):
        torch.testing.assert_close(one, several, rtol=1e-4, atol=1e-6)


def test_texts_of_one_window_have_the_same_bits() -> None:
    rows = random_rows([LENGTH, 4, 9])
    inputs = make_inputs(rows, "packed", PAD, max_length=LENGTH)
    assert "members" not in inputs
    plain = make_model("bert").eval()
    apply_layout(plain, "packed", is_requested=True)
    with torch.no_grad():
        assert torch.equal(windowed("packed", "mean")(**inputs).logits, plain(**inputs).logits)
