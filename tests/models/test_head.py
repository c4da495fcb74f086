"""The linear layer that a head ends in is found in every family, and rescales the model's outputs for good."""

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from accel_clf.models.head import last_linear, rescale_outputs, rescaled, start_bias
from accel_clf.targets.objective import NO_RESCALING, Rescaling

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
BART = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
BART |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
# Family -> its shape, and the layer.
FAMILIES: dict[str, tuple[dict[str, Any], str]] = {
    "bert": (TINY, "classifier"),
    "roberta": (TINY, "classifier.out_proj"),
    "distilbert": ({"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}, "classifier"),
    "deberta-v2": (TINY, "classifier"),
    "modernbert": (TINY, "classifier"),
    "xlnet": ({"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64}, "logits_proj"),
    "bart": (BART, "classification_head.out_proj"),
    "gpt2": ({"n_embd": 32, "n_layer": 2, "n_head": 2}, "score"),
}
TOKENS = torch.tensor([[5, 6, 7, 2], [8, 9, 3, 2]])


def make_model(family: str) -> nn.Module:
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(
        family, vocab_size=64, pad_token_id=1, bos_token_id=0, eos_token_id=2, cls_token_id=0, sep_token_id=2,
        num_labels=3, **FAMILIES[family][0],
    )  # fmt: skip
    model: nn.Module = transformers.AutoModelForSequenceClassification.from_config(config)
    return model


@torch.no_grad()
def outputs_of(model: nn.Module) -> torch.Tensor:
    logits: torch.Tensor = model.eval()(input_ids=TOKENS).logits
    return logits


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_take_a_rescaling(family: str) -> None:
    model = make_model(family).train()
    generator = torch.get_rng_state()
    name = last_linear(model)
    assert name == FAMILIES[family][1]
    assert model.training, "the mode is kept"
    assert torch.equal(torch.get_rng_state(), generator), "nothing is drawn"
    before, weights = outputs_of(model), model.state_dict()
    assert rescaled(weights, name, NO_RESCALING) is weights
    scale, shift = (Rescaling(0.5), Rescaling(3.0, -2.0))
    for rescaling in (scale, shift):
        scaled = rescaled(weights, name, rescaling)
        if scaled is None:
            assert family == "gpt2", "whose head has no bias to take a shift"
            assert rescaling.shift
            continue
        other = make_model(family)
        other.load_state_dict(scaled)
        assert torch.allclose(outputs_of(other), before * rescaling.scale + rescaling.shift, atol=1e-6)


def test_head_that_ends_in_something_else_keeps_the_rescaling_beside() -> None:
    model = make_model("bert")

    class Softened(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(32, 3)

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return self.linear(hidden).tanh()

    model.classifier = Softened()
    assert last_linear(model) is None
    assert rescaled(model.state_dict(), None, Rescaling(2.0)) is None
    start_bias(model, np.ones(3))
    before = outputs_of(model)
    rescale_outputs(model, Rescaling(2.0, 1.0))
    assert torch.equal(outputs_of(model), before * 2 + 1)


def test_bias_begins_where_it_is_set() -> None:
    model = make_model("roberta")
    start_bias(model, np.array([1.0, -2.0, 3.0]))
    assert model.get_parameter("classifier.out_proj.bias").tolist() == [1.0, -2.0, 3.0]
