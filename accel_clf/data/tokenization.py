"""Texts to token ids, once: cached on disk under a digest of texts and tokenizer, and memory-mapped.

A pair is one row, as tokenizer(text, pair) encodes it, and is truncated by its longer side first. Where the model tells
the two apart by token types, a row's tokens are not [length] but [length, 2]: ids, and types.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.config.schema import WindowsConfig
from accel_clf.core.cache import cache_folder, cache_lock
from accel_clf.core.chunks import chunks
from accel_clf.core.console import progress_bar
from accel_clf.core.errors import ConfigError, DataError, UserError, is_of_input
from accel_clf.core.files import atomic_dir
from accel_clf.data.dataset import Dataset
from accel_clf.data.texts import Text, sides, swap
from accel_clf.data.tokenizers import ends_in_texts, is_fast, token_for_nothing, tokenizer_digest, without_ends
from accel_clf.data.windows import check_stride, kept_windows

CHUNK_SIZE = 256  # texts per call: while it works, a tokenizer takes a hundred times the memory of the texts
SHOWN_CHARACTERS = 80  # of a text, in messages
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
        tokenizer: of transformers.
        max_length: maximum tokens per row or window, including special tokens.
        cache: the cache folder; None for cache_folder().
        show_progress: whether to show a progress bar.
        windows: whether and how longer texts are read in windows.
        with_types: whether to keep token types.

    Raises:
        ConfigError: windows have no token that is new, or the tokenizer cannot make any.
        DataError: the tokenizer fails on a text.
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


def describe_nothing(tokens: TokenizedDataset, tokenizer: Any, rows: str) -> str | None:
    """Say how many rows have no token of their own; None if all have.

    Args:
        tokens: of the rows.
        tokenizer: that made them.
        rows: what the rows are called.
    """
    if tokenizer("")["input_ids"]:  # no row is empty
        return None
    short = np.flatnonzero(tokens.lengths == 1)
    first = tokens.ids.reshape(len(tokens.ids), -1)[tokens.starts[short], 0]
    count = int((first == token_for_nothing(tokenizer)).sum())
    return f"{count} of {len(tokens)} {rows} have no token, and one stands for their text" if count else None


def _encode_in_windows(
    texts: Sequence[Text], tokenizer: Any, max_length: int, stride: int, most: int
) -> list[list[int]]:
    """Tokenize single texts, each to the tokens of its windows."""
    if not is_fast(tokenizer):
        raise ConfigError(
            f"data.windows.stride, and a tokenizer of class {type(tokenizer).__name__}, written in Python",
            "a fast tokenizer, with a tokenizer.json, for windows",
            "--data.windows.stride null",
        )
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
    is_small = is_fast(tokenizer) and max(tokenizer.get_vocab().values()) < 2**16
    dtype = np.uint16 if is_small else np.int32

    def encode(texts: Sequence[Text]) -> tuple[np.ndarray, np.ndarray, int]:
        return _encode(texts, tokenizer, max_length, windows, with_types)

    lengths = [np.zeros(1, np.int64)]
    largest = 0
    with atomic_dir(folder) as unfinished:
        with (unfinished / "ids").open("wb") as file, progress_bar("tokenizing", len(rows), show_progress) as bar:
            for texts in chunks(rows.texts(), CHUNK_SIZE):
                try:
                    ids, row_lengths, largest_id = encode(texts)
                except UserError:
                    raise
                except Exception as error:
                    raise _explain(error, texts, encode, rows.origin) from error
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


def _explain(
    error: Exception, texts: Sequence[Text], encode: Callable[[Sequence[Text]], object], origin: str
) -> Exception:
    """Return the error that shows the first of some texts that a tokenizer fails on, or `error` if it fails on none.

    Args:
        error: what it has raised for all of them.
        texts: of which some may be fine.
        encode: tokenizes texts.
        origin: where they are from.
    """
    for text in texts:
        try:
            encode([text])
        except Exception as alone:
            if not is_of_input(alone):
                break
            start = repr(" / ".join(sides(text))[:SHOWN_CHARACTERS])
            reason = ": ".join([type(alone).__name__, *str(alone).strip().splitlines()[:1]])
            return DataError(
                f"{origin}: the tokenizer fails on the text that begins with {start} ({reason})",
                "texts that it takes",
                "leave the row out, or take a model whose tokenizer knows a token for what it does not know",
            )
    return error


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
