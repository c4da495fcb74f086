"""ModernBERT, EuroBERT, Llama and Qwen3, packed: transformers' eager attention on padded rows is the measure."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from accel_clf.data.collate import pack, pad
from accel_clf.models.kernel_selection import apply_layout, optimize_for_training
from accel_clf.models.kernels import rotary_attention
from accel_clf.models.kernels.attention import packed_attention
from accel_clf.models.kernels.pointwise import RmsNorm, gated_unit
from accel_clf.models.kernels.rotary_attention import Rotation, Sight
from tests.models.test_packed import PAD, make_model, packed_copy, random_rows

FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "modernbert": ("modernbert", {"local_attention": 128}),
    "modernbert, of few neighbours": ("modernbert", {"local_attention": 2}),
    "modernbert, the mean of its tokens": ("modernbert", {"classifier_pooling": "mean", "local_attention": 32}),
    "modernbert, with biases": ("modernbert", {"attention_bias": True, "mlp_bias": True, "norm_bias": True}),
    "modernbert, no local layer at the end": ("modernbert", {"num_hidden_layers": 4}),
    "eurobert": ("eurobert", {}),
    "eurobert, the first token": ("eurobert", {"classifier_pooling": "bos"}),
    "eurobert, the mean of its tokens": ("eurobert", {"classifier_pooling": "mean"}),
    "llama": ("llama", {"num_key_value_heads": 1}),
    "llama, with biases": ("llama", {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 4}),
    "qwen3": ("qwen3", {"use_sliding_window": False}),
    "qwen3, with windows": ("qwen3", {}),
    "qwen3, with windows of 65": ("qwen3", {"sliding_window": 65}),
}
LENGTHS = [1, 2, 8, 9, 10, 64, 64, 65, 66, 512]  # around the edges of windows, and of blocks of queries


def make_form(form: str, **options: Any) -> nn.Module:
    family, own_options = FORMS[form]
    return make_model(family, **(own_options | options))


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def eager(model: nn.Module) -> nn.Module:
    model.set_attn_implementation("eager")  # type: ignore[operator]
    return model


def test_packed_equals_eager(form: str) -> None:
    """Logits and gradients, and logits without gradients, for which attention is another operation."""
    rows, plain = random_rows(LENGTHS), eager(make_form(form).eval())
    labels, results = torch.arange(len(rows)) % 3, []
    packed = packed_copy(plain)
    for model, batch in ((plain, pad(rows, PAD)), (packed, pack(rows))):
        logits = model(**batch).logits
        cross_entropy(logits, labels).backward()
        results.append((logits.detach(), {name: weight.grad for name, weight in model.named_parameters()}))
    (logits, gradients), (packed_logits, packed_gradients) = results
    torch.testing.assert_close(packed_logits, logits, rtol=0, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(packed(**pack(rows)).logits, logits, rtol=0, atol=1e-5)
    assert packed_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert gradient is not None
        torch.testing.assert_close(packed_gradients[name], gradient, rtol=0, atol=1e-4, msg=name)


def test_bf16_is_as_exact_as_autocast(form: str) -> None:
    """In training and without gradients, the logits are as far from float32's as those of eager attention are."""
    rows, plain = random_rows(LENGTHS[:-1] * 4), eager(make_form(form).eval())
    packed = packed_copy(plain)
    with torch.no_grad():
        exact = plain(**pad(rows, PAD)).logits
    with torch.autocast("cpu", torch.bfloat16):
        training = packed(**pack(rows)).logits
        with torch.no_grad():
            expected, inference = plain(**pad(rows, PAD)).logits, packed(**pack(rows)).logits
    error = (expected - exact).square().mean()
    for logits in (training, inference):
        assert 0 < (logits.float() - exact).square().mean() <= 4 * error


def test_gradients_in_bf16_point_the_same_way(form: str) -> None:
    rows, plain = random_rows(LENGTHS), eager(make_form(form).eval())
    packed = packed_copy(plain)
    labels = torch.arange(len(rows)) % 3
    cross_entropy(plain(**pad(rows, PAD)).logits, labels).backward()
    with torch.autocast("cpu", torch.bfloat16):
        logits = packed(**pack(rows)).logits
    cross_entropy(logits.float(), labels).backward()
    exact, gradients = (
        torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
        for model in (plain, packed)
    )
    assert torch.cosine_similarity(exact, gradients, dim=0) > 0.995


def test_documents_longer_than_are_kept_have_the_same_gradients(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention's weights are computed again in the backward, dropout included."""
    model, batch, gradients = packed_copy(make_form(form, attention_dropout=0.3)).train(), pack(random_rows([90])), []
    for longest in (1000, 80):
        monkeypatch.setattr(rotary_attention, "LONGEST_KEPT", longest)
        model.zero_grad()
        torch.manual_seed(0)
        model(**batch).logits.square().sum().backward()
        gradients.append([weight.grad for weight in model.parameters() if weight.grad is not None])
    for kept, computed in zip(*gradients, strict=True):
        assert torch.equal(kept, computed)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("reach", [None, 0, 1, 2])
def test_attention_gradients_equal_finite_differences(
    reach: int | None, is_causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout, which draws the same mask each time, in blocks of two queries."""
    monkeypatch.setattr(rotary_attention, "BLOCK", 2)
    monkeypatch.setattr(rotary_attention, "FEWEST_QUERIES", 2)
    torch.manual_seed(0)
    lengths, sight = (5, 5, 1, 3), Sight(0.5, reach, is_causal, 0.3)
    angles = torch.cat([torch.arange(length) for length in lengths])[:, None] * torch.tensor([1.0, 0.3])
    rotation = Rotation(angles.cos().double(), angles.sin().double())
    heads = [torch.randn(sum(lengths), count, 4, dtype=torch.float64, requires_grad=True) for count in (4, 2, 2)]

    def attend(*projected: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(7)
        return rotary_attention.rotary_attention(projected, rotation, lengths, sight)

    assert torch.autograd.gradcheck(attend, tuple(heads))


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("activation", ["gelu", "silu", "gelu_pytorch_tanh"])
def test_gated_unit_equals_its_definition(activation: str, joined: bool) -> None:
    from transformers.activations import ACT2FN

    torch.manual_seed(0)
    activate, inner = ACT2FN[activation], torch.randn(7, 2, 12, dtype=torch.float64, requires_grad=True)
    arguments = (inner,) if joined else inner.chunk(2, dim=-1)
    first, second = inner.chunk(2, dim=-1)
    torch.testing.assert_close(gated_unit(activate, *arguments), activate(first) * second)
    assert torch.autograd.gradcheck(lambda *both: gated_unit(activate, *both), arguments)


def test_rms_norm_equals_its_definition() -> None:
    """In several parts, of which the last is smaller."""
    torch.manual_seed(0)
    norm: Any = nn.RMSNorm(5, eps=1e-5, dtype=torch.float64)
    norm.variance_epsilon = norm.eps
    nn.init.normal_(norm.weight)
    values = torch.randn(3, 7, 5, dtype=torch.float64, requires_grad=True)
    fast = RmsNorm(norm)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("accel_clf.models.kernels.pointwise.ELEMENTS_PER_PART", 20)
        torch.testing.assert_close(fast(values), norm(values))
        assert torch.autograd.gradcheck(fast, (values,))


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_last_token_that_is_no_padding_is_read(family: str) -> None:
    """As where a tokenizer ends texts with the token that pads; also in their middle, and in texts of nothing else."""
    plain = make_model(family).eval()
    packed = make_model(family).eval()
    apply_layout(packed, "packed", is_requested=True)
    first, *others = random_rows([9, 4, 1])
    first[3] = PAD
    rows = [first, np.full(2, PAD), *(np.append(row, [PAD] * count) for row, count in zip(others, (1, 3), strict=True))]
    with torch.no_grad():
        torch.testing.assert_close(packed(**pack(rows)).logits, plain(**pad(rows, PAD)).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("option", ["sliding_window", "softcap", "s_aux"])
def test_attention_refuses_what_it_does_not_know(option: str) -> None:
    heads = torch.randn(1, 2, 5, 4)
    with pytest.raises(TypeError, match=option):
        packed_attention(nn.Identity(), heads, heads, heads, None, lengths=(5,), scaling=1.0, **{option: 3})


@pytest.mark.parametrize("family", ["modernbert", "eurobert", "llama", "qwen3"])
def test_gpus_pad_and_say_why(family: str) -> None:
    assert apply_layout(make_model(family), "varlen") == ("padded", f"no kernels for {family} in the varlen layout")


def test_training_learns_and_saves_the_same_weights(form: str) -> None:
    """A few steps lower the loss; names of weights stay."""
    model = packed_copy(make_form(form)).train()
    names = list(make_form(form).state_dict())
    optimize_for_training(model, torch.device("cpu"), sparse_gradients=False, kernels="auto")
    optimizer, rows = torch.optim.AdamW(model.parameters(), lr=1e-3), random_rows([9, 17, 17, 30, 3, 1])
    losses = []
    for _ in range(8):
        loss = cross_entropy(model(**pack(rows)).logits, torch.arange(6) % 3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert list(model.state_dict()) == names
