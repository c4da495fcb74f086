"""The labels in a label column: their order, and what is said of one that is not among them."""

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from accel_clf.core.errors import DataError

MAX_NAMES_IN_MESSAGE = 12
WHOLE_FLOAT = re.compile(r"(-?\d+)\.0+")
IMBALANCED = 10  # times as many rows of the commonest label as of the rarest


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Return labels sorted numerically if all are integers, otherwise alphabetically."""
    distinct = list(names)
    integers = all(name.removeprefix("-").isdecimal() and str(int(name)) == name for name in distinct)
    return tuple(sorted(distinct, key=int) if integers else sorted(distinct))


def code_of(name: Any, codes: Mapping[str, int], location: str) -> int:
    """Return the code of a label.

    Files write the same value in several ways, as pandas does: a label that is not known is the one of the same whole
    number or truth value, 1.0 for 1 and True for true, if there is just one.

    Raises:
        DataError: there is no such label.
    """
    code = codes.get(name)
    if code is None and isinstance(name, str):
        value = _value(name)
        alike = [other for known, other in codes.items() if _value(known) == value]
        code = alike[0] if len(alike) == 1 else None
    if code is None:
        raise DataError(f"{location}: label {name!r}", f"one of the training rows' labels: {listed(list(codes))}")
    return code


def _value(name: str) -> str:
    """Write a whole number, or a truth value, always in the same way."""
    number = WHOLE_FLOAT.fullmatch(name)
    return number[1] if number else name.lower() if name.lower() in ("true", "false") else name


def listed(names: Sequence[str]) -> str:
    """Write the first labels in a line."""
    return ", ".join(map(repr, names[:MAX_NAMES_IN_MESSAGE])) + (" ..." if len(names) > MAX_NAMES_IN_MESSAGE else "")


def name_warnings(counts: np.ndarray, names: Sequence[str]) -> list[str]:
    """Describe labels that may be meant to be the same, and labels of a single row.

    Args:
        counts: int [labels], the training rows of each.
        names: of the labels.
    """
    alike: dict[str, list[int]] = {}
    for code, name in enumerate(names):
        alike.setdefault(name.strip().casefold(), []).append(code)
    groups = [codes for codes in alike.values() if len(codes) > 1]
    messages = []
    if groups:
        first = "; ".join(
            " and ".join(f"{names[code]!r} ({counts[code]} rows)" for code in codes) for codes in groups[:3]
        )
        others = f"; and {len(groups) - 3} more" if len(groups) > 3 else ""
        stripped = [{names[code].strip() for code in codes} for codes in groups]
        difference = "surrounding spaces" if all(len(of) == 1 for of in stripped) else "case or surrounding spaces"
        messages.append(f"labels that differ only by {difference} are different labels: {first}{others}")
    if lone := [name for name, count in zip(names, counts, strict=True) if count == 1]:
        of_lone = f"label {lone[0]!r} has" if len(lone) == 1 else f"{len(lone)} labels ({listed(lone)}) have"
        messages.append(f"{of_lone} a single training row: hardly learned, and measured on other rows only by chance")
    return messages


@contextmanager
def rare_labels_expected() -> Iterator[None]:
    """Silence the warnings of libraries that a label has few rows or none here: a run has named such labels itself."""
    with warnings.catch_warnings():
        for start in (
            "May not flag all label issues in class",
            r"Label (not )?\S+ is present in all training examples",
        ):
            warnings.filterwarnings("ignore", start, UserWarning)
        yield


def imbalance_warnings(
    counts: np.ndarray, names: Sequence[str], loss: str, metric: str, blind: Mapping[str, str]
) -> list[str]:
    """Describe labels of which some are rare, and what to try.

    Args:
        counts: int [labels], the training rows of each.
        names: of the labels.
        loss, metric: the settings target.loss and evaluation.metric.
        blind: metrics that hardly see rare labels -> one that does.
    """
    common, rare = int(counts.argmax()), int(counts.argmin())
    if counts[common] <= IMBALANCED * counts[rare]:
        return []
    shares = f"label {names[common]!r} has {counts[common]} training rows, {names[rare]!r} {counts[rare]}"
    messages = []
    if loss in ("auto", "plain"):
        messages.append(f"{shares}: --target.loss logit_adjusted (or weighted, focal) does more for rare labels")
    if metric in blind:
        messages.append(f"{shares}, which {metric} hardly sees: --evaluation.metric {blind[metric]} counts all alike")
    return messages
