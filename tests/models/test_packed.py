"""Packed equals padded, for every family and any lengths; and dropout drops what it should."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from accel_clf.data.collate import pack, pad
from accel_clf.models.families import FAMILIES
from accel_clf.models.kernel_selection import apply_layout
from accel_clf.models.kernels.attention import GroupedAttention, nested_attention, packed_attention
from accel_clf.models.kernels.dropout import Dropout, DropoutMask, replace_dropout

PAD, VOCABULARY, LONGEST = 1, 50, 512
SHAPE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
DISTILBERT = {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 64}
ELECTRA = {"embedding_size": 16}
MORE = {"distilbert": DISTILBERT, "electra": SHAPE | ELECTRA}


def make(family: str, **more: Any) -> nn.Module:
    """A small model whose tokens and places all matter."""
    config = transformers.AutoConfig.for_model(
        family, vocab_size=VOCABULARY, max_position_embeddings=LONGEST + 2, pad_token_id=PAD, num_labels=3,
        **MORE.get(family, SHAPE), **more,
    )  # fmt: skip
    torch.manual_seed(0)
    model: nn.Module = transformers.AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name.lower():
                weight.normal_(std=0.15)
    return model


def packed_copy(model: nn.Module) -> nn.Module:
    made = copy.deepcopy(model)
    assert apply_layout(made, "packed", is_requested=True)[0] == "packed"
    return made


def rows_of(lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [draw.integers(PAD + 1, VOCABULARY, length) for length in lengths]


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, 60) | st.integers(1, LONGEST), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_packed_is_padded(family: str, lengths: list[int], seed: int) -> None:
    lengths = lengths + lengths[-1:] * 3  # some are neighbours of one length
    rows, labels = rows_of(lengths, seed), torch.arange(len(lengths)) % 3
    plain = make(family).eval()
    found = []
    for model, batch in ((plain, pad(rows, PAD)), (packed_copy(plain), pack(rows))):
        logits = model(**batch).logits
        nn.functional.cross_entropy(logits, labels).backward()
        found.append((logits.detach(), {name: weight.grad for name, weight in model.named_parameters()}))
    (logits, gradients), (packed_logits, packed_gradients) = found
    torch.testing.assert_close(packed_logits, logits, rtol=0, atol=1e-5)
    assert packed_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            packed_gradients[name], gradient, rtol=0, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_has_the_same_distribution(family: str) -> None:
    """Over many draws, mean and spread of the logits are those of the padded model with torch's own dropout."""
    rates = {"distilbert": {"dropout": 0.2, "attention_dropout": 0.4}}
    plain = make(family, **rates.get(family, {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.4})).train()
    draws, lengths = 400, [9, 3, 20, 1]
    rows = rows_of(lengths) * draws
    quick = packed_copy(plain)
    replace_dropout(quick)
    torch.manual_seed(1)
    found = []
    with torch.no_grad():
        for model, batch in ((plain, pad(rows, PAD)), (quick, pack(rows))):
            found.append(model(**batch).logits.double().view(draws, len(lengths), -1))
    mean, spread = [each.mean(0) for each in found], [each.std(0) for each in found]
    assert (spread[0] > 0).all()
    torch.testing.assert_close(spread[1] / spread[0], torch.ones_like(spread[0]), rtol=0, atol=0.2)
    standard_error = ((spread[0] ** 2 + spread[1] ** 2) / draws).sqrt()
    assert ((mean[0] - mean[1]).abs() / standard_error).max() < 4


def test_gradients_of_attention_with_dropout() -> None:
    """Against differences of the function itself, with the same draws each time."""
    torch.manual_seed(0)
    lengths = (4, 4, 1, 3)
    query, key, value = (torch.randn(1, 2, sum(lengths), 3, dtype=torch.float64, requires_grad=True) for _ in range(3))

    def attend(*given: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(7)
        attended: torch.Tensor = GroupedAttention.apply(*given, lengths, 0.5, 0.3)
        return attended

    assert torch.autograd.gradcheck(attend, (query, key, value))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")  # torch's, of its CPU kernel
def test_a_devices_own_attention() -> None:
    """What GPUs run, by nested tensors, is the same function of the same tensors."""
    torch.manual_seed(0)
    lengths, starts = (4, 1, 30), torch.tensor([0, 4, 5])
    query, key, value = (torch.randn(1, 2, 35, 8) for _ in range(3))
    there = nested_attention(query, key, value, lengths, starts, 0.4, 0.0)
    here, _ = packed_attention(nn.Module(), query, key, value, None, lengths=lengths, starts=starts, scaling=0.4)
    torch.testing.assert_close(there, here)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.93])
def test_dropout(rate: float) -> None:
    torch.manual_seed(3)
    layer, ones = Dropout(rate), torch.ones(1000, 333, requires_grad=True)
    dropped = layer(ones)
    dropped.sum().backward()
    assert ones.grad is not None
    assert torch.equal(ones.grad, dropped.detach())  # what is dropped has no gradient, what is kept has its scale
    kept = (dropped != 0).double().mean().item()
    assert abs(kept - (1 - rate)) < 5 * (rate * (1 - rate) / ones.numel()) ** 0.5 + 1 / 65536
    assert abs(dropped.double().mean().item() - 1) < 0.02
    torch.manual_seed(3)
    assert torch.equal(layer(ones), dropped)
    assert torch.equal(layer.eval()(ones), ones)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3, 7), (0, 4)])
def test_masks_of_any_shape(shape: tuple[int, ...]) -> None:
    assert DropoutMask(0.5).draw(shape).shape == shape


def test_what_cannot_be_packed() -> None:
    config = transformers.AutoConfig.for_model(
        "albert", vocab_size=9, num_attention_heads=4, intermediate_size=8, hidden_size=8
    )
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    layout, why = apply_layout(model, "packed", is_requested=True)
    assert layout == "padded"
    assert "albert is none of bert," in why
    assert apply_layout(make("bert", chunk_size_feed_forward=2), "packed", is_requested=True)[0] == "padded"
    assert apply_layout(make("bert"), "padded", is_requested=True) == ("padded", "as set")
    assert apply_layout(make("bert"), "packed") == ("packed", "no padding")
    small = make("bert", attention_probs_dropout_prob=0.0)
    assert apply_layout(small, "packed") == ("padded", "too small an encoder to gain by packing")


def test_the_saved_folder_is_the_same(tmp_path: Any) -> None:
    plain = make("bert")
    for name, model in (("plain", plain), ("packed", packed_copy(plain))):
        replace_dropout(model)
        model.save_pretrained(tmp_path / name)
    files = [sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("plain", "packed")]
    assert files[0] == files[1]
    for name in files[0]:
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "packed" / name).read_bytes()


def test_a_step_is_the_same_each_time_on_two_threads() -> None:
    """Bit for bit: what adds up in the order in which threads come would not be."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model = packed_copy(make("bert", attention_probs_dropout_prob=0.1)).train()
        replace_dropout(model)
        batch, found = pack(rows_of([LONGEST] * 3)), set()  # threads meet in the second
        for _ in range(10):
            torch.manual_seed(0)
            model.zero_grad()
            model(**batch).logits.square().sum().backward()
            grads = b"".join(each.grad.numpy().tobytes() for each in model.parameters() if each.grad is not None)
            found.add(grads)
        assert len(found) == 1
    finally:
        torch.set_num_threads(before)
