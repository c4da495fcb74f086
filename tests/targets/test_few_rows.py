"""Few rows for each label: what is said, counted as the kind of target counts."""

import numpy as np
import pytest

from accel_clf.config.schema import TrainingConfig
from accel_clf.targets.base import Target
from accel_clf.targets.few_rows import few_rows_hint
from accel_clf.targets.multi_label import MultiLabel
from accel_clf.targets.regression import Regression
from accel_clf.targets.single_label import SingleLabel

SINGLE, SEVERAL, NUMBER = SingleLabel(("a", "b")), MultiLabel(("a", "b")), Regression(("stars",))


@pytest.mark.parametrize(
    ("target", "labels", "start"),
    [
        (SINGLE, np.arange(126) % 2, "63 training rows a label"),
        (SINGLE, np.arange(128) % 2, None),
        (SINGLE, (np.arange(500) == 0).astype(int), None),  # a rare label among many rows is another matter
        (SEVERAL, np.ones((63, 2), np.int8), "63 training rows a label"),
        (SEVERAL, np.ones((64, 2), np.int8), None),
        (NUMBER, np.arange(20.0), "20 training rows in all"),
        (NUMBER, np.arange(64.0), None),
    ],
)
def test_few_rows_are_told(target: Target, labels: np.ndarray, start: str | None) -> None:
    hint = few_rows_hint(target, labels, TrainingConfig())
    assert (hint is None) == (start is None)
    if hint and start:
        assert hint.startswith(start)
        assert "1 epoch may" in hint
        assert "--training.method lp_ft" in hint


def test_method_is_not_proposed_where_it_is_set() -> None:
    hint = few_rows_hint(SINGLE, np.arange(16) % 2, TrainingConfig(method="lp_ft"))
    assert hint
    assert "--training.method" not in hint
