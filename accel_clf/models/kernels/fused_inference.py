"""A packed encoder that is not trained any more, on a CPU: weights as its kernels read them, and fewer operations."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from accel_clf.models.families import Projections, is_distilberts, projections_of, stack_of
from accel_clf.models.kernels.attention import length_groups
from accel_clf.models.kernels.first_token import read_as_they_are


class Linear(nn.Module):
    """One or several linear layers of one input, with their weights in the order in which oneDNN reads them.

    torch brings them into it at every call, which for a text of 20 tokens takes as long as the product itself. Its
    compiler has these two operations for the same end.

    Args:
        layers: whose weights these are; their outputs follow each other.
        activation: applied to what comes out: "none" or "gelu".
    """

    def __init__(self, layers: Sequence[nn.Linear], activation: str = "none") -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(torch.cat([layer.weight.detach() for layer in layers]))
        self.bias = torch.cat([layer.bias.detach() for layer in layers])
        self.activation = activation

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            values.to(self.weight.dtype), self.weight, self.bias, self.activation, [], "none"
        )
        return product


class _Parts(NamedTuple):
    """What follows a layer's projections, whatever its family calls it."""

    out: nn.Linear
    attention_norm: nn.Module
    up: nn.Linear
    activation: nn.Module
    down: nn.Linear
    norm: nn.Module


def _parts(layer: Any) -> _Parts:
    if is_distilberts(layer):
        feed = layer.ffn
        return _Parts(
            layer.attention.out_lin, layer.sa_layer_norm,
            feed.lin1, feed.activation, feed.lin2, layer.output_layer_norm,
        )  # fmt: skip
    after = layer.attention.output
    return _Parts(
        after.dense, after.LayerNorm,
        layer.intermediate.dense, layer.intermediate.intermediate_act_fn, layer.output.dense, layer.output.LayerNorm,
    )  # fmt: skip


class _Layer(nn.Module):
    """A layer without dropout: packed hidden states [1, tokens, width] to the next ones."""

    def __init__(self, inner: Projections, parts: _Parts, gelu: bool) -> None:
        super().__init__()
        self.query_key_value, self.out = Linear([inner.query, inner.key, inner.value]), Linear([parts.out])
        self.up, self.down = Linear([parts.up], "gelu" if gelu else "none"), Linear([parts.down])
        self.activation = nn.Identity() if gelu else parts.activation
        self.attention_norm, self.norm = parts.attention_norm, parts.norm
        self.size, self.scaling = inner.attention.attention_head_size, inner.attention.scaling

    def forward(
        self, hidden: torch.Tensor, *_: Any, lengths: tuple[int, ...], starts: torch.Tensor, **__: Any
    ) -> torch.Tensor:
        tokens = self.query_key_value(hidden)[0]
        parts = tokens.view(len(tokens), 3, -1, self.size)
        attended = torch.cat([self._attend(parts[documents], count) for documents, count in length_groups(lengths)])
        hidden = self.attention_norm(self.out(attended.flatten(1)) + hidden)
        answered: torch.Tensor = self.norm(self.down(self.activation(self.up(hidden))) + hidden)
        return answered

    def _attend(self, parts: torch.Tensor, count: int) -> torch.Tensor:
        """Attention within each of `count` documents of one length.

        Args:
            parts: queries, keys and values, [tokens, 3, heads, size].

        Returns:
            [tokens, heads, size].
        """
        query, key, value = parts.view(count, -1, *parts.shape[1:]).permute(2, 0, 3, 1, 4).unbind()
        return scaled_dot_product_attention(query, key, value, scale=self.scaling).transpose(1, 2).flatten(0, 1)


def can_fuse(device: torch.device, precision: str) -> bool:
    """Whether torch has these operations there, in a precision."""
    if device.type != "cpu" or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    return precision == "fp32" or (precision == "bf16" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


def pays_for_many_tokens() -> bool:
    """Whether they are faster for a hundred tokens and more, too: with AVX2, torch's own MKL is (benchmarks/LOG.md)."""
    return torch.backends.cpu.get_cpu_capability() != "AVX2"


def fuse(model: nn.Module) -> None:
    """Make an evaluated, packed model (packing.pack) of few operations from here on, in place; it can train no more."""
    config: Any = model.config
    layers = stack_of(model).layer
    gelu = getattr(config, "hidden_act", None) == "gelu" or getattr(config, "activation", None) == "gelu"
    for place, layer in enumerate(layers[:-1]):  # the last one computes what heads read, and no more
        layers[place] = _Layer(projections_of(layer), _parts(layer), gelu)
    as_they_are = read_as_they_are(model)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear and child.bias is not None and child not in as_they_are:
                setattr(module, name, Linear([child]))
