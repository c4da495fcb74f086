"""The padding-free forward of BERT's family: a batch's documents in one row of tokens, attention within each.

Embeddings, linear layers and norms take the row as it is. The last layer computes what heads read, and no more: its
output at each document's first token. Weights, their names and what is saved stay as they are.
"""

from typing import Any

from torch import nn

from accel_clf.models.checks import first_position
from accel_clf.models.families import Family
from accel_clf.models.kernels.attention import packed_attention
from accel_clf.models.kernels.first_token import ClsOnlyLayer

PACKED = "packed"  # the layout, and our attention's name among transformers' implementations


def pack_model(model: nn.Module, family: Family) -> None:
    """Make a model take packed batches (data.collate.pack) from here on, and no others; in place.

    Args:
        model: an encoder with a head.
        family: its record, see `families.family_of`.
    """
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(PACKED, packed_attention)
    AttentionMaskInterface.register(PACKED, lambda *_, **__: None)
    model.set_attn_implementation(PACKED)  # type: ignore[operator]
    offset = first_position(model)

    def shift_positions(_: nn.Module, args: Any, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**inputs, "position_ids": inputs["position_ids"] + offset}

    model.register_forward_pre_hook(shift_positions, with_kwargs=True)
    last: Any = family.layers(model)[-1]
    last.forward = ClsOnlyLayer(last, family)
