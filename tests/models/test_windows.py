"""A text's outputs are those of its windows together, in every layout; texts of one window are untouched."""

from typing import Any

import pytest
import torch
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput

from accel_clf.config.schema import WindowsConfig
from accel_clf.core.errors import ConfigError
from accel_clf.data.collate import Padding, make_inputs, pad
from accel_clf.models.kernel_selection import apply_layout
from accel_clf.models.windows import ATTENTION, pool_windows
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
@pytest.mark.parametrize("pool", ["mean", "max", "attention"])
def test_outputs_are_pooled(layout: str, pool: str, family: str) -> None:
    if pool == "attention" and family in ("eurobert", "qwen3"):  # whose heads read each token
        with pytest.raises(ConfigError, match="does not end in a layer of one vector"):
            windowed(layout, pool, family)
        return
    rows, plain = random_rows(LENGTHS), make_model(family).eval()
    with torch.no_grad():
        outputs: Any = windowed(layout, pool, family)(**make_inputs(rows, layout, Padding(PAD), max_length=LENGTH))
        for row, logits in zip(rows, outputs.logits, strict=True):
            windows = [row[start : start + LENGTH] for start in range(0, len(row), LENGTH)]
            alone = plain(**pad(windows, PAD)).logits
            expected = alone.amax(dim=0) if pool == "max" else alone.mean(dim=0)  # before it is trained
            torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_attention_weighs_windows_by_their_states(layout: str) -> None:
    model, rows = windowed(layout, "attention"), random_rows(LENGTHS)
    direction = torch.randn(model.get_parameter(ATTENTION).shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.get_parameter(ATTENTION).copy_(direction)
        outputs: Any = model(**make_inputs(rows, layout, Padding(PAD), max_length=LENGTH))
        plain: Any = make_model("bert").eval()
        for row, logits in zip(rows, outputs.logits, strict=True):
            windows = pad([row[start : start + LENGTH] for start in range(0, len(row), LENGTH)], PAD)
            states = plain.bert(**windows).pooler_output
            expected = (states @ direction).softmax(dim=0) @ plain.classifier(states)
            torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def test_attention_needs_a_head_of_one_vector() -> None:
    class Summed(nn.Module):
        """A head whose outputs are no linear layer's."""

        config = make_model("bert").config

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SequenceClassifierOutput:
            return SequenceClassifierOutput(logits=input_ids.float())

    with pytest.raises(ConfigError, match="Summed's head"):
        pool_windows(Summed(), WindowsConfig.model_validate({"stride": 0, "pool": "attention"}))


def test_loss_of_a_text_does_not_depend_on_its_windows() -> None:
    """A text whose windows are all the same has the loss and the gradient of one of them."""
    [window] = random_rows([LENGTH])
    gradients = []
    for rows in ([window], [torch.from_numpy(window).repeat(5).numpy()]):
        model = windowed("padded", "mean")
        logits = model(**make_inputs(rows, "padded", Padding(PAD), max_length=LENGTH)).logits
        nn.functional.cross_entropy(logits, torch.tensor([1])).backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    for one, several in zip(*gradients, strict=True):
        torch.testing.assert_close(one, several, rtol=1e-4, atol=1e-6)


def test_texts_of_one_window_have_the_same_bits() -> None:
    rows = random_rows([LENGTH, 4, 9])
    inputs = make_inputs(rows, "packed", Padding(PAD), max_length=LENGTH)
    assert "members" not in inputs
    plain = make_model("bert").eval()
    apply_layout(plain, "packed", is_requested=True)
    with torch.no_grad():
        assert torch.equal(windowed("packed", "mean")(**inputs).logits, plain(**inputs).logits)
