"""Fused and int8 encoders return (nearly) the logits of the encoder that they were made from."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accel_clf.data.collate import pack, pad
from accel_clf.inference.quantize import quantize
from accel_clf.models.families.base import PostNormFamily
from accel_clf.models.families.registry import FAMILIES
from accel_clf.models.kernel_selection import apply_layout
from accel_clf.models.kernels.first_token import directly_read_linears
from accel_clf.models.kernels.fused_inference import Linear, can_fuse, fuse
from tests.models.test_packed import PAD, make_model, packed_copy, random_rows

ACTIVATION = {"distilbert": "activation", "modernbert": "hidden_activation"}  # the option's name


def read_directly(family: str) -> int:
    """How many linear layers of a packed model are read and not called: keys and values of BERT's last layer."""
    return 2 if isinstance(FAMILIES[family], PostNormFamily) else 0


pytestmark = pytest.mark.skipif(not can_fuse(torch.device("cpu"), "fp32"), reason="this torch has no oneDNN")


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_fused_encoder_equals_packed_encoder(family: str, activation: str, lengths: list[int], seed: int) -> None:
    options: dict[str, Any] = {ACTIVATION.get(family, "hidden_act"): activation}
    plain = packed_copy(make_model(family, **options)).eval()
    fused = packed_copy(make_model(family, **options)).eval()
    fuse(fused, FAMILIES[family])
    unfused = {module for module in fused.modules() if type(module) is torch.nn.Linear}
    assert unfused == set(directly_read_linears(fused))
    assert len(unfused) == read_directly(family)
    batch = pack(sorted(random_rows(lengths, seed), key=len))
    with torch.inference_mode():
        torch.testing.assert_close(fused(**batch).logits, plain(**batch).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("layout", ["packed", "padded"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_int8_logits_are_close(family: str, layout: str) -> None:
    model = make_model(family).eval()
    apply_layout(model, layout, is_requested=True)
    rows = random_rows([3, 9, 9, 40])
    inputs = pack(rows) if layout == "packed" else pad(rows, PAD)
    with torch.inference_mode():
        expected = model(**inputs).logits
        quantize(model, "int8")
        logits = model(**inputs).logits
    unquantized = {module for module in model.modules() if type(module) is torch.nn.Linear}
    assert unquantized == set(directly_read_linears(model))
    assert len(unquantized) == (read_directly(family) if layout == "packed" else 0)
    assert 0 < (logits - expected).abs().mean() < 0.2 * expected.std()


def test_fused_linear_applies_the_activation() -> None:
    layers = [torch.nn.Linear(8, 16), torch.nn.Linear(8, 4)]
    values = torch.randn(3, 8)
    expected = torch.nn.functional.gelu(torch.cat([layer(values) for layer in layers], dim=-1))
    torch.testing.assert_close(Linear(layers, "gelu")(values), expected.detach(), rtol=0, atol=1e-6)
