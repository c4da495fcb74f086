"""Texts that are nearly those of other rows: MinHash of word triples (Broder, 1997), by rensa."""

import re
from typing import NamedTuple

import numpy as np

from accel_clf.core.chunks import chunks
from accel_clf.data import dataset
from accel_clf.data.dataset import Dataset
from accel_clf.data.texts import SEPARATOR, Text, sides

THRESHOLD = 0.8  # of two texts' word triples, the share that both have
PERMUTATIONS, BANDS = 128, 16
CHUNK_SIZE = 100
MAX_ROWS, MAX_INDEXED = 1_000_000, 200_000
MAX_COMPARISONS = 1_000_000  # about 2 seconds; texts of one template, each half like all others, would take hours
# Scripts that write no spaces between words, by the character; all others by the word.
_WORDS = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|\w+"
)


class NearDuplicates(NamedTuple):
    """Rows whose text is nearly that of another row.

    Attributes:
        others: which other row each has, by id: index among the rows -> id.
        is_complete: whether all rows were compared; there may be more where not.
    """

    others: dict[int, int]
    is_complete: bool


def warnings(rows: Dataset, others: Dataset, name: str, twin: str, fold: np.ndarray | None = None) -> list[str]:
    """Describe how many rows of `others` have nearly the text of one of `rows`.

    Args:
        rows, others, fold: see `find`.
        name: of `others`.
        twin: one of `rows`.
    """
    if len(rows) > MAX_ROWS or len(others) > MAX_INDEXED:
        return [
            f"whether {name} have nearly the text of {twin} is not examined: more than {MAX_ROWS} rows, or than "
            f"{MAX_INDEXED} {name} (--data.near_duplicates false ends this warning)"
        ]
    matches = find(rows, others, fold)
    if not matches.others:
        return []
    least = "" if matches.is_complete else "at least "
    return [
        f"{least}{len(matches.others)} of {len(others)} {name} have nearly the text of {twin} ({THRESHOLD:.0%} of the "
        "triples of words), which flatters the result"
    ]


def find(rows: Dataset, others: Dataset, fold: np.ndarray | None = None) -> NearDuplicates:
    """Find the rows of `others` whose text is nearly that of one of `rows`; those with the very text are left out.

    Case, punctuation and spaces do not count. `others` are held in memory, about 2 kB a row; `rows` are streamed.

    Args:
        rows: such as the training rows.
        others: such as the validation rows; or `rows` themselves.
        fold: of each of `rows`, which are `others`, too: only texts of another fold count.
    """
    from rensa import RMinHash, RMinHashLSH

    is_twin = np.zeros(len(others), bool) if others is rows else dataset.shared_texts(rows, others)
    texts, other_texts = rows.twin_keys(), others.twin_keys()
    rows_of_text: dict[bytes, list[int]] = {}
    for key in np.flatnonzero(~is_twin).tolist():
        rows_of_text.setdefault(other_texts[key].tobytes(), []).append(key)
    first_rows = {keys[0] for keys in rows_of_text.values()}
    sketches = {}
    index = RMinHashLSH(THRESHOLD, PERMUTATIONS, BANDS)
    once = ((key, text) for key, text in enumerate(others.texts()) if key in first_rows)
    for chunk in chunks(once, CHUNK_SIZE):
        of_chunk = RMinHash.from_token_sets([triples(text) for _, text in chunk], PERMUTATIONS, 0)
        for (key, _), sketch in zip(chunk, of_chunk, strict=True):
            sketches[key] = sketch
            index.insert(key, sketch)
    matches: dict[int, int] = {}
    comparisons = 0
    for chunk in chunks(enumerate(rows.texts()), CHUNK_SIZE):
        of_chunk = RMinHash.from_token_sets([triples(text) for _, text in chunk], PERMUTATIONS, 0)
        for (row, _), sketch, candidates in zip(chunk, of_chunk, index.query_all(of_chunk), strict=True):
            for key in candidates:
                text = other_texts[key].tobytes()
                if key in matches or texts[row].tobytes() == text:
                    continue
                comparisons += 1
                is_apart = fold is None or fold[row] != fold[key]
                if is_apart and sketch.jaccard(sketches[key]) >= THRESHOLD:
                    matches |= dict.fromkeys(rows_of_text[text], int(rows.ids[row]))
                    index.remove(key)  # so that what has thousands of near-duplicates is met once
        if comparisons > MAX_COMPARISONS:
            return NearDuplicates(matches, False)
    return NearDuplicates(matches, True)


def triples(text: Text) -> list[str]:
    """Return what texts are compared by: all three words in a row, or the text itself where it has no words.

    The two texts of a pair are compared as one.
    """
    joined = SEPARATOR.join(sides(text))
    words = _WORDS.findall(joined.casefold())
    if not words:
        return [joined.strip()]
    return [" ".join(words[start : start + 3]) for start in range(max(len(words) - 2, 1))]
