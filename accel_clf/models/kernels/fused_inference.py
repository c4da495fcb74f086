"""A packed encoder for inference on a CPU: weights in the layout that its kernels read, and fewer operations."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from accel_clf.models.families.base import Family, FeedForward, PostNormFamily, Projections, RelativeFamily
from accel_clf.models.kernels.attention import length_groups
from accel_clf.models.kernels.first_token import directly_read_linears
from accel_clf.models.kernels.relative_attention import relative_attention
from accel_clf.models.kernels.relative_layers import Documents


class Linear(nn.Module):
    """One or several linear layers of one input, with their weights in oneDNN's own layout.

    torch converts them to it at every call, which for a text of 20 tokens takes as long as the product itself. Its
    compiler has these two operations for the same purpose.

    Args:
        layers: whose weights these are; their outputs are concatenated.
        activation: applied to the output: "none" or "gelu".
    """

    def __init__(self, layers: Sequence[nn.Linear], activation: str = "none") -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(torch.cat([layer.weight.detach() for layer in layers]))
        has_bias = all(layer.bias is not None for layer in layers)
        self.bias = torch.cat([layer.bias.detach() for layer in layers]) if has_bias else None
        self.activation = activation

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            values.to(self.weight.dtype), self.weight, self.bias, self.activation, [], "none"
        )
        return product


class _Layer(nn.Module):
    """A layer without dropout: packed hidden states [1, tokens, width] to the next ones."""

    def __init__(self, projections: Projections, after: FeedForward, is_gelu: bool) -> None:
        super().__init__()
        self.query_key_value = Linear([projections.query, projections.key, projections.value])
        self.out = Linear([after.out])
        self.up, self.down = Linear([after.up], "gelu" if is_gelu else "none"), Linear([after.down])
        self.activation = nn.Identity() if is_gelu else after.activation
        self.attention_norm, self.norm = after.attention_norm, after.norm
        self.size, self.scaling = projections.attention.attention_head_size, projections.attention.scaling

    def forward(
        self, hidden: torch.Tensor, *_: Any, lengths: tuple[int, ...], starts: torch.Tensor, **__: Any
    ) -> torch.Tensor:
        heads = self._project(hidden)
        attended = torch.cat([self._attend(heads[group.tokens], group.documents) for group in length_groups(lengths)])
        return self._finish(attended.flatten(1), hidden)

    def _project(self, hidden: torch.Tensor) -> torch.Tensor:
        """Compute queries, keys and values: [tokens, 3, heads, size]."""
        projected: torch.Tensor = self.query_key_value(hidden)[0]
        return projected.view(len(projected), 3, -1, self.size)

    def _finish(self, attended: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """Compute the layer's output from its attention's, [tokens, width], and its input."""
        hidden = self.attention_norm(self.out(attended) + hidden)
        output: torch.Tensor = self.norm(self.down(self.activation(self.up(hidden))) + hidden)
        return output

    def _attend(self, heads: torch.Tensor, documents: int) -> torch.Tensor:
        """Compute attention within each of some documents of one length.

        Args:
            heads: queries, keys and values, [tokens, 3, heads, size].
            documents: how many.

        Returns:
            [tokens, heads, size].
        """
        query, key, value = heads.view(documents, -1, *heads.shape[1:]).permute(2, 0, 3, 1, 4).unbind()
        return scaled_dot_product_attention(query, key, value, scale=self.scaling).transpose(1, 2).flatten(0, 1)


class _RelativeLayer(_Layer):
    """The same for a layer whose attention goes by relative positions."""

    def __init__(self, family: RelativeFamily, layer: Any, base: Any, is_gelu: bool) -> None:
        super().__init__(family.projections(layer), family.feed_forward(layer), is_gelu)
        with torch.no_grad():
            self.terms = family.constant_terms(layer, base)

    def forward(self, hidden: torch.Tensor, documents: Documents, positions: Any) -> torch.Tensor:  # type: ignore[override]
        query, key, value = self._project(hidden)[None].permute(2, 0, 3, 1, 4).unbind()
        terms = self.terms(positions)
        attended = relative_attention(query, key, value, terms, documents.lengths, self.scaling, dropout=0.0)
        return self._finish(attended[0].flatten(1), hidden)


def can_fuse(device: torch.device, precision: str) -> bool:
    """Whether torch has these operations for a device and a precision."""
    if device.type != "cpu" or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    return precision == "fp32" or (precision == "bf16" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


def faster_for_long_inputs() -> bool:
    """Whether they are faster for a hundred tokens and more, too: with AVX2, torch's MKL is (benchmarks/LOG.md)."""
    return torch.backends.cpu.get_cpu_capability() != "AVX2"


def fuse(model: nn.Module, family: Family) -> None:
    """Fuse the operations of an evaluated, packed model, in place; it cannot be trained afterwards."""
    if isinstance(family, PostNormFamily):
        config: Any = model.config
        layers = family.layers(model)
        is_gelu = getattr(config, "hidden_act", None) == "gelu" or getattr(config, "activation", None) == "gelu"
        others = [] if family.repeats_layers else list(layers)[:-1]  # the last one computes what heads read, no more
        for index, layer in enumerate(others):
            if isinstance(family, RelativeFamily):
                layers[index] = _RelativeLayer(family, layer, model.base_model, is_gelu)
            else:
                layers[index] = _Layer(family.projections(layer), family.feed_forward(layer), is_gelu)
    untouched = directly_read_linears(model)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear and child not in untouched:
                setattr(module, name, Linear([child]))
