"""Which family a model is of."""

from typing import Any

from torch import nn

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


def _is_uniform(modules: nn.ModuleList) -> bool:
    """Whether modules are layers of one class."""
    classes = {type(module) for module in modules}
    return len(classes) == 1 and nn.ModuleList not in classes
