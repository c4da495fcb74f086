"""One label a text where it can be given at a risk; otherwise a set of labels that holds the right one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from accel_clf.targets.abstention import Abstention
from accel_clf.targets.single_label import SingleLabel

ABSTAIN = "abstain"  # the answer where no label is given


@dataclass(frozen=True)
class Abstaining(SingleLabel):
    """One of the classes `names`, or none of them.

    Attributes:
        rule: when a label is given, and which labels are in the set otherwise.
    """

    rule: Abstention = field(kw_only=True, compare=False)

    extra_columns = ("set",)

    def answer(self, scores: np.ndarray) -> dict[str, Any]:
        """Return the answer for one text; where no label is given, its set as well."""
        answer = super().answer(scores)
        answered, sets = self.rule.answer(scores[None])
        if answered[0]:
            return answer
        return {**answer, "label": ABSTAIN, "set": self._names_of(sets[0], scores)}

    def _names_of(self, members: np.ndarray, scores: np.ndarray) -> list[str]:
        """Return the labels of a set, the likeliest first."""
        codes = np.flatnonzero(members)
        return [self.names[code] for code in codes[np.argsort(-scores[codes], kind="stable")]]

    def extra_values(self, answer: Mapping[str, Any]) -> list[str]:
        return ["|".join(answer.get("set", ()))]

    def ranked(self, scores: np.ndarray, count: int | None) -> list[list[dict[str, Any]]]:
        """Return the scores of each text; where no label is given, `abstain` first, then the labels of its set."""
        texts = super().ranked(scores, None)
        answered, sets = self.rule.answer(scores)
        for row, ranking in enumerate(texts):
            if answered[row]:
                texts[row] = ranking[:count]
                continue
            members = set(self._names_of(sets[row], scores[row]))
            abstention = {"label": ABSTAIN, "score": 1 - ranking[0]["score"]}
            texts[row] = [abstention, *(item for item in ranking if item["label"] in members)]
        return texts

    def measure(self, labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
        """Compute what the rule does on labelled rows.

        Returns:
            "answered", the share of texts that get a label; "error", the share of wrong ones among these; "coverage",
            the share of sets that hold the right label; "set_size", their mean size.
        """
        answered, sets = self.rule.answer(scores)
        is_wrong = self.decide(scores) != labels
        return {
            "answered": float(answered.mean()),
            "error": float(is_wrong[answered].mean()) if answered.any() else 0.0,
            "coverage": float(sets[np.arange(len(labels)), labels].mean()),
            "set_size": float(sets.sum(axis=1).mean()),
        }
