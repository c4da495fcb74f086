"""RMS norms and gated units in few passes over memory, part by part, on a CPU.

What transformers writes as a handful of operations on all tokens goes through memory once for each of them, and again
in the backward. Here a part that fits a processor's cache goes through all of them at a time.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

ELEMENTS_PER_PART = 1 << 17

Backward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # of a gradient and the input


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: torch.dtype
    ) -> torch.Tensor:
        rows = values.reshape(-1, values.shape[-1])
        wide = torch.promote_types(rows.dtype, torch.float32)
        normed, inverse = torch.empty(rows.shape, dtype=dtype), torch.empty(len(rows), 1, dtype=wide)
        for part, target, scale in _in_parts(rows, normed, inverse):
            part = part.to(wide)
            torch.linalg.vector_norm(part, dim=1, keepdim=True, out=scale)
            scale.square_().div_(part.shape[1]).add_(epsilon).rsqrt_()
            target.copy_((part * scale).mul_(weight))
        ctx.save_for_backward(rows, weight, inverse)
        ctx.shape = values.shape
        return normed.view(values.shape)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, weight, inverse = ctx.saved_tensors
        grad_rows, grad_weight = torch.empty_like(rows), torch.zeros_like(weight)
        for part, grad, target, scale in _in_parts(rows, gradient.reshape(rows.shape), grad_rows, inverse):
            unit, grad = part.to(scale.dtype) * scale, grad.to(scale.dtype)
            grad_weight += (grad * unit).sum(dim=0)
            grad = grad * weight
            projection = (grad * unit).mean(dim=1, keepdim=True)
            target.copy_(torch.addcmul(grad, unit, projection, value=-1).mul_(scale))
        return grad_rows.view(ctx.shape), grad_weight, None, None


class RmsNorm:
    """The forward of a module that is an RMS norm; in the dtype of the products that read it.

    Args:
        module: with `weight` and `variance_epsilon`, as transformers' have them.
    """

    def __init__(self, module: Any) -> None:
        self.module = module

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        weight, kind = self.module.weight, values.device.type
        dtype = torch.promote_types(values.dtype, weight.dtype)
        if torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
        normed: torch.Tensor = _RmsNorm.apply(  # type: ignore[no-untyped-call]
            values, weight, self.module.variance_epsilon, dtype
        )
        return normed


class _GatedUnit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, activate: Any, backward: Backward, *inner: torch.Tensor) -> torch.Tensor:
        activated, gate = _halves(inner)
        gated = torch.empty(activated.shape, dtype=activated.dtype)
        for part, by, target in _in_parts(*(tensor.flatten(0, -2) for tensor in (activated, gate, gated))):
            torch.mul(activate(part), by, out=target)
        ctx.save_for_backward(*inner)
        ctx.activate, ctx.activation_backward = activate, backward
        return gated

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inner = ctx.saved_tensors
        gradients = [torch.empty_like(tensor) for tensor in inner]
        parts = (tensor.flatten(0, -2) for tensor in (gradient, *_halves(inner), *_halves(gradients)))
        for grad, activated, gate, grad_activated, grad_gate in _in_parts(*parts):
            torch.mul(grad, ctx.activate(activated), out=grad_gate)
            grad_activated.copy_(ctx.activation_backward(grad * gate, activated))
        return None, None, *gradients


# transformers' names of activations -> theirs and their gradients
ACTIVATIONS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], Backward]] = {
    "GELUActivation": (nn.functional.gelu, torch.ops.aten.gelu_backward),
    "SiLUActivation": (nn.functional.silu, torch.ops.aten.silu_backward),
    "SiLU": (nn.functional.silu, torch.ops.aten.silu_backward),
}


def gated_unit(activation: nn.Module, *inner: torch.Tensor) -> torch.Tensor:
    """Multiply what is activated by its gate.

    Args:
        activation: any; of known ones, it takes few passes.
        inner: both in one tensor, [..., 2 * width], or each in its own, [..., width].
    """
    known = ACTIVATIONS.get(type(activation).__name__)
    if known is None:
        activated, gate = _halves(inner)
        product: torch.Tensor = activation(activated) * gate
        return product
    gated: torch.Tensor = _GatedUnit.apply(*known, *inner)  # type: ignore[no-untyped-call]
    return gated


def _halves(inner: Any) -> Any:
    """Return what is activated, and its gate."""
    return inner[0].chunk(2, dim=-1) if len(inner) == 1 else inner


def _in_parts(*tensors: torch.Tensor) -> Any:
    """Divide tensors of as many rows into parts that fit a processor's cache."""
    size = max(1, ELEMENTS_PER_PART // tensors[0].shape[1])
    return zip(*(torch.split(tensor, size) for tensor in tensors), strict=True)
