"""Frozen lower layers, learning rates by layer, and layers that are computed again."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from accel_clf.config.load import load
from accel_clf.config.schema import LoraConfig, ModelConfig, merge
from accel_clf.core.errors import ConfigError
from accel_clf.data.collate import pack, pack_varlen, pad
from accel_clf.models.families.registry import FAMILIES, encoder_layers, weight_depths
from accel_clf.models.freezing import choose_trained, digest_of, frozen_names
from accel_clf.models.kernel_selection import apply_layout, optimize_for_training
from accel_clf.models.kernels import varlen
from accel_clf.training.checkpoint import newest
from accel_clf.training.optim import make_optimizer
from accel_clf.training.run import train
from tests.models.test_lora import OTHERS, make
from tests.models.test_packed import PAD, make_model, random_rows
from tests.models.test_varlen import plain_attention


@pytest.mark.parametrize("family", [*FAMILIES, *OTHERS])
def test_every_weight_has_a_depth(family: str) -> None:
    """The head above all layers, embeddings below, layers in their order."""
    model = make(family) if family in OTHERS else make_model(family)
    layers, depths = encoder_layers(model), weight_depths(model)
    assert depths.keys() == dict(model.named_parameters()).keys()
    assert set(depths.values()) == set(range(len(layers) + 2))
    for depth, layer in enumerate(layers, start=1):
        own = set(layer.parameters())
        assert own and all((depths[name] == depth) == (p in own) for name, p in model.named_parameters() if p in own)
    table = model.get_input_embeddings().weight  # type: ignore[operator, union-attr]
    assert {depths[name] for name, parameter in model.named_parameters() if parameter is table} == {0}
    assert {name for name in depths if "classif" in name} <= {n for n, d in depths.items() if d == len(layers) + 1}


@pytest.mark.parametrize(("freeze", "frozen"), [("embeddings", [0]), (1, [0, 1]), (3, [0, 1, 2, 3])])
def test_the_lowest_layers_are_frozen(freeze: Any, frozen: list[int]) -> None:
    model, settings = make_model("bert"), ModelConfig(freeze=freeze)
    choose_trained(model, settings, seed=0)
    names = {name for name, depth in weight_depths(model).items() if depth in frozen}
    assert frozen_names(model, settings) == names
    assert {name for name, parameter in model.named_parameters() if not parameter.requires_grad} == names


def test_more_layers_than_there_are_cannot_be_frozen() -> None:
    with pytest.raises(ConfigError, match=r"model\.freeze is 4, and the encoder has 3 layers"):
        choose_trained(make_model("bert"), ModelConfig(freeze=4), seed=0)


def test_weights_that_a_model_freezes_itself_are_saved_as_ever() -> None:
    model = make_model("distilbert")
    next(model.parameters()).requires_grad_(False)
    assert frozen_names(model, ModelConfig()) == frozenset()


def test_digest_is_of_names_shapes_and_bytes() -> None:
    model = make_model("bert")
    names = list(dict(model.named_parameters()))
    digest = digest_of(model, names)
    assert digest == digest_of(model, reversed(names))  # type: ignore[arg-type]
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.get_parameter(names[3]).view(-1)[0] += 1e-3
    assert digest_of(other, names) != digest
    assert digest_of(other, names[:3]) == digest_of(model, names[:3])


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_learning_rates_decay_from_the_head_down(decay: float) -> None:
    model = make_model("bert")
    optimizer = make_optimizer(model, 0.1, head_lr_multiplier=3.0, layer_decay=decay)
    multipliers = {p: group["lr_multiplier"] for group in optimizer.param_groups for p in group["params"]}
    for name, depth in weight_depths(model).items():
        expected = (3.0 if depth == 4 else 1.0) * decay ** (4 - depth)
        assert multipliers[model.get_parameter(name)] == pytest.approx(expected), name
    if decay == 1:
        assert len(optimizer.param_groups) == 4, "as many groups as ever"


@pytest.mark.parametrize("layout", ["padded", "packed", "varlen"])
@pytest.mark.parametrize("rank", [None, 4])
def test_layers_computed_again_give_the_same_bits(
    layout: str, rank: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout, of transformers and of the kernels."""
    monkeypatch.setattr(varlen, "varlen_attention", plain_attention)
    rows, labels = random_rows([5, 40, 40, 1, 17]), torch.arange(5) % 3
    results, sizes = [], []
    for is_checkpointed in (False, True):
        model = make_model("bert")
        settings = ModelConfig(gradient_checkpointing=is_checkpointed, lora=LoraConfig(rank=rank))
        choose_trained(model, settings, seed=0)
        apply_layout(model, layout, is_requested=True)
        optimize_for_training(model, torch.device("cpu"), sparse_gradients=False, kernels="auto")
        torch.manual_seed(0)
        batch = {
            "padded": lambda: pad(rows, PAD),
            "packed": lambda: pack(rows),
            "varlen": lambda: pack_varlen(rows, PAD, 512),
        }
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, kept=kept: (kept.append(x.numel()), x)[1], lambda x: x):
            logits = model.train()(**batch[layout]()).logits[: len(rows)]
        sizes.append(sum(kept))
        nn.functional.cross_entropy(logits, labels).backward()
        results.append((logits, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}))
    (logits, gradients), (again, gradients_again) = results
    assert sizes[1] < 0.6 * sizes[0]
    assert torch.equal(logits, again)
    assert gradients.keys() == gradients_again.keys()
    assert all(torch.equal(gradients[name], gradients_again[name]) for name in gradients)


def test_a_model_that_cannot_compute_layers_again_is_refused() -> None:
    model = make_model("bert")
    model.supports_gradient_checkpointing = False  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="has none"):
        choose_trained(model, ModelConfig(gradient_checkpointing=True), seed=0)


def test_a_run_with_frozen_layers(tmp_path: Path, reviews: Path, tiny_bert: Path) -> None:
    """Checkpoints hold the rest, the model all weights; the settings of the run may not change, but for the last."""
    settings = {
        "model": {"name": str(tiny_bert), "freeze": 1, "gradient_checkpointing": True},
        "data": {"train": str(reviews), "validation": 0.25, "max_length": 64},
        "training": {"epochs": 1, "learning_rate": 1e-3, "layer_decay": 0.8},
        "output": str(tmp_path / "run"),
    }
    train(load(None, settings))
    base = {f"bert.{name}": tensor for name, tensor in load_file(tiny_bert / "model.safetensors").items()}
    model = load_file(tmp_path / "run" / "model" / "model.safetensors")
    kept = {name for name, tensor in base.items() if torch.equal(tensor, model[name])}
    assert kept == {name for name in base if "embeddings" in name or "layer.0" in name}
    saved, _ = newest(tmp_path / "run" / "checkpoints")
    assert saved and saved.weights().keys() == model.keys() - kept
    (tmp_path / "run" / "metrics.json").unlink()
    for changes in ({"model": {"freeze": 2}}, {"training": {"layer_decay": 1}}, {"model": {"freeze": None}}):
        with pytest.raises(ConfigError, match="other settings"):
            train(load(None, merge(settings, changes)))
    train(load(None, merge(settings, {"model": {"gradient_checkpointing": False}})))
