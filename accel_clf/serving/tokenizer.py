"""Texts to token ids, as evaluation makes them, in the threads of their requests."""

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from tokenizers import Encoding, Tokenizer

from accel_clf.data.texts import Text, check_text, sides, swap
from accel_clf.data.tokenizers import without_ends
from accel_clf.data.windows import kept_windows
from accel_clf.inference.failures import answer_apart
from accel_clf.serving.errors import FailedTextsError, TooLongError
from accel_clf.serving.worker import LoadedModel


@dataclass(frozen=True)
class TokenizedText:
    """A text as the model reads it.

    Attributes:
        ids: int32 [tokens], including special tokens; with token types [tokens, 2].
        full_length: number of tokens of the whole text.
        is_truncated: whether the model does not read all of it.
        swapped: `ids` of a pair in its other order, where both are asked.
    """

    ids: np.ndarray
    full_length: int
    is_truncated: bool
    swapped: np.ndarray | None = None


class TextTokenizer:
    """The tokenizer of a run, which threads share.

    Args:
        model: that the worker has loaded.
        has_pairs: whether a text is a pair.
    """

    def __init__(self, model: LoadedModel, has_pairs: bool) -> None:
        data = model.config.data
        self._max_length, self._has_pairs = data.max_length, has_pairs
        self._with_types, self._is_symmetric = model.with_types, data.symmetric
        self._stride = data.windows.stride or 0
        self._max_windows = 1 if data.windows.stride is None else data.windows.most
        self._model, self._truncation_side = model, model.truncation_side
        self._tokenizer = self._tokenizer_of_side(model.truncation_side)
        self._tokenizer_slots = threading.BoundedSemaphore(os.cpu_count() or 1)

    def tokenize(self, texts: Sequence[Text], truncate: bool = True, side: str | None = None) -> list[TokenizedText]:
        """Tokenize texts exactly as evaluation does.

        Args:
            texts: to tokenize.
            truncate: whether to truncate those that are too long, rather than to refuse them.
            side: of a text that truncation removes, "left" or "right"; None for the tokenizer's own.

        Raises:
            TooLongError: a text is too long, and `truncate` is false.
            DataError: a text contains a lone surrogate.
            FailedTextsError: the tokenizer fails on some of the texts.
        """
        for index, text in enumerate(texts):
            for each in sides(text):
                check_text(each, f"inputs[{index}]")
        tokenized = []
        is_own = side in (None, self._truncation_side)
        tokenizer = self._tokenizer if is_own else self._tokenizer_of_other_side
        encodings = self._encode(tokenizer, texts)
        for index, encoding in enumerate(encodings):
            windows = [encoding, *encoding.overflowing]
            full_length, is_truncated = self._full_length(texts[index], windows), len(windows) > self._max_windows
            if is_truncated and not truncate:
                raise TooLongError(index, full_length, self._max_length)
            tokenized.append(TokenizedText(self._ids_of(windows), full_length, is_truncated))
        if self._is_symmetric:
            encodings = self._encode(tokenizer, list(map(swap, texts)))
            swapped = (self._ids_of([encoding]) for encoding in encodings)
            tokenized = [replace(text, swapped=ids) for text, ids in zip(tokenized, swapped, strict=True)]
        return tokenized

    def _encode(self, tokenizer: Tokenizer, texts: Sequence[Text]) -> list[Encoding]:
        with self._tokenizer_slots:  # the tokenizer temporarily takes a hundred times a text's memory
            try:
                encodings: list[Encoding] = tokenizer.encode_batch_fast(list(texts))
                return encodings
            except Exception:  # of no class of its own
                encoded, failures = answer_apart(tokenizer.encode_batch_fast, texts)
        if failures:
            raise FailedTextsError(failures)
        return [encoded[index] for index in range(len(texts))]

    @cached_property
    def _tokenizer_of_other_side(self) -> Tokenizer:
        """The tokenizer that truncates at the other side than the run's; few clients ask for it."""
        side = "left" if self._truncation_side == "right" else "right"
        return self._tokenizer_of_side(side)

    def _tokenizer_of_side(self, side: str) -> Tokenizer:
        """Return a tokenizer whose state never changes after this, so that threads can share it."""
        tokenizer = Tokenizer.from_str(self._model.tokenizer)
        tokenizer.no_padding()
        tokenizer.enable_truncation(self._max_length, stride=self._stride, direction=side)
        tokenizer.encode_special_tokens = self._model.ends_in_texts is not None
        return tokenizer

    def _ids_of(self, windows: Sequence[Encoding]) -> np.ndarray:
        kept = [windows[number] for number in kept_windows(len(windows), self._max_windows)]
        if not any(window.ids for window in kept):
            nothing = [[self._model.token_for_nothing, 0]] if self._with_types else [self._model.token_for_nothing]
            return np.array(nothing, np.int32)
        ids = np.concatenate([self._plain_ids(window) for window in kept]).astype(np.int32)
        if not self._with_types:
            return ids
        return np.stack([ids, np.concatenate([window.type_ids for window in kept]).astype(np.int32)], axis=1)

    def _plain_ids(self, window: Encoding) -> list[int]:
        ends = self._model.ends_in_texts
        return without_ends(window.ids, window.special_tokens_mask, *ends) if ends else window.ids

    def _full_length(self, text: Text, windows: Sequence[Encoding]) -> int:
        """Count the tokens of a whole text, some of which are in several of its windows."""
        [first, *others] = windows
        special = sum(first.special_tokens_mask)
        if others and self._has_pairs:  # whose windows repeat tokens: of one side with each piece of the other
            return special + sum(len(piece) - sum(piece.special_tokens_mask) for piece in self._pieces(text))
        return len(first.ids) + sum(len(window.ids) - special - self._stride for window in others)

    def _pieces(self, text: Text) -> list[Encoding]:
        """Encode each side alone, in pieces of at most max_length tokens."""
        with self._tokenizer_slots:
            encodings = self._tokenizer.encode_batch_fast(list(sides(text)), add_special_tokens=False)
        return [piece for encoding in encodings for piece in (encoding, *encoding.overflowing)]

    def find_read_spans(self, text: Text) -> list[slice]:
        """Return the span of characters that the model reads of a text, or of each one of a pair.

        Raises:
            DataError: the text contains a lone surrogate.
        """
        texts = sides(text)
        for side in texts:
            check_text(side, "inputs")
        with self._tokenizer_slots:
            [encoding] = self._tokenizer.encode_batch([text])
        if not encoding.overflowing or self._max_windows > 1:
            return [slice(0, len(side)) for side in texts]  # of windows that are left out, the words have no weight
        spans = []
        for index, side in enumerate(texts):
            tokens = zip(encoding.offsets, encoding.sequence_ids, strict=True)
            offsets = [offset for offset, of_side in tokens if of_side == index] or [(0, len(side))]  # no token: blank
            spans.append(slice(min(start for start, _ in offsets), max(end for _, end in offsets)))
        return spans
