"""Texts to token ids, once: cached on disk under a digest of texts and tokenizer, and memory-mapped.

A pair is one row, as tokenizer(text, pair) encodes it, and is truncated by its longer side first. Where the model tells
the two apart by token types, a row's tokens are not [length] but [length, 2]: ids, and types.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.config.schema import WindowsConfig
from accel_clf.core.cache import cache_folder, cache_lock
from accel_clf.core.chunks import chunks
from accel_clf.core.console import progress_bar
from accel_clf.core.errors import ConfigError
from accel_clf.core.files import atomic_dir
from accel_clf.data.dataset import Dataset
from accel_clf.data.texts import Text, swap
from accel_clf.data.windows import check_stride, kept_windows

CHUNK_SIZE = 256  # texts per call: while it works, a tokenizer takes a hundred times the memory of the texts
NO_WINDOWS = WindowsConfig()
FORMAT = 2  # to be incremented when the meaning of the cached files changes


@dataclass(frozen=True)
class TokenizedDataset:
    """The token ids of rows, including special tokens, truncated to a maximum length.

    Attributes:
        ids: uint16 or int32 [all tokens], row after row; with token types [all tokens, 2].
        starts, ends: int64 [rows]: row k is ids[starts[k]:ends[k]].
        largest: the largest id.
        swapped: the same rows with their pairs in the other order, where both are trained on and asked.
    """

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    largest: int
    swapped: "TokenizedDataset | None" = None

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.ids[self.starts[row] : self.ends[row]]

    @property
    def lengths(self) -> np.ndarray:
        """int64 [rows]: tokens per row."""
        lengths: np.ndarray = self.ends - self.starts
        return lengths

    def take(self, indices: np.ndarray) -> "TokenizedDataset":
        """Select rows by their int64 indices; the ids are shared, not copied."""
        swapped = self.swapped.take(indices) if self.swapped else None
        return replace(self, starts=self.starts[indices], ends=self.ends[indices], swapped=swapped)

    def in_both_orders(self) -> "TokenizedDataset":
        """Return these rows, and after them their pairs in the other order, if these are asked, too."""
        if self.swapped is None:
            return self
        parts = (self, self.swapped)  # of the same ids
        starts, ends = (np.concatenate([getattr(part, name) for part in parts]) for name in ("starts", "ends"))
        return replace(self, starts=starts, ends=ends, swapped=None)

    def with_orders_apart(self) -> "TokenizedDataset":
        """Return the first half of the rows, with the second half as their pairs in the other order."""
        first, second = np.split(np.arange(len(self)), 2)
        return replace(self.take(first), swapped=self.take(second))


def tokenize(
    rows: Dataset,
    tokenizer: Any,
    max_length: int,
    cache: Path | None = None,
    show_progress: bool = True,
    windows: WindowsConfig = NO_WINDOWS,
    *,
    with_types: bool = False,
) -> TokenizedDataset:
    """Tokenize `rows`, or read their tokens from the cache.

    Args:
        rows: the texts.
        tokenizer: a fast tokenizer of transformers.
        max_length: maximum tokens per row or window, including special tokens.
        cache: the cache folder; None for cache_folder().
        show_progress: whether to show a progress bar.
        windows: whether and how longer texts are read in windows.
        with_types: whether to keep token types.

    Raises:
        ConfigError: the tokenizer is not a fast one, or windows have no token that is new.
    """
    if rows.is_symmetric:
        both = replace(rows.in_both_orders(), is_symmetric=False)
        in_both = tokenize(both, tokenizer, max_length, cache, show_progress, windows, with_types=with_types)
        return in_both.with_orders_apart()
    identity = f"{FORMAT} {rows.fingerprint()} {max_length} {tokenizer_digest(tokenizer)}"
    if windows.stride is not None:
        identity += f" windows {windows.stride} {windows.most}"
    if with_types:
        identity += " types"
    folder = (cache or cache_folder()) / "tokens" / hashlib.sha256(identity.encode()).hexdigest()[:32]
    with cache_lock(folder):
        tokens = _load(folder)
        if tokens is None or len(tokens) != len(rows):
            tokens = _write(folder, rows, tokenizer, max_length, windows, show_progress, with_types)
    return tokens


def tokenize_texts(
    texts: Sequence[Text],
    tokenizer: Any,
    max_length: int,
    windows: WindowsConfig = NO_WINDOWS,
    *,
    with_types: bool = False,
    is_symmetric: bool = False,
) -> TokenizedDataset:
    """Tokenize a list of texts, all pairs or none, in memory, as `tokenize` does; of symmetric pairs both orders."""
    if is_symmetric:
        both = [*texts, *map(swap, texts)]
        return tokenize_texts(both, tokenizer, max_length, windows, with_types=with_types).with_orders_apart()
    flat, lengths, largest = _encode(texts, tokenizer, max_length, windows, with_types)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    return TokenizedDataset(flat.astype(np.int32), bounds[:-1], bounds[1:], largest)


def tokenizer_digest(tokenizer: Any) -> str:
    """Return a digest of all that determines the output of a fast tokenizer.

    Raises:
        ConfigError: the tokenizer is not a fast one.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ConfigError(
            f"a tokenizer of class {type(tokenizer).__name__}, which is not a fast one",
            "a fast tokenizer, with a tokenizer.json",
        )
    # Each call of the tokenizer changes these two; the rest is the tokenizer itself, always in the same order.
    # They are cut out of the text, since to parse and serialize all of it takes many times as long.
    text = _remove_key(_remove_key(backend.to_str(), "truncation"), "padding")
    sides = f"{tokenizer.truncation_side} {tokenizer.padding_side}" + (
        " split" if tokenizer.split_special_tokens else ""
    )
    return hashlib.sha256((text + sides).encode()).hexdigest()


def _remove_key(text: str, name: str) -> str:
    """Remove the first key `name` and its value from the text of a JSON object."""
    before, key, after = text.partition(f'"{name}":')
    return before + key + after[json.JSONDecoder().raw_decode(after)[1] :] if key else text


def _encode(
    texts: Sequence[Text], tokenizer: Any, max_length: int, windows: WindowsConfig, with_types: bool
) -> tuple[np.ndarray, np.ndarray, int]:
    """Tokenize texts: int64 [all tokens] (or [all tokens, 2]), int64 [texts], each one's tokens, and the largest id."""
    types = None
    if windows.stride is not None:
        rows = _encode_in_windows(texts, tokenizer, max_length, windows.stride, windows.most)
    else:
        inputs = (texts,) if isinstance(texts[0], str) else tuple(map(list, zip(*texts, strict=True)))
        encoded = tokenizer(
            *inputs,
            truncation=True,
            max_length=max_length,
            return_attention_mask=False,
            return_token_type_ids=with_types,
            return_special_tokens_mask=tokenizer.split_special_tokens,
        )
        rows = encoded["input_ids"]
        if ends := ends_in_texts(tokenizer):
            rows = [
                without_ends(row, mask, *ends) for row, mask in zip(rows, encoded["special_tokens_mask"], strict=True)
            ]
        types = encoded["token_type_ids"] if with_types else None
    if not all(rows):
        stand_in = token_for_nothing(tokenizer)
        rows = [row or [stand_in] for row in rows]
        types = [kinds or [0] for kinds in types] if types is not None else None
    ids = np.fromiter((token for row in rows for token in row), np.int64)
    lengths, largest = np.array([len(row) for row in rows], np.int64), int(ids.max(initial=0))
    if types is not None:
        ids = np.stack([ids, np.fromiter((kind for row in types for kind in row), np.int64)], axis=1)
    return ids, lengths, largest


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


def _encode_in_windows(
    texts: Sequence[Text], tokenizer: Any, max_length: int, stride: int, most: int
) -> list[list[int]]:
    """Tokenize single texts, each to the tokens of its windows."""
    check_stride(stride, max_length, tokenizer.num_special_tokens_to_add())
    encoded = tokenizer(
        texts,
        truncation=True,
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        return_special_tokens_mask=tokenizer.split_special_tokens,
    )
    if ends := ends_in_texts(tokenizer):
        windows = zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True)
        encoded["input_ids"] = [without_ends(ids, mask, *ends) for ids, mask in windows]
    of_texts: list[list[list[int]]] = [[] for _ in texts]
    for text, window in zip(encoded["overflow_to_sample_mapping"], encoded["input_ids"], strict=True):
        of_texts[text].append(window)
    return [[token for number in kept_windows(len(of_text), most) for token in of_text[number]] for of_text in of_texts]


def _write(
    folder: Path,
    rows: Dataset,
    tokenizer: Any,
    max_length: int,
    windows: WindowsConfig,
    show_progress: bool,
    with_types: bool,
) -> TokenizedDataset:
    dtype = np.uint16 if max(tokenizer.get_vocab().values()) < 2**16 else np.int32
    lengths = [np.zeros(1, np.int64)]
    largest = 0
    with atomic_dir(folder) as unfinished:
        with (unfinished / "ids").open("wb") as file, progress_bar("tokenizing", len(rows), show_progress) as bar:
            for texts in chunks(rows.texts(), CHUNK_SIZE):
                ids, row_lengths, largest_id = _encode(texts, tokenizer, max_length, windows, with_types)
                largest = max(largest, largest_id)
                file.write(ids.astype(dtype).tobytes())  # unlike tofile, reports why it fails
                lengths.append(row_lengths)
                bar.advance(len(texts))
        np.save(unfinished / "bounds.npy", np.cumsum(np.concatenate(lengths)))
        meta = {"kind": np.dtype(dtype).name, "largest": largest} | ({"columns": 2} if with_types else {})
        (unfinished / "meta.json").write_text(json.dumps(meta))
    tokens = _load(folder)
    assert tokens is not None
    return tokens


def _load(folder: Path) -> TokenizedDataset | None:
    """Read the tokens in a folder; None if there are none, or they are incomplete."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        bounds = np.load(folder / "bounds.npy")
        dtype, columns = np.dtype(meta["kind"]), meta.get("columns", 1)
        if (folder / "ids").stat().st_size != bounds[-1] * dtype.itemsize * columns:
            return None
        # A plain array over the mapped file: slicing a memmap costs ten times as much.
        ids = np.asarray(np.memmap(folder / "ids", dtype, mode="r")) if bounds[-1] else np.empty(0, dtype)
        ids = ids if columns == 1 else ids.reshape(-1, columns)
        return TokenizedDataset(ids, bounds[:-1], bounds[1:], meta["largest"])
    except (OSError, ValueError, KeyError):
        return None
