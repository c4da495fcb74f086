"""Metrics of resamples, against the metrics of rows that are repeated as often."""

import warnings

import numpy as np
import pytest

from accel_clf.config.metric_names import METRICS
from accel_clf.reports.compare.weighted_metrics import COMPARED, Answers, known_metrics, label_f1, statistics
from accel_clf.targets.base import Target
from accel_clf.targets.multi_label import MultiLabel
from accel_clf.targets.ordinal import Ordinal
from accel_clf.targets.regression import Regression
from accel_clf.targets.single_label import SingleLabel

ROWS, DRAWS = 40, 12


def answers_of(kind: type[Target], labels: int, rows: int = ROWS) -> Answers:
    """Answers with ties, of a model that has learned a little."""
    rng = np.random.default_rng(labels)
    names = tuple(f"label {number}" for number in range(labels))
    if kind is Regression:
        target: Target = Regression(("number",))
        right = rng.integers(0, 12, rows).astype(np.float64)
        scores = (right + rng.normal(0, 3, rows)).round()[:, None]
    elif kind is MultiLabel:
        target, scores = MultiLabel(names), rng.random((rows, labels)).round(2)
        right = (rng.random((rows, labels)) < scores * 0.6).astype(np.int8)
        right[:, -1] = 0  # a label that no row has
    else:
        target, scores = kind(names), rng.dirichlet(np.ones(labels), rows).round(2)
        scores /= scores.sum(axis=1, keepdims=True)
        right = np.array([rng.choice(labels, p=of_row) for of_row in scores]).astype(np.int32)
    return Answers(target, right, scores, target.decide(scores))


@pytest.mark.parametrize("labels", [2, 5])
@pytest.mark.parametrize("kind", [SingleLabel, Ordinal, MultiLabel, Regression])
def test_metrics_are_those_of_repeated_rows(kind: type[Target], labels: int) -> None:
    answers = answers_of(kind, labels)
    names = known_metrics(answers.target)
    assert set(COMPARED[answers.target.kind]) <= set(names)
    drawn = np.random.default_rng(0).multinomial(ROWS, np.full(ROWS, 1 / ROWS), DRAWS).T
    drawn[:, 0] = 1
    drawn[:, 1] = 0
    drawn[0, 1] = ROWS  # one row alone, for which correlations and areas are not defined
    values = statistics(answers, names)(drawn.astype(np.float64))
    f1 = label_f1(answers)(drawn.astype(np.float64)) if kind is not Regression else None
    for draw in range(DRAWS):
        rows = answers.take(np.repeat(np.arange(ROWS), drawn[:, draw]))
        named = [name for name in names if name not in METRICS[rows.target.kind]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn's, of one class
            expected = rows.target.metrics(rows.labels, rows.scores, named=named, decided=rows.decided)
        assert {name: of[draw] for name, of in values.items()} == pytest.approx(
            {name: expected[name] for name in names}, abs=1e-9, nan_ok=True
        )
        if f1 is not None:
            for code, of_label in enumerate(expected.per_class.values()):
                counted = of_label.rows or of_label.predicted
                assert f1[code, draw] == pytest.approx(of_label.f1 if counted else np.nan, nan_ok=True)


def test_parts_of_rows() -> None:
    answers = answers_of(SingleLabel, 3)
    part = answers.take(answers.labels == 1)
    assert (part.labels == 1).all()
    assert len(part) == (answers.labels == 1).sum()
