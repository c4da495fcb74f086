"""Which of a model's weights get no gradient: DDP waits for the gradient of each weight that is trained."""

from typing import Any

import torch
from torch import nn


def without_gradient(model: nn.Module, inputs: dict[str, Any]) -> list[str]:
    """Name the trained weights that a backward through the logits of `inputs` gives no gradient.

    What is left is as it was: weights, buffers, modes, gradients (none) and the host's generator. In evaluation mode,
    where nothing is dropped at random: a weight that some step uses must not be taken for one that none does.

    Args:
        model: an encoder with a head, without gradients.
        inputs: of a few rows, on its device.
    """
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    reached: set[torch.Tensor] = set()

    def drop_gradient(parameter: torch.Tensor) -> None:
        parameter.grad = None  # at once: there is never room needed for more than one
        reached.add(parameter)

    modes = {module: module.training for module in model.modules()}
    hooks: list[Any] = [
        parameter.register_post_accumulate_grad_hook(drop_gradient)  # type: ignore[no-untyped-call]
        for parameter in trained.values()
    ]
    try:
        with torch.random.fork_rng(devices=[]):
            model.eval()(**inputs).logits.float().sum().backward()
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return [name for name, parameter in trained.items() if parameter not in reached]


def drops_layers(model: nn.Module) -> bool:
    """Whether a model leaves out whole layers at random while it is trained (LayerDrop), and their gradients."""
    config = getattr(model, "config", None)
    return any(getattr(config, name, 0) for name in ("layerdrop", "encoder_layerdrop", "decoder_layerdrop"))
