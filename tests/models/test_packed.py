"""The packed layout gives the padded one's logits and gradients, for every family; dropout drops the right share."""

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from accel_clf.data.collate import pack, pad
from accel_clf.models.families.registry import FAMILIES
from accel_clf.models.kernel_selection import apply_layout
from accel_clf.models.kernels.attention import (
    PADDING_PER_GROUP,
    SCORES_PER_GROUP,
    GroupedAttention,
    length_groups,
)
from accel_clf.models.kernels.dropout import Dropout, DropoutMask, replace_dropout

PAD, VOCABULARY, LONGEST = 1, 50, 512
SHAPE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
DISTILBERT = {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 64}
ELECTRA = {"embedding_size": 16}
SPECIAL = {"bos_token_id": 2, "eos_token_id": 3}  # within the vocabulary
DEBERTA = {
    "relative_attention": True, "position_biased_input": False, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16,
    "norm_rel_ebd": "layer_norm", "share_att_key": True,
}  # fmt: skip
MODERNBERT = SHAPE | SPECIAL | {"cls_token_id": 2, "sep_token_id": 3, "local_attention": 16}
SHARED_HEADS = SHAPE | SPECIAL | {"num_key_value_heads": 2}  # for two heads of queries each
QWEN3 = SHARED_HEADS | {"head_dim": 12, "use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1}
SHAPES: dict[str, dict[str, Any]] = {
    "albert": SHAPE | {"embedding_size": 16},
    "deberta-v2": SHAPE | DEBERTA,
    "distilbert": DISTILBERT,
    "electra": SHAPE | ELECTRA,
    "eurobert": SHARED_HEADS | {"mask_token_id": 4},
    "llama": SHARED_HEADS,
    "modernbert": MODERNBERT,
    "qwen3": QWEN3,
}
# Family -> rates that make dropout everywhere.
DROPOUT = {
    "distilbert": {"dropout": 0.2, "attention_dropout": 0.4},
    "eurobert": {"attention_dropout": 0.4},
    "llama": {"attention_dropout": 0.4},
    "modernbert": {"attention_dropout": 0.4, "mlp_dropout": 0.2, "embedding_dropout": 0.2, "classifier_dropout": 0.2},
    "qwen3": {"attention_dropout": 0.4},
}


def make_model(family: str, **options: Any) -> nn.Module:
    """A small model with weights so large that every token and position matters."""
    config = transformers.AutoConfig.for_model(
        family, vocab_size=VOCABULARY, max_position_embeddings=LONGEST + 2, pad_token_id=PAD, num_labels=3,
        **(SHAPES.get(family, SHAPE) | options),
    )  # fmt: skip
    torch.manual_seed(0)
    model: nn.Module = transformers.AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name.lower():
                weight.normal_(std=0.15)
    return model


def packed_copy(model: nn.Module) -> nn.Module:
    return _copy_for(model, "packed")


def varlen_copy(model: nn.Module) -> nn.Module:
    return _copy_for(model, "varlen")


def _copy_for(model: nn.Module, layout: str) -> nn.Module:
    packed = copy.deepcopy(model)
    assert apply_layout(packed, layout, is_requested=True)[0] == layout
    return packed


def random_rows(lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(PAD + 1, VOCABULARY, length) for length in lengths]


def logits_and_gradients(model: nn.Module, batch: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor | None]]:
    """A model's logits, and its weights' gradients of a loss."""
    logits = model(**batch).logits
    nn.functional.cross_entropy(logits, torch.arange(len(logits)) % 3).backward()
    return logits.detach(), {name: weight.grad for name, weight in model.named_parameters()}


def assert_packed_equals_padded(plain: nn.Module, rows: list[np.ndarray]) -> None:
    """Compare logits, and each weight's gradient or that it has none."""
    packed = packed_copy(plain)
    logits, gradients = logits_and_gradients(plain, pad(rows, PAD))
    packed_logits, packed_gradients = logits_and_gradients(packed, pack(rows))
    torch.testing.assert_close(packed_logits, logits, rtol=0, atol=1e-5)
    assert packed_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            packed_gradients[name], gradient, rtol=0, atol=1e-4, msg=lambda message, name=name: f"{name}: {message}"
        )


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, 60) | st.integers(1, LONGEST), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_packed_model_equals_padded_model(family: str, lengths: list[int], seed: int) -> None:
    lengths = lengths + lengths[-1:] * 3  # some neighbours have the same length
    assert_packed_equals_padded(make_model(family).eval(), random_rows(lengths, seed))


def with_types(rows: list[np.ndarray]) -> list[np.ndarray]:
    """The same tokens as pairs, of which a third is the first text."""
    return [np.stack([row, np.arange(len(row)) * 3 >= len(row)], axis=1) for row in rows]


@pytest.mark.parametrize("family", ["albert", "bert", "electra"])
def test_token_types_belong_to_their_document(family: str) -> None:
    """Logits and the gradient of the types' embeddings equal the padded layout's, and differ without types."""
    rows = random_rows([7, 7, 3, 64, 2])
    plain = make_model(family).eval()
    results = []
    for model, batch in ((plain, pad(with_types(rows), PAD)), (packed_copy(plain), pack(with_types(rows)))):
        logits = model(**batch).logits
        logits.square().sum().backward()
        gradients = dict(model.named_parameters())
        (name,) = (name for name in gradients if "token_type_embeddings" in name)
        results.append((logits.detach(), gradients[name].grad))
    (logits, gradient), (packed_logits, packed_gradient) = results
    torch.testing.assert_close(packed_logits, logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(packed_gradient, gradient, rtol=1e-4, atol=1e-4)
    assert (plain(**pad(rows, PAD)).logits - logits).abs().max() > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_has_the_same_distribution(family: str) -> None:
    """Over many draws, the logits have the mean and spread of the padded model's with torch.nn.Dropout."""
    rates = DROPOUT.get(family, {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.4})
    plain = make_model(family, **rates).train()
    draws, lengths = 400, [9, 3, 20, 1]
    rows = random_rows(lengths) * draws
    packed = packed_copy(plain)
    replace_dropout(packed)
    torch.manual_seed(1)
    logits = []
    with torch.no_grad():
        for model, batch in ((plain, pad(rows, PAD)), (packed, pack(rows))):
            logits.append(model(**batch).logits.double().view(draws, len(lengths), -1))
    mean, spread = [drawn.mean(0) for drawn in logits], [drawn.std(0) for drawn in logits]
    assert (spread[0] > 0).all()
    torch.testing.assert_close(spread[1] / spread[0], torch.ones_like(spread[0]), rtol=0, atol=0.2)
    standard_error = ((spread[0] ** 2 + spread[1] ** 2) / draws).sqrt()
    assert ((mean[0] - mean[1]).abs() / standard_error).max() < 4


def test_attention_gradients_equal_finite_differences() -> None:
    """With dropout, which draws the same mask each time."""
    torch.manual_seed(0)
    lengths = (4, 4, 1, 3)
    query, key, value = (torch.randn(1, 2, sum(lengths), 3, dtype=torch.float64, requires_grad=True) for _ in range(3))

    def attend(*inputs: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(7)
        attended: torch.Tensor = GroupedAttention.apply(*inputs, lengths, 0.5, 0.3)
        return attended

    assert torch.autograd.gradcheck(attend, (query, key, value))


@pytest.mark.parametrize(
    "lengths", [(1,), (5, 5, 5), (3, 9, 1, 20, 64, 65, 64, 63), (90,) * 9 + (91,), (300, 2, 280), (1,) * 40 + (70,)]
)
def test_attention_of_groups_equals_that_of_each_document(lengths: tuple[int, ...]) -> None:
    """Documents of similar lengths are padded to the longest, which no other document and no gradient may show."""
    torch.manual_seed(0)
    inputs = [torch.randn(1, 2, sum(lengths), 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    attended = GroupedAttention.apply(*inputs, lengths, 0.5, 1e-9)  # a rate that drops nothing
    parts = zip(*(tensor.split(lengths, dim=2) for tensor in inputs), strict=True)
    expected = torch.cat([scaled_dot_product_attention(*part, scale=0.5) for part in parts], dim=2).transpose(1, 2)
    torch.testing.assert_close(attended, expected)
    seen = torch.randn_like(expected)
    gradients = [torch.autograd.grad(output, inputs, seen) for output in (attended, expected)]
    torch.testing.assert_close(*gradients)


def test_groups_hold_all_documents_within_limits() -> None:
    draw = random.Random(0)
    for longest in (3, 40, 300):
        lengths = tuple(sorted(draw.choices(range(1, longest + 1), k=50)))
        groups = length_groups(lengths, PADDING_PER_GROUP)
        assert sum(group.documents for group in groups) == len(lengths)
        assert [group.tokens.start for group in groups] == [0, *(group.tokens.stop for group in groups[:-1])]
        assert groups[-1].tokens.stop == sum(lengths)
        for group in groups:
            count = group.tokens.stop - group.tokens.start
            unpadded = torch.zeros(group.documents, count // group.documents, dtype=torch.bool)
            is_padding = group.padding.is_padding if group.padding else unpadded
            padded = is_padding.numel()
            scores = padded * is_padding.shape[1]
            assert group.documents == 1 or scores <= SCORES_PER_GROUP
            assert padded - int(is_padding.sum()) == count
            sizes = (~is_padding).sum(1)
            assert scores - int((sizes**2).sum()) <= PADDING_PER_GROUP
        assert len(groups) < len(set(lengths)) or longest == 300


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.93])
def test_dropout_keeps_the_mean_and_repeats_with_its_seed(rate: float) -> None:
    torch.manual_seed(3)
    layer, ones = Dropout(rate), torch.ones(1000, 333, requires_grad=True)
    dropped = layer(ones)
    dropped.sum().backward()
    assert ones.grad is not None
    assert torch.equal(ones.grad, dropped.detach())  # 0 where dropped, the scale where kept
    kept_share = (dropped != 0).double().mean().item()
    assert abs(kept_share - (1 - rate)) < 5 * (rate * (1 - rate) / ones.numel()) ** 0.5 + 1 / 65536
    assert abs(dropped.double().mean().item() - 1) < 0.02
    torch.manual_seed(3)
    assert torch.equal(layer(ones), dropped)
    assert torch.equal(layer.eval()(ones), ones)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3, 7), (0, 4)])
def test_mask_has_the_requested_shape(shape: tuple[int, ...]) -> None:
    assert DropoutMask(0.5).draw(shape).shape == shape


def test_layout_falls_back_to_padded_with_a_reason() -> None:
    config = transformers.AutoConfig.for_model(
        "roformer", vocab_size=9, num_attention_heads=4, intermediate_size=8, hidden_size=8, num_hidden_layers=1
    )
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    layout, reason = apply_layout(model, "packed", is_requested=True)
    assert layout == "padded"
    assert "roformer is none of albert, bert," in reason
    assert apply_layout(make_model("bert", chunk_size_feed_forward=2), "packed", is_requested=True)[0] == "padded"
    assert apply_layout(make_model("bert"), "padded", is_requested=True) == ("padded", "as set")
    assert apply_layout(make_model("bert"), "packed") == ("packed", "no padding")
    small = make_model("bert", attention_probs_dropout_prob=0.0)
    assert apply_layout(small, "packed") == ("padded", "too small an encoder to gain by packing")


def test_packed_model_is_saved_as_the_plain_one(tmp_path: Any) -> None:
    plain = make_model("bert")
    for name, model in (("plain", plain), ("packed", packed_copy(plain))):
        replace_dropout(model)
        model.save_pretrained(tmp_path / name)
    files = [sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("plain", "packed")]
    assert files[0] == files[1]
    for name in files[0]:
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "packed" / name).read_bytes()


def test_gradients_on_two_threads_are_deterministic() -> None:
    """Bit for bit: no sum depends on which thread comes first."""
    threads_before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model = packed_copy(make_model("bert", attention_probs_dropout_prob=0.1)).train()
        replace_dropout(model)
        batch, results = pack(random_rows([LONGEST] * 3)), set()  # both threads work on the second document
        for _ in range(10):
            torch.manual_seed(0)
            model.zero_grad()
            model(**batch).logits.square().sum().backward()
            gradients = (parameter.grad for parameter in model.parameters() if parameter.grad is not None)
            results.add(b"".join(gradient.numpy().tobytes() for gradient in gradients))
        assert len(results) == 1
    finally:
        torch.set_num_threads(threads_before)
