"""Which words matter: leave each out in turn and see what the label loses.

Occlusion, after M. D. Zeiler and R. Fergus, Visualizing and Understanding Convolutional Networks, 2014. It asks nothing
of the model but answers, so what it says is about the very model that serves.
"""

import re
from itertools import pairwise

import numpy as np

MOST_PARTS = 64

# A word, with the space after it; a letter of scripts that do not part words by spaces.
_UNSPACED = "\u0e00-\u0e7f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"\s*(?:[{_UNSPACED}]|[^\s{_UNSPACED}]+)\s*|\s+")


def parts(text: str, most: int = MOST_PARTS) -> list[str]:
    """A text's words in order, which make the text when joined; neighbours together where there are too many."""
    words = _WORD.findall(text)
    if len(words) <= most:
        return words
    bounds = np.linspace(0, len(words), most + 1).round().astype(int)
    return ["".join(words[start:end]) for start, end in pairwise(bounds.tolist())]


def without_each(pieces: list[str]) -> list[str]:
    """The text without its first part, without its second, and so on."""
    return ["".join(pieces[:place] + pieces[place + 1 :]) for place in range(len(pieces))]


def weights(whole: np.ndarray, without: np.ndarray) -> tuple[int, list[float]]:
    """The text's label, and how much of its score goes with each part.

    Args:
        whole: the text's scores, float64 [classes].
        without: those of the text without each part, float64 [parts, classes].
    """
    label = int(whole.argmax())
    return label, (whole[label] - without[:, label]).tolist()
