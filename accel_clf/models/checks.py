"""What would fail on the device, detected before anything is there."""

from typing import Any

from torch import nn

from accel_clf.core.errors import ConfigError
from accel_clf.models.traits import LIMITS_WITHOUT_A_TABLE, model_type

# What transformers' models call their tables of positions.
TABLES = (
    "position_embeddings", "embed_positions", "wpe", "positions_embed", "position_embedding",
    "char_position_embeddings",
)  # fmt: skip


def check_fits(model: nn.Module, name: str, largest_token: int, max_length: int) -> None:
    """Refuse tokens and lengths that a device would report as an index out of range.

    Args:
        model: the encoder with its head.
        name: the setting model.name, for messages.
        largest_token: the largest token id of all rows.
        max_length: tokens of the longest row.

    Raises:
        ConfigError: a token id is beyond the vocabulary, or texts may be longer than the model has positions.
    """
    vocabulary = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    if largest_token >= vocabulary:
        raise ConfigError(
            f"{name}: its tokenizer gives token {largest_token}, its embeddings end at {vocabulary - 1}",
            "a tokenizer and a model that belong together",
            "check that the folder's tokenizer files are this model's",
        )
    positions = max_positions(model)
    if positions is not None and max_length > positions:
        raise ConfigError(
            f"data.max_length is {max_length}, but {name} has {positions} positions",
            f"at most {positions}",
            f"--data.max_length {positions}",
        )


def max_positions(model: nn.Module) -> int | None:
    """Return how many tokens a model's table of positions allows; None where it has none.

    Rotary and relative positions and ALiBi go on beyond what a model was trained on, see `trained_positions`.
    """
    config: Any = model.config
    declared = getattr(config.get_text_config(), "max_position_embeddings", None)
    if setting := LIMITS_WITHOUT_A_TABLE.get(model_type(model)):
        return int(getattr(config, setting))
    limits = [
        len(table.weight) - (getattr(table, "offset", None) or (getattr(table, "padding_idx", None) or -1) + 1)
        for name, table in named_tables(model)
    ]
    return min([*limits, *([declared] if isinstance(declared, int) else [])]) if limits else None


def trained_positions(model: nn.Module) -> int | None:
    """Return the length that a model without a table of positions was made for; None where it says nothing of it."""
    config: Any = model.config
    declared = getattr(config.get_text_config(), "max_position_embeddings", None)
    return declared if max_positions(model) is None and isinstance(declared, int) and declared > 0 else None


def named_tables(model: nn.Module) -> list[tuple[str, Any]]:
    """Return a model's tables of positions, learned or computed."""
    return [
        (name, module)
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in TABLES and getattr(getattr(module, "weight", None), "ndim", 0) == 2
    ]


def first_position(model: nn.Module) -> int:
    """Return the position id of a text's first token: 0, but padding_idx + 1 for RoBERTa and its relatives."""
    positions = position_embeddings(model)
    return 0 if positions is None or positions.padding_idx is None else positions.padding_idx + 1


def position_embeddings(model: nn.Module) -> nn.Embedding | None:
    """Return a model's table of learned positions; None where it has none."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module
    return None
