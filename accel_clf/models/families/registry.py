"""Which family a model is of."""

from typing import Any

from torch import nn

from accel_clf.models import head
from accel_clf.models.families.albert import Albert
from accel_clf.models.families.base import Family
from accel_clf.models.families.bert import Bert
from accel_clf.models.families.deberta import Deberta
from accel_clf.models.families.distilbert import DistilBert
from accel_clf.models.families.gated import EuroBert, Llama, ModernBert
from accel_clf.models.families.mpnet import MPNet

FAMILIES: dict[str, Family] = {
    "albert": Albert(),
    "bert": Bert(),
    "camembert": Bert(),
    "deberta-v2": Deberta(),
    "distilbert": DistilBert(),
    "electra": Bert(),
    "eurobert": EuroBert(),
    "llama": Llama(),
    "modernbert": ModernBert(),
    "mpnet": MPNet(),
    "qwen3": Llama(),
    "roberta": Bert(),
    "xlm-roberta": Bert(),
}


def family_of(model: nn.Module) -> Family | None:
    """Return the record of a model's family; None where the kernels do not know it.

    They know an encoder of one of FAMILIES, in transformers' own code, without options that change its layers.
    """
    config: Any = model.config
    is_known = (
        config.model_type in FAMILIES
        and type(model).__module__.startswith("transformers.models.")
        and not getattr(config, "is_decoder", False)
        and not getattr(config, "chunk_size_feed_forward", 0)
    )
    return FAMILIES[config.model_type] if is_known else None


def layer_classes(model: nn.Module) -> set[type[nn.Module]]:
    """Return the classes of a model's layers, which can be sharded one by one.

    Of a family here; otherwise those on the model's own list of what must not be divided, without those that hold
    embeddings, which belong to the whole model; and for a model without either those of its largest list of modules.
    """
    config: Any = model.config
    if family := FAMILIES.get(config.model_type):
        return {type(layer) for layer in family.layers(model)}
    own_list = getattr(model, "_no_split_modules", None) or ()
    listed = {type(module) for module in model.modules() if type(module).__name__ in own_list}
    with_embeddings = {
        type(module)
        for module in model.modules()
        if type(module) in listed and any(isinstance(inner, nn.Embedding) for inner in module.modules())
    }
    if layers := listed - with_embeddings:
        return layers
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and _is_uniform(module)]
    largest = max(lists, key=lambda layers: sum(weight.numel() for weight in layers.parameters()), default=())
    return {type(layer) for layer in largest}


def encoder_layers(model: nn.Module) -> list[nn.Module]:
    """Return a model's layers, the lowest first; an encoder's before a decoder's."""
    classes = layer_classes(model)
    layers: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        if type(module) in classes and not any(name.startswith(f"{outer}.") for outer in layers):
            layers[name] = module
    return list(layers.values())


def weight_depths(model: nn.Module) -> dict[str, int]:
    """Return how high in a model each of its weights is, by name.

    0 for embeddings, and what else comes before the first layer; from 1 on the layers'; above the last the head's. What
    follows layers without being the head's, such as a last norm, is of the last layer.
    """
    layers = encoder_layers(model)
    of_layers = {parameter: depth for depth, layer in enumerate(layers, start=1) for parameter in layer.parameters()}
    tables = {
        parameter for module in model.modules() if isinstance(module, nn.Embedding) for parameter in module.parameters()
    }
    depths: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        is_below = parameter in tables or not any(depths.values())
        depths[name] = of_layers.get(parameter, 0 if is_below else len(layers))
        if head.contains(model, name):
            depths[name] = len(layers) + 1
    return depths


def _is_uniform(modules: nn.ModuleList) -> bool:
    """Whether modules are layers of one class."""
    classes = {type(module) for module in modules}
    return len(classes) == 1 and nn.ModuleList not in classes
