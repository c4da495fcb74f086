"""The layers of a packed encoder with relative positions, on a CPU, and the encoder that calls them."""

from typing import Any, NamedTuple

import torch

from accel_clf.models.families.base import RelativeFamily
from accel_clf.models.kernels.first_token import FirstTokenLayer
from accel_clf.models.kernels.relative_attention import relative_attention


class Documents(NamedTuple):
    """Where the documents of a batch lie in its row of tokens.

    Attributes:
        lengths: tokens of each.
        starts: each one's first position, int64 [documents].
    """

    lengths: tuple[int, ...]
    starts: torch.Tensor


def pass_documents(model: Any, args: tuple[Any, ...], inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Put the documents in the place of the mask, which the model hands on as it is; a hook before its forward.

    Raises:
        TypeError: there is an input that the model would ignore.
    """
    inputs = dict(inputs)
    documents = Documents(inputs.pop("lengths"), inputs.pop("starts"))
    if unknown := inputs.keys() - {"input_ids", "position_ids", "token_type_ids", "members"}:
        raise TypeError(f"packed encoders take no {', '.join(sorted(unknown))}")
    return args, inputs | {"attention_mask": documents}


class RelativeEncoder:
    """The forward of an encoder without its head: from packed tokens to its output at each document's first token.

    Args:
        base: the encoder.
        family: its record.
    """

    def __init__(self, base: Any, family: RelativeFamily) -> None:
        self.base, self.family = base, family

    def __call__(self, input_ids: torch.Tensor, *, attention_mask: Documents, **inputs: Any) -> Any:
        """Compute the output.

        Args:
            input_ids: [1, tokens].
            attention_mask: where the documents lie.
            inputs: position_ids and token_type_ids, of the same shape; None for all else.
        """
        from transformers.modeling_outputs import BaseModelOutput

        hidden = self.family.embed(self.base, input_ids, inputs)
        positions = self.family.positions(self.base, max(attention_mask.lengths))
        for layer in self.family.layers(self.base):
            hidden = layer(hidden, attention_mask, positions)
        return BaseModelOutput(last_hidden_state=hidden)


class RelativeLayer:
    """A layer's forward on packed tokens: from [1, tokens, width] to the same.

    Args:
        layer: of an encoder.
        family: the encoder's.
    """

    def __init__(self, layer: Any, family: RelativeFamily) -> None:
        self.layer, self.family = layer, family

    def __call__(self, hidden: torch.Tensor, documents: Documents, positions: Any) -> torch.Tensor:
        heads, *linears = self.family.projections(self.layer)
        query, key, value = (
            linear(hidden).unflatten(-1, (-1, heads.attention_head_size)).transpose(1, 2) for linear in linears
        )
        terms = self.family.terms(self.layer, positions)
        rate = heads.dropout.p if self.layer.training else 0.0
        attended = relative_attention(query, key, value, terms, documents.lengths, heads.scaling, rate)
        return self.family.finish(self.layer, attended.flatten(2), hidden)


class RelativeClsOnlyLayer(FirstTokenLayer):
    """The last layer's forward at each document's first token: [1, tokens, width] to [documents, 1, width]."""

    family: RelativeFamily

    def __call__(self, hidden: torch.Tensor, documents: Documents, positions: Any) -> torch.Tensor:
        terms = self.family.first_terms(self.layer, positions)
        return self.compute(hidden, documents.lengths, documents.starts, terms)
