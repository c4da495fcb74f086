"""Tokenizers: what determines their output, which are written in Python, and what stands for a text without tokens."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from accel_clf.core.errors import ConfigError

PYTHON_TOKENIZER = "the tokenizer is written in Python (no tokenizer.json), which is many times as slow as a fast one"
NOT_IN_DIGEST = {"name_or_path", "is_local", "local_files_only", "model_max_length", "backend"}


def is_fast(tokenizer: Any) -> bool:
    """Whether a tokenizer is one of the tokenizers library, rather than written in Python."""
    return getattr(tokenizer, "backend_tokenizer", None) is not None


def tokenizer_digest(tokenizer: Any) -> str:
    """Return a digest of all that determines the output of a tokenizer."""
    sides = f"{tokenizer.truncation_side} {tokenizer.padding_side}"
    if tokenizer.split_special_tokens:
        sides += " split"
    if not is_fast(tokenizer):
        return hashlib.sha256((_files_digest(tokenizer) + sides).encode()).hexdigest()
    # Each call of the tokenizer changes these two; the rest is the tokenizer itself, always in the same order.
    # They are cut out of the text, since to parse and serialize all of it takes many times as long.
    text = _remove_key(_remove_key(tokenizer.backend_tokenizer.to_str(), "truncation"), "padding")
    return hashlib.sha256((text + sides).encode()).hexdigest()


def _files_digest(tokenizer: Any) -> str:
    """Digest what a tokenizer saves, and its class."""
    digest = hashlib.sha256(type(tokenizer).__name__.encode())
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        for path in sorted(Path(folder).iterdir()):
            content = path.read_bytes()
            if path.name == "tokenizer_config.json":  # where it comes from, and how long rows are, is no part of it
                options = json.loads(content)
                kept = {key: value for key, value in options.items() if key not in NOT_IN_DIGEST}
                content = json.dumps(kept, sort_keys=True).encode()
            digest.update(path.name.encode() + content)
    return digest.hexdigest()


def _remove_key(text: str, name: str) -> str:
    """Remove the first key `name` and its value from the text of a JSON object."""
    before, key, after = text.partition(f'"{name}":')
    return before + key + after[json.JSONDecoder().raw_decode(after)[1] :] if key else text


def ends_in_texts(tokenizer: Any) -> tuple[int, int] | None:
    """Return the end-of-sequence token and what a text has in its place; None where texts may have special tokens."""
    if not tokenizer.split_special_tokens:
        return None
    plain = tokenizer.unk_token_id if tokenizer.unk_token_id is not None else tokenizer.pad_token_id
    return tokenizer.eos_token_id, plain


def without_ends(ids: Sequence[int], special_tokens_mask: Sequence[int], eos_id: int, plain_id: int) -> list[int]:
    """Replace end-of-sequence tokens that the text itself has: some tokenizers know their names as words, too.

    Args:
        ids: of a row.
        special_tokens_mask: 1 where the tokenizer has added a token.
        eos_id, plain_id: see `ends_in_texts`.
    """
    is_added = zip(ids, special_tokens_mask, strict=True)
    return [plain_id if token == eos_id and not added else token for token, added in is_added]


def token_for_nothing(tokenizer: Any) -> int:
    """Return the token of a text that has none; it is no padding, which heads of decoders look past.

    Raises:
        ConfigError: the tokenizer knows no token at all.
    """
    special = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id, *tokenizer(".")["input_ids"])
    tokens = [token for token in special if token is not None]
    if not tokens:
        raise ConfigError(
            f"a tokenizer of class {type(tokenizer).__name__}, which gives no token for a text",
            "a tokenizer with a vocabulary",
        )
    return int(next((token for token in tokens if token != tokenizer.pad_token_id), tokens[0]))
