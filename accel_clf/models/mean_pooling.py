"""The mean of a text's tokens, as the head's input: one more layer, in the encoder's own form."""

import copy
from typing import Any

import torch
from torch import nn

HEADS = {
    "bert": "bert.pooler.dense",
    "camembert": "classifier.dense",
    "roberta": "classifier.dense",
    "xlm-roberta": "classifier.dense",
}
"""`model_type` -> the layer between the first token and the head's last layer, tanh(dense(x))."""
MEAN_SCALE = 32.0  # the mean's weight beside that of the first token's own state, which is added to it
DENSE_SCALE = 0.3  # tanh is nearly linear there: a layer norm's outputs are of variance 1


@torch.no_grad()
def append_mean_layer(model: nn.Module) -> bool:
    """Make the first token's last state the mean of all tokens' states; in place.

    Encoders of sentences are trained by that mean, and classifiers of BERT's family read the first token. A layer whose
    queries and keys are zero attends to all tokens alike: appended, it puts their mean in the first token's place, and
    the model is one of its family still, which transformers loads and its pipelines answer by. Its feed-forward part is
    zero, and so are the gradients of all that is: it remains a mean while what it reads is trained.

    Args:
        model: an encoder with a new head, on the host.

    Returns:
        Whether that is done; other families' heads read what they read.
    """
    config: Any = model.config
    if config.model_type not in HEADS or getattr(config, "is_decoder", False):
        return False
    layers: Any = model.base_model.encoder.layer  # type: ignore[union-attr]
    layer = copy.deepcopy(layers[-1])
    for module in layer.modules():
        if isinstance(module, nn.Linear):
            module.weight.zero_()
            module.bias.zero_()
        elif isinstance(module, nn.LayerNorm):
            module.weight.fill_(1.0)
            module.bias.zero_()
    nn.init.eye_(layer.attention.self.value.weight)
    layer.attention.output.dense.weight.copy_(MEAN_SCALE * torch.eye(config.hidden_size))
    if hasattr(layer.attention.self, "layer_idx"):
        layer.attention.self.layer_idx = len(layers)
    layers.append(layer)
    config.num_hidden_layers = len(layers)
    dense: Any = model.get_submodule(HEADS[config.model_type])
    dense.weight.copy_(DENSE_SCALE * torch.eye(config.hidden_size))
    dense.bias.zero_()
    return True
