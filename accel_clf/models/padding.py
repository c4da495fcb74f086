"""Which token pads a model's rows, on which side, and what rows end in."""

from typing import Any

from torch import nn

from accel_clf.core.errors import ConfigError
from accel_clf.data.collate import Padding
from accel_clf.models.checks import vocabulary_size
from accel_clf.models.traits import COUNTS_EOS, model_type


def set_padding_token(model: nn.Module, tokenizer: Any, name: str) -> None:
    """Let a model and its tokenizer know a padding token, where either lacks one or has one beyond the embeddings.

    It is the other's, or else the end-of-sequence token. Heads of decoders look for a row's last token that is not
    padding, by the configuration's token. Where a head counts end-of-sequence tokens, special tokens in texts are read
    as plain text from now on.

    Args:
        model: a classifier; its configuration changes.
        tokenizer: the model's; changes.
        name: the setting model.name, for messages.

    Raises:
        ConfigError: there is no token that could pad, or a head reads an end-of-sequence token and rows have none.
    """
    config: Any = model.config
    texts: Any = config.get_text_config()
    if (pad_id := _padding_id(model, tokenizer)) is None:
        raise ConfigError(
            f"{name}: neither its tokenizer nor its config.json has a padding token, nor one for the end of a text",
            "a token that batches can be padded with",
            'put a "pad_token" into its tokenizer_config.json',
        )
    if not _is_embedded(tokenizer.pad_token_id, model):
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad_id)
    for part in {id(part): part for part in (config, texts)}.values():
        if not _is_embedded(getattr(part, "pad_token_id", None), model):
            part.pad_token_id = pad_id
    if model_type(model) in COUNTS_EOS:
        tokenizer.split_special_tokens = tokenizer.init_kwargs["split_special_tokens"] = True  # now, and once saved
        if not _ending(model, tokenizer, with_pairs=False):
            raise ConfigError(
                f"{name}: its head reads a row's last end-of-sequence token, and its tokenizer adds none",
                f"rows that end in token {config.eos_token_id}",
                "check that the folder's tokenizer files are this model's",
            )


def padding_of(model: nn.Module, tokenizer: Any, with_pairs: bool) -> Padding:
    """Say how a model's rows are padded.

    Args:
        model: a classifier, see `set_padding_token`.
        tokenizer: the model's.
        with_pairs: whether rows are pairs of texts.
    """
    pad_id = _padding_id(model, tokenizer)
    return Padding(pad_id or 0, tokenizer.padding_side, _ending(model, tokenizer, with_pairs))


def _ending(model: nn.Module, tokenizer: Any, with_pairs: bool) -> tuple[int, ...]:
    """Return what each row, also one that stands for none, must have of end-of-sequence tokens."""
    if model_type(model) not in COUNTS_EOS:
        return ()
    config: Any = model.config
    eos_id: int = config.eos_token_id
    special: list[int] = (tokenizer("a", "a") if with_pairs else tokenizer("a"))["input_ids"]
    return (eos_id,) * special.count(eos_id)


def _padding_id(model: nn.Module, tokenizer: Any) -> int | None:
    texts: Any = model.config.get_text_config()  # type: ignore[union-attr,operator]
    candidates = (getattr(texts, "pad_token_id", None), tokenizer.pad_token_id, tokenizer.eos_token_id)
    return next((token for token in candidates if _is_embedded(token, model)), None)


def _is_embedded(token: int | None, model: nn.Module) -> bool:
    """Whether a token is one of a model's."""
    vocabulary = vocabulary_size(model)
    return token is not None and token >= 0 and (vocabulary is None or token < vocabulary)
