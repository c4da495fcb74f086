"""A fused encoder gives the answers of the one that it was made from."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accel_clf.data.collate import pack, pad
from accel_clf.inference.predictor import SHAPES_PER_DOUBLING, _shape_step
from accel_clf.inference.quantize import quantize
from accel_clf.models.families import FAMILIES
from accel_clf.models.kernel_selection import apply_layout
from accel_clf.models.kernels.first_token import directly_read_linears
from accel_clf.models.kernels.fused_inference import Linear, can_fuse, fuse
from tests.models.test_packed import PAD, make, packed_copy, rows_of

pytestmark = pytest.mark.skipif(not can_fuse(torch.device("cpu"), "fp32"), reason="this torch has no oneDNN")


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_fused_is_packed(family: str, activation: str, lengths: list[int], seed: int) -> None:
    named: dict[str, Any] = {"activation" if family == "distilbert" else "hidden_act": activation}
    plain = packed_copy(make(family, **named)).eval()
    fused = packed_copy(make(family, **named)).eval()
    fuse(fused, FAMILIES[family])
    left = {module for module in fused.modules() if type(module) is torch.nn.Linear}
    assert left == set(directly_read_linears(fused))
    assert len(left) == 2
    batch = pack(sorted(rows_of(lengths, seed), key=len))
    with torch.inference_mode():
        torch.testing.assert_close(fused(**batch).logits, plain(**batch).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("layout", ["packed", "padded"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_int8_is_close(family: str, layout: str) -> None:
    model = make(family).eval()
    apply_layout(model, layout, is_requested=True)
    rows = rows_of([3, 9, 9, 40])
    given_to = pack(rows) if layout == "packed" else pad(rows, PAD)
    with torch.inference_mode():
        wanted = model(**given_to).logits
        quantize(model, "int8")
        found = model(**given_to).logits
    left = {module for module in model.modules() if type(module) is torch.nn.Linear}
    assert left == set(directly_read_linears(model))
    assert len(left) == (2 if layout == "packed" else 0)
    assert 0 < (found - wanted).abs().mean() < 0.2 * wanted.std()


def test_the_activation_is_a_part_of_the_product() -> None:
    layers = [torch.nn.Linear(8, 16), torch.nn.Linear(8, 4)]
    values = torch.randn(3, 8)
    wanted = torch.nn.functional.gelu(torch.cat([layer(values) for layer in layers], dim=-1))
    torch.testing.assert_close(Linear(layers, "gelu")(values), wanted.detach(), rtol=0, atol=1e-6)


def test_batches_have_few_shapes() -> None:
    missing = [-tokens % _shape_step(tokens) for tokens in range(1, 4097)]
    shapes = {tokens + more for tokens, more in enumerate(missing, start=1)}
    assert len(shapes) <= SHAPES_PER_DOUBLING * 7
    assert all(shape % _shape_step(shape) == 0 for shape in shapes), "a shape stays as it is"
    assert all(more < tokens / SHAPES_PER_DOUBLING for tokens, more in enumerate(missing, start=1) if tokens >= 128)
