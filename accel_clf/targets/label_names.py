"""The labels in a label column: their order, and what is said of one that is not among them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from accel_clf.core.errors import DataError

MAX_NAMES_IN_MESSAGE = 12
IMBALANCED = 10  # times as many rows of the commonest label as of the rarest


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Return labels sorted numerically if all are integers, otherwise alphabetically."""
    distinct = list(names)
    integers = all(name.removeprefix("-").isdecimal() and str(int(name)) == name for name in distinct)
    return tuple(sorted(distinct, key=int) if integers else sorted(distinct))


def code_of(name: Any, codes: Mapping[str, int], location: str) -> int:
    """Return the code of a label.

    Raises:
        DataError: there is no such label.
    """
    code = codes.get(name)
    if code is None:
        raise DataError(f"{location}: label {name!r}", f"one of the training rows' labels: {listed(list(codes))}")
    return code


def listed(names: Sequence[str]) -> str:
    """Write the first labels in a line."""
    return ", ".join(map(repr, names[:MAX_NAMES_IN_MESSAGE])) + (" ..." if len(names) > MAX_NAMES_IN_MESSAGE else "")


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
