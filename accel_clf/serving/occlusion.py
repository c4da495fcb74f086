"""Word importance: leave each word out in turn and measure how much of its score the label loses.

Occlusion, after M. D. Zeiler and R. Fergus, Visualizing and Understanding Convolutional Networks, 2014. It needs only
the model's predictions, so it explains exactly the model that is served.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from accel_clf.data.texts import Text

MAX_PARTS = 64

# A word with the whitespace around it, or a single character of a script that does not separate words by spaces.
_UNSPACED = "\u0e00-\u0e7f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"\s*(?:[{_UNSPACED}]|[^\s{_UNSPACED}]+)\s*|\s+")


def split_text(text: str, max_parts: int = MAX_PARTS) -> list[str]:
    """Return a text's words in order, adjacent ones merged where there are too many; joined, they are the text."""
    words = _WORD.findall(text)
    if len(words) <= max_parts:
        return words
    bounds = np.linspace(0, len(words), max_parts + 1).round().astype(int)
    return ["".join(words[start:end]) for start, end in pairwise(bounds.tolist())]


def leave_one_out(parts: Sequence[list[str]]) -> list[Text]:
    """Return a text, and the text without its first part, without its second, and so on.

    Args:
        parts: of the text; of a pair, of each of its texts: a part of the first is left out, then of the second.
    """
    whole = ["".join(of_side) for of_side in parts]
    texts = [whole]
    for side, of_side in enumerate(parts):
        for index in range(len(of_side)):
            texts.append([*whole[:side], "".join(of_side[:index] + of_side[index + 1 :]), *whole[side + 1 :]])
    return [text[0] if len(text) == 1 else (text[0], text[1]) for text in texts]


def part_weights(full_scores: np.ndarray, occluded_scores: np.ndarray, label: int) -> list[float]:
    """Return how much of a label's score is lost without each part.

    Args:
        full_scores: the scores of the whole text, float64 [scores].
        occluded_scores: the scores of the text without each part, float64 [parts, scores].
        label: the index of its score.
    """
    weights: list[float] = (full_scores[label] - occluded_scores[:, label]).tolist()
    return weights
