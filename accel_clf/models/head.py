"""A classification head: its weights, the linear layer it ends in, where its bias begins, and outputs rescaled."""

from typing import Any

import numpy as np
import torch
from torch import nn

from accel_clf.targets.objective import NO_RESCALING, Rescaling

KEPT_BESIDE = "rescaling"  # the key, below registry.OPTIONS, of what no linear layer can take


def contains(model: nn.Module, name: str) -> bool:
    """Say whether a weight, by its name, is the head's: poolers are, which pretrained encoders may come without."""
    return not name.startswith(f"{getattr(model, 'base_model_prefix', '')}.") or "pooler" in name


def last_linear(model: nn.Module) -> str | None:
    """Find the linear layer whose outputs are the model's, by running the model on a few tokens.

    Args:
        model: on the host; its mode is kept, no generator is drawn from.

    Returns:
        Its name; None where the head ends in something else.
    """
    config: Any = model.config
    outputs: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        return lambda module, args, output: outputs.update({name: output})

    linears = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == config.num_labels
    }
    hooks = [module.register_forward_hook(keep(name)) for name, module in linears.items()]
    was_training = model.training
    model.eval()
    # As classification heads of encoder-decoders ask for an end of the text, and of decoders for no padding.
    tokens = torch.full((1, 3), getattr(config, "eos_token_id", None) or 0)
    try:
        with torch.no_grad():
            logits = model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
    except (RuntimeError, ValueError, TypeError, IndexError):
        return None
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    for name, output in reversed(outputs.items()):
        if (output.reshape(-1, output.shape[-1]) == logits).all(dim=1).any():  # decoders take one position of all
            return name
    return None


def start_bias(model: nn.Module, bias: np.ndarray) -> None:
    """Set the bias of the last linear layer, where there is one."""
    name = last_linear(model)
    linear: Any = model.get_submodule(name) if name else None
    if linear is not None and linear.bias is not None:
        with torch.no_grad():
            linear.bias.copy_(torch.from_numpy(bias))


def rescaled(
    weights: dict[str, torch.Tensor], linear: str | None, rescaling: Rescaling
) -> dict[str, torch.Tensor] | None:
    """Return weights whose outputs are rescaled.

    Args:
        weights: of a model, by name; left as they are.
        linear: see `last_linear`.
        rescaling: of the outputs.

    Returns:
        None where no linear layer can take it.
    """
    if rescaling == NO_RESCALING:
        return weights
    if linear is None or (rescaling.shift and f"{linear}.bias" not in weights):
        return None
    scaled = {f"{linear}.weight": weights[f"{linear}.weight"].double() * rescaling.scale}
    if f"{linear}.bias" in weights:
        scaled[f"{linear}.bias"] = weights[f"{linear}.bias"].double() * rescaling.scale + rescaling.shift
    return weights | {name: value.to(weights[name].dtype) for name, value in scaled.items()}


def rescale_outputs(model: nn.Module, rescaling: Rescaling) -> None:
    """Make a model rescale its outputs in every call, where its weights cannot."""

    def rescale(module: nn.Module, args: Any, output: Any) -> Any:
        output.logits = output.logits * rescaling.scale + rescaling.shift
        return output

    model.register_forward_hook(rescale)
