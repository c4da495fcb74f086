"""How often `accel-clf compare` is right: simulations in which the true difference is known.

    python -m benchmarks.intervals [--simulations 1000]

Models and rows are drawn from distributions; each simulation computes what `compare` prints. A line says in how many
the 95% interval holds the true difference, and in how many `--require "... not worse by MARGIN"` fails although the run
is worse by the margin exactly, and no more: the case in which it may fail most often.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from accel_clf.reports.compare.comparison import compare
from accel_clf.reports.compare.differences import SIGNIFICANCE, Difference
from accel_clf.reports.compare.same_rows import SameRows
from accel_clf.reports.compare.weighted_metrics import Answers
from accel_clf.targets.base import Target
from accel_clf.targets.regression import Regression
from accel_clf.targets.single_label import SingleLabel

LABELS = SingleLabel(("a", "b", "c"))
# By which true differences are known: rows; and of folds' models, training sets, each tested on so many rows.
LARGE, TRAINING_SETS, TEST_ROWS = 2_000_000, 4000, 20_000


class Scenario(NamedTuple):
    """A distribution of rows and answers.

    Attributes:
        name: what is drawn.
        metric: that is compared.
        truth: the true difference.
        draw: makes the rows of a simulation.
        resamples: of its bootstrap.
    """

    name: str
    metric: str
    truth: float
    draw: Callable[[np.random.Generator], SameRows]
    resamples: int = 1000


class Rates(NamedTuple):
    """Shares of simulations: whose interval holds the truth, and in which `--require` fails at it."""

    covered: float
    alarms: float


def simulate(scenario: Scenario, simulations: int, seed: int = 0) -> Rates:
    """Simulate; see the module."""
    rng = np.random.default_rng(seed)
    covered, alarms = 0, 0
    for _ in range(simulations):
        rows = scenario.draw(rng)
        difference = compare(rows, [scenario.metric], scenario.resamples)[0].metrics[scenario.metric]
        low, high = difference.interval()
        covered += low <= scenario.truth <= high
        alarms += is_alarm(difference, scenario.truth)
    return Rates(covered / simulations, alarms / simulations)


def is_alarm(difference: Difference, truth: float) -> bool:
    """Return whether the run is shown to be worse than the truth, which is the margin."""
    below, above = difference.evidence.p(truth)
    return (below if difference.sign > 0 else above) <= SIGNIFICANCE


def scenarios() -> Iterator[Scenario]:
    """Yield all scenarios."""
    for rows in (100, 400, 2000):
        for only_baseline, only_run in ((0.02, 0.02), (0.08, 0.06), (0.05, 0.15)):
            yield of_accuracy(rows, only_baseline, only_run)
    for metric in ("accuracy", "macro_f1", "log_loss"):
        for rows in (300, 1000):
            yield of_classes(rows, metric)
    yield of_classes(600, "accuracy", group_size=4)
    yield of_numbers(400, "mae")
    yield of_numbers(400, "spearman")
    for rows in (200, 500):
        for ridge in (0.0, 60.0):
            yield of_folds(rows, ridge=ridge)


def of_accuracy(rows: int, only_baseline: float, only_run: float) -> Scenario:
    """Two models that are right alone on some shares of rows."""
    target = SingleLabel(("a", "b"))

    def draw(rng: np.random.Generator) -> SameRows:
        both = (1 - only_baseline - only_run) * 0.9
        case = rng.choice(4, rows, p=[both, only_baseline, only_run, 1 - both - only_baseline - only_run])
        labels = rng.integers(0, 2, rows).astype(np.int32)
        right = [(case == 0) | (case == alone) for alone in (1, 2)]
        return _rows([_decided(target, labels, np.where(is_right, labels, 1 - labels)) for is_right in right])

    name = f"{rows} rows, right alone: {only_baseline:.0%} and {only_run:.0%}"
    return Scenario(name, "accuracy", only_run - only_baseline, draw, resamples=1)


def of_classes(rows: int, metric: str, group_size: int = 1, large: int = LARGE) -> Scenario:
    """Two noisy models of three labels of unequal size; rows of a group share their label and half of the noise."""

    def draw_rows(rng: np.random.Generator, rows: int, groups: int) -> SameRows:
        size = rows // groups
        labels = np.repeat(rng.choice(3, groups, p=[0.6, 0.3, 0.1]), size)
        logits = []
        for noise in (1.0, 1.2):
            of_groups = np.repeat(rng.normal(size=(groups, 3)), size, axis=0)
            drawn = (of_groups + rng.normal(size=(rows, 3))) / np.sqrt(2) * noise
            logits.append(2.0 * np.eye(3)[labels] + 1.5 * drawn)
        shared = rng.normal(size=(rows, 3))
        answers = []
        for of_model in logits:
            powers = np.exp(of_model + shared)
            scores = powers / powers.sum(axis=1, keepdims=True)
            answers.append(Answers(LABELS, labels.astype(np.int32), scores, scores.argmax(axis=1)))
        codes = np.repeat(np.arange(groups), size)
        return _rows(answers, groups=codes if size > 1 else None)

    # Of a very large set; its groups make no difference to the mean.
    truth = compare(draw_rows(np.random.default_rng(1), large, large // 4), [metric], 1)[0].metrics[metric].difference
    name = f"{rows} rows of three labels" + (f", in groups of {group_size}" if group_size > 1 else "")
    return Scenario(name, metric, truth, lambda rng: draw_rows(rng, rows, rows // group_size))


def of_numbers(rows: int, metric: str) -> Scenario:
    """Two models of a number, whose errors have something in common."""
    target = Regression(("number",))

    def draw(rng: np.random.Generator, rows: int = rows) -> SameRows:
        labels, shared = rng.gamma(2.0, size=rows), rng.normal(size=rows)
        values = [labels + 0.5 * shared + error * rng.standard_t(5, rows) for error in (0.5, 0.6)]
        return _rows([Answers(target, labels, value[:, None], value) for value in values])

    truth = compare(draw(np.random.default_rng(1), LARGE), [metric], 1)[0].metrics[metric].difference
    return Scenario(f"{rows} numbers", metric, truth, draw)


def of_folds(
    rows: int, ridge: float, folds: int = 5, features: int = 20, training_sets: int = TRAINING_SETS
) -> Scenario:
    """Two linear classifiers by least squares, one with a penalty and fewer features, trained on overlapping folds."""
    weights = np.linspace(1.0, 0.0, features)
    target = SingleLabel(("a", "b"))

    def rows_of(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        x = rng.normal(size=(count, features))
        return x, np.where(x @ weights + 2.0 * rng.normal(size=count) > 0, 1.0, -1.0)

    def fit(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
        fitted = []
        for penalty, used in ((0.0, features), (ridge, features - 4)):
            part = x[:, :used]
            solved = np.linalg.solve(part.T @ part + penalty * np.eye(used), part.T @ y)
            fitted.append(np.concatenate([solved, np.zeros(features - used)]))
        return fitted

    def draw(rng: np.random.Generator) -> SameRows:
        x, y = rows_of(rng, rows)
        of_row = rng.permutation(np.arange(rows) % folds)
        decided = [np.zeros(rows, np.int64) for _ in range(2)]
        for fold in range(folds):
            held_out = of_row == fold
            for values, model in zip(decided, fit(x[~held_out], y[~held_out]), strict=True):
                values[held_out] = x[held_out] @ model > 0
        labels = (y > 0).astype(np.int32)
        return _rows([_decided(target, labels, values) for values in decided], folds=of_row)

    rng = np.random.default_rng(1)
    x, y = rows_of(rng, TEST_ROWS)
    size = rows - rows // folds
    accuracies = np.zeros(2)
    for _ in range(training_sets):
        models = np.stack(fit(*rows_of(rng, size)), axis=1)
        accuracies += ((x @ models > 0) == (y > 0)[:, None]).mean(axis=0)
    truth = float(accuracies[1] - accuracies[0]) / training_sets
    return Scenario(f"{folds} folds of {rows} rows, penalty {ridge:g}", "accuracy", truth, draw, resamples=1)


def _decided(target: Target, labels: np.ndarray, decided: np.ndarray) -> Answers:
    return Answers(target, labels, np.eye(len(target.names))[decided], decided)


def _rows(answers: list[Answers], folds: np.ndarray | None = None, groups: np.ndarray | None = None) -> SameRows:
    return SameRows(
        folders=(Path("baseline"), Path("run")),
        answers=tuple(answers),
        ids=np.arange(len(answers[0])),
        kind="simulated",
        origin="a distribution",
        folds=folds,
        groups=groups,
        slices=None,
        slice_names=(),
        slice_column=None,
        left_out={},
        source=None,
        notes=(),
    )


def main() -> None:
    """Simulate all scenarios and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1000)
    count = parser.parse_args().simulations
    print(f"{count} simulations each: difference, 95% intervals that hold it, false alarms at a margin of it")
    for scenario in scenarios():
        rates = simulate(scenario, count)
        line = f"{scenario.truth:+.4f}  {rates.covered:6.1%}  {rates.alarms:5.1%}"
        print(f"  {scenario.name:44} {scenario.metric:9} {line}", flush=True)


if __name__ == "__main__":
    main()
