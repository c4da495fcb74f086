"""The padding-free forward of BERT's family: a batch's documents in one row of tokens, attention within each.

Embeddings, linear layers and norms take the row as it is. The last layer computes what heads read, and no more: its
output at each document's first token. Weights, their names and what is saved stay as they are.
"""

from typing import Any

from torch import nn

from accel_clf.models.checks import first_position, position_embeddings
from accel_clf.models.families.base import Family, RelativeFamily
from accel_clf.models.kernels.attention import packed_attention
from accel_clf.models.kernels.first_token import ClsOnlyLayer
from accel_clf.models.kernels.relative_layers import (
    RelativeClsOnlyLayer,
    RelativeEncoder,
    RelativeLayer,
    pass_documents,
)
from accel_clf.models.kernels.repeated_layers import LastRepeatedLayer, RepeatingEncoder
from accel_clf.models.kernels.varlen import VarlenLayer

PACKED, VARLEN = "packed", "varlen"  # layouts; the first also names our attention among transformers' own


def pack_model(model: nn.Module, family: Family, layout: str) -> None:
    """Make a model take batches of a packed layout from here on, and no others; in place.

    Args:
        model: an encoder with a head.
        family: its record, see `families.family_of`.
        layout: "packed", for CPUs (data.collate.pack), or "varlen", for GPUs (data.collate.pack_varlen).
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
    base: Any = model.base_model
    *others, last = family.layers(model)
    if layout == VARLEN:
        for layer in others:
            layer.forward = VarlenLayer(layer, family, is_last=False)
        last.forward = VarlenLayer(last, family, is_last=True)
    elif family.repeats_layers:
        last.forward = LastRepeatedLayer(last, family)
        base.encoder.forward = RepeatingEncoder(base.encoder)
    else:
        last.forward = ClsOnlyLayer(last, family)


def _pack_relative(model: nn.Module, family: RelativeFamily) -> None:
    """Replace the forward of an encoder that has attention in code of its own."""
    base: Any = model.base_model
    *others, last = family.layers(model)
    for layer in others:
        layer.forward = RelativeLayer(layer, family)
    last.forward = RelativeClsOnlyLayer(last, family)
    base.forward = RelativeEncoder(base, family)
    model.register_forward_pre_hook(pass_documents, with_kwargs=True)


def _count_positions_from(first: int, model: nn.Module) -> None:
    """Make positions that count from 0 the rows of a model's position embeddings that they are for."""
    embeddings = position_embeddings(model)
    if first and embeddings:
        # Of the embeddings, not of the model: torch.compile has a graph of its own for what a model's hooks do.
        embeddings.register_forward_pre_hook(lambda _, positions: (positions[0] + first,))
