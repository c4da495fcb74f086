"""Find what would fail on the device, before anything is there."""

from torch import nn

from accel_clf.core.errors import ConfigError


def check_fits(model: nn.Module, name: str, largest_token: int, max_length: int) -> None:
    """Find what would fail on the device, as an index out of range, before anything is there.

    Raises:
        ConfigError: a token id beyond the vocabulary, or texts longer than the model has positions.
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
    """Tokens that a model's learned positions allow; None where positions are relative and have no such end."""
    positions = _positions(model)
    return None if positions is None else positions.num_embeddings - first_position(model)


def first_position(model: nn.Module) -> int:
    """What a text's first token has for its position: 0, but RoBERTa and its kin count from padding_idx + 1."""
    positions = _positions(model)
    return 0 if positions is None or positions.padding_idx is None else positions.padding_idx + 1


def _positions(model: nn.Module) -> nn.Embedding | None:
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module
    return None
