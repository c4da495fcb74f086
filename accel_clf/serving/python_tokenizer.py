"""Texts to token ids by a tokenizer that is written in Python: one text after another, and without offsets."""

import copy
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from accel_clf.data.texts import Text, check_text, sides
from accel_clf.data.tokenization import tokenize_texts
from accel_clf.serving.errors import TooLongError
from accel_clf.serving.tokenizer import TextTokenizer, TokenizedText
from accel_clf.serving.worker import LoadedModel

UNLIMITED = 10**9


class PythonTextTokenizer:
    """The tokenizer of a run, which threads share; see `TextTokenizer`, which has the same methods.

    Args:
        model: that the worker has loaded.
        has_pairs: whether a text is a pair.
    """

    def __init__(self, model: LoadedModel, has_pairs: bool) -> None:
        self._model, self._max_length = model, model.config.data.max_length
        self._of_side: dict[str, Any] = {}
        for side in ("left", "right"):
            self._of_side[side] = copy.copy(model.tokenizer)
            self._of_side[side].truncation_side = side
        self._lock = threading.Lock()

    def tokenize(self, texts: Sequence[Text], truncate: bool = True, side: str | None = None) -> list[TokenizedText]:
        """Tokenize texts exactly as evaluation does, see `TextTokenizer.tokenize`."""
        for index, text in enumerate(texts):
            for each in sides(text):
                check_text(each, f"inputs[{index}]")
        tokenized = []
        for index, text in enumerate(texts):
            length = self._length(text)
            if length > self._max_length and not truncate:
                raise TooLongError(index, length, self._max_length)
            with self._lock:
                rows = tokenize_texts(
                    [text],
                    self._of_side[side or self._model.truncation_side],
                    self._max_length,
                    with_types=self._model.with_types,
                    is_symmetric=self._model.config.data.symmetric,
                )
            swapped = None if rows.swapped is None else rows.swapped[0]
            tokenized.append(TokenizedText(rows[0], length, length > self._max_length, swapped))
        return tokenized

    def find_read_spans(self, text: Text) -> list[slice]:
        """Return the span of characters that the model reads of a text; of a pair all of both."""
        texts = sides(text)
        for each in texts:
            check_text(each, "inputs")
        if not isinstance(text, str) or self._length(text) <= self._max_length:
            return [slice(0, len(each)) for each in texts]
        from_end = self._model.truncation_side == "left"
        shortest, longest = 0, len(text)  # the least of the text that fills the row
        while shortest < longest:
            middle = (shortest + longest) // 2
            part = text[len(text) - middle :] if from_end else text[:middle]
            if self._length(part) < self._max_length:
                shortest = middle + 1
            else:
                longest = middle
        return [slice(len(text) - shortest, len(text)) if from_end else slice(0, shortest)]

    def _length(self, text: Text) -> int:
        """Count the tokens of a whole text."""
        with self._lock:
            tokens = tokenize_texts([text], self._model.tokenizer, UNLIMITED)
        return int(np.sum(tokens.lengths))


def text_tokenizer(model: LoadedModel, has_pairs: bool) -> TextTokenizer | PythonTextTokenizer:
    """Make the tokenizer of a run."""
    make = TextTokenizer if isinstance(model.tokenizer, str) else PythonTextTokenizer
    return make(model, has_pairs)
