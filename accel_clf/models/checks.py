"""What would fail on the device, detected before anything is there."""

from typing import Any

import torch
from torch import nn

from accel_clf.core.errors import ConfigError
from accel_clf.models.traits import LIMITS_WITHOUT_A_TABLE, REFUSED, model_type

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
    vocabulary = vocabulary_size(model)
    if vocabulary is not None and largest_token >= vocabulary:
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


def vocabulary_size(model: nn.Module) -> int | None:
    """Return how many tokens a model knows; None where it has no embedding for each, as those of characters."""
    try:
        embeddings: Any = model.get_input_embeddings()  # type: ignore[operator]
    except NotImplementedError:
        return None
    weight = getattr(embeddings, "weight", None)
    return None if weight is None else len(weight)


def check_reads_texts(tokenizer: Any, name: str) -> None:
    """Refuse a tokenizer that reads something else than texts, such as tables or words with their places on a page.

    Args:
        tokenizer: of transformers.
        name: where it comes from, for messages.

    Raises:
        ConfigError: it raises an error for a text.
    """
    try:
        tokenizer(["a text"], truncation=True, max_length=8)
    except Exception as error:  # its own code decides which
        raise ConfigError(
            f"{name}: its tokenizer, {type(tokenizer).__name__}, does not read texts: {str(error).splitlines()[0]}",
            "a tokenizer of plain texts",
            "--model.tokenizer, with the folder or id of another one for the same tokens",
        ) from error


def check_answers(model: nn.Module, name: str, inputs: dict[str, Any]) -> None:
    """Refuse a model that does not answer texts, whatever else it may classify.

    Args:
        model: as it was loaded; its mode is kept, no generator is drawn from.
        name: the setting model.name, for messages.
        inputs: of two short texts.

    Raises:
        ConfigError: it raises an error, or answers something else than a row of numbers per text.
    """
    was_training = model.training
    reason = REFUSED.get(model_type(model), "")
    try:
        with torch.no_grad():
            shape = tuple(model.eval()(**inputs).logits.shape)
        if len(shape) != 2 or shape[0] != 2:
            reason = f"its outputs for two texts have the shape {shape}"
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, NotImplementedError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    finally:
        model.train(was_training)
    if reason:
        raise ConfigError(
            f"{name}: a model of the kind {model_type(model)} that does not classify texts: {reason}",
            "a model that takes token ids and an attention mask",
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
    """Return a model's tables of positions in a text, learned or computed."""
    return [
        (name, module)
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in TABLES
        and "vision" not in name
        and getattr(getattr(module, "weight", None), "ndim", 0) == 2
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
