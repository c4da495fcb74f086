"""Texts to token ids, once: kept on disk under a digest of texts and tokenizer, and read through a memory map."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.core.cache import cache_folder, cache_lock
from accel_clf.core.console import progress_bar
from accel_clf.core.errors import ConfigError
from accel_clf.core.files import atomic_dir
from accel_clf.data.dataset import Dataset

TEXTS_AT_ONCE = 256  # what the tokenizer makes of a text on the way takes a hundred times its memory


FORMAT = 2  # goes up when the files' meaning changes


@dataclass(frozen=True)
class TokenizedDataset:
    """The token ids of rows, special tokens included, cut to a length.

    Attributes:
        ids: uint16 or int32 [all tokens], one row after the other.
        starts, ends: int64 [rows]: row k is ids[starts[k]:ends[k]].
        largest: the largest id among them.
    """

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    largest: int

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.ids[self.starts[row] : self.ends[row]]

    @property
    def lengths(self) -> np.ndarray:
        """int64 [rows]: tokens a row."""
        lengths: np.ndarray = self.ends - self.starts
        return lengths

    def take(self, which: np.ndarray) -> "TokenizedDataset":
        """The rows at `which` (int64 positions); the ids are shared, not copied."""
        return replace(self, starts=self.starts[which], ends=self.ends[which])


def tokenize(
    rows: Dataset, tokenizer: Any, max_length: int, cache: Path | None = None, show_progress: bool = True
) -> TokenizedDataset:
    """The tokens of `rows`, from the cache where it has them.

    Args:
        rows: the texts.
        tokenizer: a fast tokenizer of transformers.
        max_length: tokens a row may have, special tokens included.
        cache: the folder to keep them in; None for cache_folder().
        show_progress: whether to show progress.
    """
    identity = f"{FORMAT} {rows.fingerprint()} {max_length} {tokenizer_digest(tokenizer)}"
    folder = (cache or cache_folder()) / "tokens" / hashlib.sha256(identity.encode()).hexdigest()[:32]
    with cache_lock(folder):
        tokens = _load(folder)
        if tokens is None or len(tokens) != len(rows):
            tokens = _write(folder, rows, tokenizer, max_length, show_progress)
    return tokens


def tokenize_texts(texts: list[str], tokenizer: Any, max_length: int) -> TokenizedDataset:
    """The tokens of a list of texts, in memory."""
    ids = _encode(texts, tokenizer, max_length)
    flat = np.fromiter((token for row in ids for token in row), np.int32)
    bounds = np.concatenate([[0], np.cumsum([len(row) for row in ids])]).astype(np.int64)
    return TokenizedDataset(flat, bounds[:-1], bounds[1:], int(flat.max(initial=0)))


def tokenizer_digest(tokenizer: Any) -> str:
    """What decides a fast tokenizer's answers.

    Raises:
        ConfigError: the tokenizer is not a fast one.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ConfigError(
            f"a tokenizer of class {type(tokenizer).__name__}, which has no fast form",
            "a tokenizer with a tokenizer.json",
        )
    # Every call sets these two anew; the rest is the tokenizer itself, always written in the same order.
    # They are cut from the text, as to read and write all of it takes many times as long.
    text = _without(_without(backend.to_str(), "truncation"), "padding")
    sides = f"{tokenizer.truncation_side} {tokenizer.padding_side}"
    return hashlib.sha256((text + sides).encode()).hexdigest()


def _without(text: str, name: str) -> str:
    """JSON's text without the first value that is called `name`."""
    before, key, after = text.partition(f'"{name}":')
    return before + key + after[json.JSONDecoder().raw_decode(after)[1] :] if key else text


def _encode(texts: list[str], tokenizer: Any, max_length: int) -> list[list[int]]:
    encoded = tokenizer(
        texts, truncation=True, max_length=max_length, return_attention_mask=False, return_token_type_ids=False
    )
    ids: list[list[int]] = encoded["input_ids"]
    return ids


def _write(folder: Path, rows: Dataset, tokenizer: Any, max_length: int, show_progress: bool) -> TokenizedDataset:
    kind = np.uint16 if max(tokenizer.get_vocab().values()) < 2**16 else np.int32
    lengths = [np.zeros(1, np.int64)]
    largest = 0
    with atomic_dir(folder) as unfinished:
        with (unfinished / "ids").open("wb") as file, progress_bar("tokenizing", len(rows), show_progress) as progress:
            for texts in _chunks(rows.texts()):
                ids = _encode(texts, tokenizer, max_length)
                flat = np.fromiter((token for row in ids for token in row), np.int64)
                largest = max(largest, int(flat.max(initial=0)))
                file.write(flat.astype(kind).tobytes())  # unlike tofile, says why it cannot
                lengths.append(np.array([len(row) for row in ids], np.int64))
                progress.advance(len(texts))
        np.save(unfinished / "bounds.npy", np.cumsum(np.concatenate(lengths)))
        (unfinished / "meta.json").write_text(json.dumps({"kind": np.dtype(kind).name, "largest": largest}))
    tokens = _load(folder)
    assert tokens is not None
    return tokens


def _load(folder: Path) -> TokenizedDataset | None:
    """The tokens in a folder; None where there are none, or not whole."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        bounds = np.load(folder / "bounds.npy")
        kind = np.dtype(meta["kind"])
        if (folder / "ids").stat().st_size != bounds[-1] * kind.itemsize:
            return None
        # A plain array over the mapped file: slices of a memmap cost ten times as much.
        ids = np.asarray(np.memmap(folder / "ids", kind, mode="r")) if bounds[-1] else np.empty(0, kind)
        return TokenizedDataset(ids, bounds[:-1], bounds[1:], meta["largest"])
    except (OSError, ValueError, KeyError):
        return None


def _chunks(texts: Iterator[str]) -> Iterator[list[str]]:
    while chunk := list(islice(texts, TEXTS_AT_ONCE)):
        yield chunk
