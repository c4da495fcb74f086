"""Matrix products that read fewer bytes."""

from typing import Any

import torch
from torch import nn

from accel_clf.models.kernels.first_token import directly_read_linears


def quantize(model: nn.Module, precision: str) -> None:
    """Convert a model's linear layers to bf16 or dynamic int8, in place; it cannot be trained afterwards.

    Args:
        model: in evaluation mode.
        precision: "bf16" or "int8".
    """
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    if precision == "int8":
        untouched = directly_read_linears(model)
        quantize_dynamic: Any = torch.ao.quantization.quantize_dynamic
        names = {name for name, linear in linears.items() if linear not in untouched}
        quantize_dynamic(model, names, dtype=torch.qint8, inplace=True)
    else:
        for linear in linears.values():
            linear.to(torch.bfloat16)  # as autocast would at every call
