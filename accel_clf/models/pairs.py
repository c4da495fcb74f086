"""How a model reads a pair of texts."""

import inspect
from typing import Any

from torch import nn

from accel_clf.core.errors import ConfigError
from accel_clf.models.traits import TYPES_OF_SINGLE_TEXTS, model_type


def takes_token_types(model: nn.Module, tokenizer: Any) -> bool:
    """Whether a model tells the texts of a pair apart by token types, and its tokenizer makes them.

    BERT and its relatives do. RoBERTa has a single type, which says nothing; DistilBERT and most DeBERTas have none.
    They go by the separator alone.

    Args:
        model: as it was loaded: a strategy may wrap its forward.
        tokenizer: a fast tokenizer of transformers.
    """
    types = getattr(model.config, "type_vocab_size", None)
    has_types = types > 1 if isinstance(types, int) else "token_type_ids" in inspect.signature(model.forward).parameters
    return has_types and "token_type_ids" in tokenizer.model_input_names


def takes_types(model: nn.Module, tokenizer: Any, has_pairs: bool) -> bool:
    """Whether rows need token types: pairs of most models, and single texts of a few."""
    return (has_pairs or model_type(model) in TYPES_OF_SINGLE_TEXTS) and takes_token_types(model, tokenizer)


def check_pairs(tokenizer: Any, name: str, max_length: int) -> str | None:
    """Check that a tokenizer can encode pairs of texts; return a warning where a model could not tell them apart.

    Args:
        tokenizer: a fast tokenizer of transformers.
        name: the setting model.name, for messages.
        max_length: tokens per row.

    Raises:
        ConfigError: a row has no place for a token of each text.
    """
    special = tokenizer.num_special_tokens_to_add(pair=True)
    if max_length < special + 2:
        raise ConfigError(
            f"data.max_length is {max_length}, and {name} adds {special} special tokens to a pair of texts",
            f"at least {special + 2}, so that a token of each text is left",
            f"--data.max_length {special + 2}, or more",
        )
    if special <= tokenizer.num_special_tokens_to_add(pair=False):
        return (
            f"the tokenizer of {name} puts nothing between the two texts of a pair, which the model cannot tell apart"
        )
    return None
