"""The rows for which two models have different answers: those that one has more right, and the surest of them first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accel_clf.data.texts import sides
from accel_clf.reports.compare.comparison import differs
from accel_clf.reports.compare.same_rows import SameRows
from accel_clf.reports.compare.weighted_metrics import Answers

WORSE, BETTER, OTHER = "worse", "better", "other"  # the run's answer, beside the baseline's
_RIGHT = {WORSE: "only the baseline is right", BETTER: "only this run is right", OTHER: "both are wrong"}
_NEARER = {WORSE: "the baseline is nearer to the label", BETTER: "this run is nearer", OTHER: "both are as wrong"}
LONGEST_TEXT = 300  # characters


@dataclass(frozen=True)
class DifferentRow:
    """A row with two answers.

    Attributes:
        row: its index in the source, from 0.
        kind: WORSE, BETTER, or OTHER where both are as wrong.
        label, baseline, run: the right answer, and those of both, as tables have them.
        scores: of each answer; None where an answer is not one label.
        text: the first characters; None where texts are not shown.
    """

    row: int
    kind: str
    label: str
    baseline: str
    run: str
    scores: tuple[float, float] | None
    text: str | None

    def to_json(self) -> dict[str, Any]:
        """Return what `accel-clf compare --json` prints."""
        scores = {"baseline_score": self.scores[0], "run_score": self.scores[1]} if self.scores else {}
        text = {} if self.text is None else {"text": self.text}
        answers = {"label": self.label, "baseline": self.baseline, "run": self.run}
        return {"row": self.row, "kind": self.kind, **answers, **scores, **text}


@dataclass(frozen=True)
class RowDifferences:
    """The rows for which a run's answer is not the baseline's.

    Attributes:
        titles: kind -> what it is called.
        counts: how many there are of each kind.
        listed: some of each kind.
    """

    titles: dict[str, str]
    counts: dict[str, int]
    listed: tuple[DifferentRow, ...]


def row_differences(rows: SameRows, run: int, examples: int, with_texts: bool) -> RowDifferences:
    """Find the rows for which a run and the baseline have different answers.

    Args:
        rows: of both.
        run: which of the runs.
        examples: how many rows of each kind are listed.
        with_texts: whether with the beginnings of their texts, where these can be read.
    """
    baseline, other = rows.answers[0], rows.answers[run]
    change = _errors(other) - _errors(baseline)
    kinds = np.where(change > 0, WORSE, np.where(change < 0, BETTER, OTHER))
    kinds[~differs(baseline, other)] = ""
    confidence = np.maximum(_confidence(baseline), _confidence(other))
    chosen: list[int] = []
    for kind in (WORSE, BETTER, OTHER):
        of_kind = np.flatnonzero(kinds == kind)
        order = np.lexsort((-confidence[of_kind], -np.abs(change[of_kind])))
        chosen += of_kind[order[:examples]].tolist()
    texts = _texts(rows, chosen) if with_texts else {}
    listed = tuple(
        DifferentRow(
            row=int(rows.ids[index]),
            kind=str(kinds[index]),
            label=baseline.target.to_text(baseline.labels[index]),
            baseline=baseline.target.to_text(baseline.decided[index]),
            run=other.target.to_text(other.decided[index]),
            scores=_scores(baseline, other, index),
            text=texts.get(index),
        )
        for index in chosen
    )
    titles = _RIGHT if baseline.target.kind == "single_label" else _NEARER
    return RowDifferences(titles, {kind: int((kinds == kind).sum()) for kind in titles}, listed)


def _errors(answers: Answers) -> np.ndarray:
    """Return how wrong each answer is: wrong labels, steps from the right one, or the distance of numbers."""
    if answers.target.kind == "single_label":
        return np.asarray(answers.labels != answers.decided).astype(np.float64)
    distance = np.abs(answers.labels.astype(np.float64) - answers.decided)
    return np.asarray(distance if distance.ndim == 1 else distance.sum(axis=1))


def _confidence(answers: Answers) -> np.ndarray:
    """Return the score of each wrong answer; 0 where answers are not one label, or right."""
    if not answers.target.has_score:
        return np.zeros(len(answers))
    scores = answers.scores[np.arange(len(answers)), answers.decided]
    return np.where(answers.is_right(), 0.0, scores)


def _scores(baseline: Answers, run: Answers, index: int) -> tuple[float, float] | None:
    if not baseline.target.has_score:
        return None
    first, second = (float(of.scores[index, of.decided[index]]) for of in (baseline, run))
    return first, second


def _texts(rows: SameRows, indices: Sequence[int]) -> dict[int, str]:
    """Read the beginnings of some rows' texts, both of a pair with a line between them."""
    if rows.source is None or not indices:
        return {}
    ordered = sorted(indices)
    texts = rows.source.take(np.array(ordered)).texts()
    return {index: _shortened("\n".join(sides(text))) for index, text in zip(ordered, texts, strict=True)}


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
