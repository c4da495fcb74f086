"""The weights that get no gradient are found before training, without a trace."""

from typing import Any

import pytest
import torch
import transformers
from torch import nn

from accel_clf.data.collate import Padding, make_inputs
from accel_clf.models.unused import drops_layers, without_gradient
from accel_clf.strategies.base import weights_digest
from tests.models.test_packed import PAD, VOCABULARY, make_model, packed_copy, random_rows

SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SHAPE |= {"max_position_embeddings": 96}
# Family -> its shape, and weights that get no gradient.
FAMILIES: dict[str, tuple[dict[str, Any], str]] = {
    "xlnet": ({"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64}, "transformer.mask_emb"),
    "esm": (SHAPE | {"mask_token_id": 4}, "esm.contact_head.regression.weight"),
    "big_bird": (SHAPE | {"block_size": 4, "num_random_blocks": 1}, "bert.pooler.weight"),
    "luke": (SHAPE | {"entity_vocab_size": 9, "entity_emb_size": 8}, "luke.encoder.layer.1.attention.self.e2e_query"),
    "mra": (SHAPE, "mra.encoder.layer.0.attention.self.query.weight"),
    "canine": (SHAPE, "canine.final_char_encoder.layer.0.attention.self.query.weight"),
}


def make_encoder(family: str, vocabulary: int = VOCABULARY) -> nn.Module:
    """Make an encoder without dropout, with a head of two outputs, its weights drawn from torch's generator."""
    shape, _ = FAMILIES[family]
    config = transformers.AutoConfig.for_model(family, vocab_size=vocabulary, pad_token_id=PAD, **shape)
    for rate in ("dropout", "summary_last_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob"):
        if hasattr(config, rate):
            setattr(config, rate, 0.0)
    model: nn.Module = transformers.AutoModelForSequenceClassification.from_config(config)
    return model


def after_backward(model: nn.Module, inputs: dict[str, Any]) -> list[str]:
    """Name what has no gradient after a plain backward in training mode, which is then undone."""
    model.train()(**inputs).logits.sum().backward()
    names = [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
    model.zero_grad()
    return names


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_without_gradient_are_those_of_a_plain_backward(family: str) -> None:
    torch.manual_seed(0)
    model = make_encoder(family)
    inputs = make_inputs(random_rows([7, 61]), "padded", Padding(PAD), max_length=96)
    names = without_gradient(model, inputs)
    assert any(name.startswith(FAMILIES[family][1]) for name in names)
    assert names == after_backward(model, inputs)


def test_nothing_of_the_model_or_the_generator_changes() -> None:
    model = make_encoder("xlnet").train()
    model.get_parameter("transformer.word_embedding.weight").requires_grad_(False)
    next(model.children()).eval()
    modes = [module.training for module in model.modules()]
    state, generator = weights_digest(model.state_dict()), torch.random.get_rng_state()
    names = without_gradient(model, make_inputs(random_rows([7]), "padded", Padding(PAD), max_length=96))
    assert [module.training for module in model.modules()] == modes
    assert weights_digest(model.state_dict()) == state
    assert torch.equal(torch.random.get_rng_state(), generator)
    assert all(weight.grad is None for weight in model.parameters())
    assert [name for name, weight in model.named_parameters() if not weight.requires_grad] == [
        "transformer.word_embedding.weight"
    ]
    # No hook is left that would drop gradients.
    assert after_backward(model, make_inputs(random_rows([7]), "padded", Padding(PAD), max_length=96)) == names


def test_packed_model_takes_packed_rows() -> None:
    model = packed_copy(make_model("bert"))
    assert without_gradient(model, make_inputs(random_rows([7, 61]), "packed", Padding(PAD), max_length=96)) == []


def test_layer_that_is_dropped_at_random_is_not_unused() -> None:
    config = transformers.BartConfig(
        vocab_size=VOCABULARY, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, pad_token_id=PAD, eos_token_id=2,
        encoder_layerdrop=0.99,
    )  # fmt: skip
    model = transformers.BartForSequenceClassification(config).train()
    inputs = make_inputs([*random_rows([7])], "padded", Padding(PAD), max_length=96)
    inputs["input_ids"][0, -1], inputs["input_ids"][0, :-1] = 2, 5
    assert drops_layers(model)
    assert without_gradient(model, inputs) == []
    assert after_backward(model, inputs)
    assert not drops_layers(make_model("bert"))
