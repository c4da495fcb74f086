"""Relative positions within packed documents, whatever an encoder's options; and layers that are called repeatedly."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from accel_clf.data.collate import pack, pad
from accel_clf.models.families.base import PositionTerms
from accel_clf.models.families.registry import FAMILIES
from accel_clf.models.kernel_selection import apply_layout
from accel_clf.models.kernels.fused_inference import can_fuse, fuse
from accel_clf.models.kernels.relative_attention import RelativeAttention, relative_attention
from tests.models.test_packed import (
    LONGEST,
    PAD,
    assert_packed_equals_padded,
    make_model,
    packed_copy,
    random_rows,
)

ON_CPUS_ONLY = ("albert", "deberta-v2", "mpnet")
LENGTHS = [1, 1, 64, 65, 65, 66, LONGEST]
# DeBERTa's options beside those of v3, which `make_model` has.
OPTIONS: dict[str, dict[str, Any]] = {
    "v3's own buckets": {"position_buckets": 256},
    "own projections of positions": {"share_att_key": False},
    "c2p": {"pos_att_type": ["c2p"], "share_att_key": False},
    "p2c": {"pos_att_type": ["p2c"]},
    "contents only": {"pos_att_type": None},
    "no buckets": {"position_buckets": -1, "norm_rel_ebd": "none"},
    "distances beyond the largest": {"position_buckets": -1, "max_relative_positions": 40},
    "absolute positions": {"relative_attention": False, "position_biased_input": True},
    "both positions and types": {"position_biased_input": True, "type_vocab_size": 2},
    "narrow embeddings": {"embedding_size": 16},
    "one layer": {"num_hidden_layers": 1},
}


@pytest.mark.parametrize("family", ON_CPUS_ONLY)
def test_packed_model_equals_padded_model_at_edges(family: str) -> None:
    assert_packed_equals_padded(make_model(family).eval(), random_rows(LENGTHS))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options_of_deberta(options: dict[str, Any]) -> None:
    assert_packed_equals_padded(make_model("deberta-v2", **options).eval(), random_rows(LENGTHS))


@pytest.mark.parametrize(
    "options",
    [
        {"num_hidden_layers": 1},
        {"num_hidden_layers": 5, "num_hidden_groups": 2, "inner_group_num": 2},
        {"num_hidden_layers": 4, "num_hidden_groups": 4},
    ],
)
def test_groups_of_albert(options: dict[str, Any]) -> None:
    """The last layer computes first tokens the last time only."""
    assert_packed_equals_padded(make_model("albert", **options).eval(), random_rows(LENGTHS))


@pytest.mark.skipif(not can_fuse(torch.device("cpu"), "fp32"), reason="this torch has no oneDNN")
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options_of_fused_deberta(options: dict[str, Any]) -> None:
    plain = make_model("deberta-v2", **options).eval()
    fused = packed_copy(plain)
    fuse(fused, FAMILIES["deberta-v2"])
    rows = random_rows(LENGTHS)
    with torch.inference_mode():
        logits = fused(**pack(rows)).logits
        torch.testing.assert_close(logits, plain(**pad(rows, PAD)).logits, rtol=0, atol=1e-5)


def test_inference_leaves_training_possible() -> None:
    """What is kept of a length in inference mode can take part in a backward."""
    model = packed_copy(make_model("deberta-v2", position_buckets=24))
    batch = pack(random_rows([5, 19]))
    with torch.inference_mode():
        model(**batch)
    model(**batch).logits.sum().backward()


@pytest.mark.parametrize("family", ON_CPUS_ONLY)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits_are_as_near_to_float32_as_transformers_own(family: str, dtype: torch.dtype) -> None:
    rows = random_rows([9, 200, 1, 40, 40])
    plain = make_model(family).eval()
    results = []
    for model, batch, enabled in (
        (plain, pad(rows, PAD), False),
        (plain, pad(rows, PAD), True),
        (packed_copy(plain), pack(rows), True),
    ):
        model.zero_grad()
        with torch.autocast("cpu", dtype, enabled=enabled):
            logits = model(**batch).logits.float()
        logits.square().sum().backward()
        gradients = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
        results.append((logits.detach(), torch.cat(gradients)))
    (exact, exact_gradient), (expected, expected_gradient), (logits, gradient) = results
    assert logits.isfinite().all()
    assert gradient.isfinite().all()
    assert (logits - exact).square().mean() <= 4 * (expected - exact).square().mean()
    assert (gradient - exact_gradient).norm() <= 2 * (expected_gradient - exact_gradient).norm()


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_attention_gradients_equal_finite_differences(rate: float) -> None:
    torch.manual_seed(0)
    lengths, heads, size = (4, 4, 1, 3), 2, 3
    shapes = [(1, heads, sum(lengths), size)] * 3 + [(heads, 2 * 4 - 1, size)] * 2 + [(heads, 4, 4)]
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]

    def attend(*inputs: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(7)
        return relative_attention(*inputs[:3], PositionTerms(*inputs[3:]), lengths, 0.5, rate)

    assert torch.autograd.gradcheck(attend, inputs, atol=1e-4)  # gradients of positions are summed in float32


def test_nothing_is_kept_for_a_backward_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    monkeypatch.setattr(
        torch.autograd.function.FunctionCtx, "save_for_backward", lambda _, *tensors: kept.extend(tensors)
    )
    query, key, value = torch.randn(3, 1, 2, 6, 4).unbind()
    with torch.no_grad():
        RelativeAttention.apply(query, key, value, None, None, None, (3, 3), 0.5, 0.0)
    assert sum(tensor is not None for tensor in kept) == 3


@pytest.mark.parametrize("family", ON_CPUS_ONLY)
def test_gpus_pad(family: str) -> None:
    model = make_model(family)
    assert apply_layout(model, "varlen", is_requested=True) == (
        "padded",
        f"no kernels for {family} in the varlen layout",
    )
    model(**pad(random_rows([3, 5]), PAD))


def test_convolution_pads() -> None:
    """It would mix the end of a document with the beginning of the next one."""
    model = make_model("deberta-v2", conv_kernel_size=3)
    assert apply_layout(model, "packed") == (
        "padded",
        "deberta-v2 with a convolution (conv_kernel_size), which would mix documents",
    )
    model(**pad(random_rows([3, 5]), PAD))


def layers_of(model: nn.Module) -> Iterator[Any]:
    return (module for module in model.modules() if type(module).__name__.endswith("Layer"))


@pytest.mark.parametrize("family", ON_CPUS_ONLY)
def test_unknown_arguments_are_errors(family: str) -> None:
    """Of the model, and of each layer with a forward of ours."""
    model, batch = packed_copy(make_model(family)), pack(random_rows([3, 5]))
    replaced = [layer for layer in layers_of(model) if "forward" in vars(layer)]
    assert replaced
    for layer in replaced:
        with pytest.raises(TypeError, match="sliding_window"):
            layer(torch.zeros(1, 8, 32), None, sliding_window=65)
    with pytest.raises(TypeError, match="sliding_window"):
        model(**batch, sliding_window=65)
