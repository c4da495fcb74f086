"""The padding-free forward of BERT's family: a batch's documents in one row of tokens, attention within each.

Embeddings, linear layers and norms take the row as it is. The last layer computes what heads read, and no more: the
answer at each document's first token. Weights, their names and what is saved stay as they are.
"""

from typing import Any

from torch import nn

from accel_clf.models.checks import first_position
from accel_clf.models.families import stack_of
from accel_clf.models.kernels.attention import _attention
from accel_clf.models.kernels.first_token import ClsOnlyLayer

PACKED = "packed"  # its name among transformers' implementations of attention


def pack(model: nn.Module) -> None:
    """Make a model that `can_pack` take packed batches (layouts.pack) from here on, and no others."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(PACKED, _attention)
    AttentionMaskInterface.register(PACKED, lambda *_, **__: None)
    model.set_attn_implementation(PACKED)  # type: ignore[operator]
    offset = first_position(model)

    def place(_: nn.Module, args: Any, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**inputs, "position_ids": inputs["position_ids"] + offset}

    model.register_forward_pre_hook(place, with_kwargs=True)
    last = stack_of(model).layer[-1]
    last.forward = ClsOnlyLayer(last)
