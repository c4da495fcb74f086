"""The padding-free forward of known families: a batch's documents in one row of tokens, attention within each.

Embeddings, linear layers and norms take the row as it is. Where heads read one token of each document, the last layer
computes that and no more. Weights, their names and what is saved stay as they are.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from accel_clf.models.checks import first_position, position_embeddings
from accel_clf.models.families.base import Family, GatedFamily, Pooling, PostNormFamily, RelativeFamily
from accel_clf.models.kernels.attention import packed_attention
from accel_clf.models.kernels.first_token import ClsOnlyLayer
from accel_clf.models.kernels.gated_layer import PackedGatedLayer
from accel_clf.models.kernels.pointwise import RmsNorm
from accel_clf.models.kernels.relative_layers import (
    RelativeClsOnlyLayer,
    RelativeEncoder,
    RelativeLayer,
    pass_documents,
)
from accel_clf.models.kernels.repeated_layers import LastRepeatedLayer, RepeatingEncoder
from accel_clf.models.kernels.varlen import VarlenLayer
from accel_clf.models.windows import PooledWindows

PACKED, VARLEN = "packed", "varlen"  # layouts; the first also names our attention among transformers' own


def pack_model(model: nn.Module, family: Family, layout: str) -> None:
    """Make a model take batches of a packed layout from here on, and no others; in place.

    Args:
        model: an encoder with a head.
        family: its record, see `families.family_of`.
        layout: "packed", for CPUs (data.collate.pack), or "varlen", for GPUs (data.collate.pack_varlen); one of the
            family's.
    """
    _count_positions_from(first_position(model), model)
    if isinstance(family, RelativeFamily):
        _pack_relative(model, family)
        return
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(PACKED, packed_attention)
    AttentionMaskInterface.register(PACKED, lambda *_, **__: None)
    model.set_attn_implementation(PACKED)  # type: ignore[operator]
    if isinstance(family, GatedFamily):
        _pack_gated(model, family)
    elif isinstance(family, PostNormFamily):
        _pack_post_norm(model, family, layout)


def _pack_post_norm(model: nn.Module, family: PostNormFamily, layout: str) -> None:
    *others, last = family.layers(model)
    if layout == VARLEN:
        for layer in others:
            layer.forward = VarlenLayer(layer, family, is_last=False)
        last.forward = VarlenLayer(last, family, is_last=True)
    elif family.repeats_layers:
        encoder: Any = model.base_model.encoder  # type: ignore[union-attr]
        last.forward, encoder.forward = LastRepeatedLayer(last, family), RepeatingEncoder(encoder)
    else:
        last.forward = ClsOnlyLayer(last, family)


def _pack_relative(model: nn.Module, family: RelativeFamily) -> None:
    base: Any = model.base_model
    *others, last = family.layers(model)
    for layer in others:
        layer.forward = RelativeLayer(layer, family)
    last.forward = RelativeClsOnlyLayer(last, family)
    base.forward = RelativeEncoder(base, family)
    model.register_forward_pre_hook(pass_documents, with_kwargs=True)


def _pack_gated(model: nn.Module, family: GatedFamily) -> None:
    pooling = family.pooling(model.config)
    *others, last = family.layers(model)
    for layer in others:
        layer.forward = PackedGatedLayer(layer, family, None)
    last.forward = PackedGatedLayer(last, family, pooling)
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = RmsNorm(module)
    if pooling is Pooling.LAST:
        below_windows: Any = model.forward if isinstance(model.forward, PooledWindows) else model
        below_windows.forward = _LastTokenHead(model)
    elif pooling is not Pooling.FIRST:
        averaged: Any = model.activation if pooling is Pooling.ACTIVATED_MEAN else family.final_norm(model)
        averaged.forward = _DocumentMeans(averaged, model.base_model)  # type: ignore[arg-type]


class _LastTokenHead:
    """The forward of a decoder's classification head, which reads each document's last token that is no padding token.

    transformers' own looks for them in rows that are padded. What follows them, where a tokenizer ends texts with the
    padding token, has no part in the answer.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, input_ids: torch.Tensor, **inputs: Any) -> Any:
        from transformers.modeling_outputs import SequenceClassifierOutputWithPast

        inputs = _without_endings({"input_ids": input_ids, **inputs}, self.model.config.pad_token_id)
        states = self.model.base_model(use_cache=False, **inputs).last_hidden_state
        return SequenceClassifierOutputWithPast(logits=self.model.score(states)[:, 0])


def _without_endings(inputs: dict[str, Any], pad_id: int | None) -> dict[str, Any]:
    """Return a packed batch whose documents end in their last token that is no padding; or in their first."""
    tokens, starts, lengths = inputs["input_ids"][0], inputs["starts"], torch.tensor(inputs["lengths"])
    if pad_id is None or not (tokens[starts + lengths - 1] == pad_id).any():
        return inputs
    positions = torch.arange(len(tokens)) - starts.repeat_interleave(lengths)
    documents = torch.split(torch.where(tokens == pad_id, 0, positions), list(inputs["lengths"]))
    kept = torch.stack([document.max() for document in documents]) + 1
    is_kept = positions < kept.repeat_interleave(lengths)
    tensors = {name: value[:, is_kept] for name, value in inputs.items() if name not in ("starts", "lengths")}
    return {**tensors, "starts": kept.cumsum(0) - kept, "lengths": tuple(kept.tolist())}


class _DocumentMeans:
    """The forward of a module of one input, [1, tokens, width], with the mean of each document: [documents, 1, width].

    transformers' heads take the mean of a row's tokens next. Where it is only the logits' that they take, a linear
    layer lies between, and the mean before it is the same.

    Args:
        module: of a model.
        encoder: of the model, which is told the documents' lengths.
    """

    def __init__(self, module: nn.Module, encoder: nn.Module) -> None:
        self.forward: Callable[[torch.Tensor], torch.Tensor] = module.forward
        self.lengths: tuple[int, ...] = ()
        encoder.register_forward_pre_hook(self.keep_lengths, with_kwargs=True)

    def keep_lengths(self, module: nn.Module, args: Any, inputs: dict[str, Any]) -> None:
        self.lengths = inputs["lengths"]

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        parts = torch.split(self.forward(states)[0], list(self.lengths))
        return torch.stack([part.mean(dim=0) for part in parts])[:, None]


def _count_positions_from(first: int, model: nn.Module) -> None:
    """Make positions that count from 0 the rows of a model's position embeddings that they are for."""
    embeddings = position_embeddings(model)
    if first and embeddings:
        # Of the embeddings, not of the model: torch.compile has a graph of its own for what a model's hooks do.
        embeddings.register_forward_pre_hook(lambda _, positions: (positions[0] + first,))
