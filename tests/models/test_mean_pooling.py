"""A layer that puts the mean of all tokens in the first token's place: still a model of its family."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from accel_clf.models.mean_pooling import HEADS, append_mean_layer
from tests.models.test_head import make_model

TOKENS = torch.tensor([[5, 6, 7, 2], [8, 2, 1, 1]])
MASK = (TOKENS != 1).long()


def inputs() -> dict[str, torch.Tensor]:
    return {"input_ids": TOKENS, "attention_mask": MASK}


@pytest.fixture(params=["bert", "roberta"])
def models(request: pytest.FixtureRequest) -> tuple[nn.Module, nn.Module]:
    """A model, and what it becomes."""
    before = make_model(request.param).eval()
    after = copy.deepcopy(before)
    assert append_mean_layer(after)
    return before, after


@torch.no_grad()
def test_first_token_holds_the_mean_of_all(models: tuple[Any, Any]) -> None:
    before, after = (model.base_model(**inputs()).last_hidden_state for model in models)
    mask = MASK[:, :, None].float()
    mean = (before * mask).sum(dim=1) / mask.sum(dim=1)
    normed = nn.functional.layer_norm(mean, mean.shape[1:])
    assert nn.functional.cosine_similarity(after[:, 0], normed).min() > 0.995
    assert nn.functional.cosine_similarity(before[:, 0], normed).min() < 0.98, "it did not before"


def test_transformers_loads_it_with_its_layer(models: tuple[Any, Any], tmp_path: Path) -> None:
    before, after = models
    after.save_pretrained(tmp_path)
    read = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert read.config.num_hidden_layers == before.config.num_hidden_layers + 1
    with torch.no_grad():
        assert torch.equal(read(**inputs()).logits, after(**inputs()).logits)


def test_it_stays_a_mean_while_the_encoder_learns(models: tuple[Any, Any]) -> None:
    _, model = models
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    first = model.base_model.encoder.layer[0].output.dense.weight.detach().clone()
    for _ in range(2):
        model(**inputs(), labels=torch.tensor([0, 1])).loss.backward()
        optimizer.step()
    last = model.base_model.encoder.layer[-1]
    assert not torch.equal(model.base_model.encoder.layer[0].output.dense.weight, first)
    assert not any(layer.weight.any() for layer in (last.attention.self.query, last.attention.self.key))


def test_padding_changes_nothing(models: tuple[Any, Any]) -> None:
    _, model = models
    with torch.no_grad():
        alone = model(input_ids=TOKENS[1:, :2], attention_mask=MASK[1:, :2]).logits
        assert torch.allclose(model(**inputs()).logits[1:], alone, atol=1e-6)


@pytest.mark.parametrize("family", ["distilbert", "modernbert", "deberta-v2"])
def test_other_families_read_what_they_read(family: str) -> None:
    model = make_model(family)
    before = copy.deepcopy(model.state_dict())
    assert family not in HEADS
    assert not append_mean_layer(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
