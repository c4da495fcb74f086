"""Compare runs with the first of them on the same rows: by metric, label and slice."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from accel_clf.core.errors import ConfigError, closest
from accel_clf.reports.compare.differences import Difference, Pair
from accel_clf.reports.compare.paired import (
    Discordance,
    Evidence,
    OfFolds,
    OfShares,
    Resampled,
    holm,
    resample_weights,
)
from accel_clf.reports.compare.same_rows import SameRows
from accel_clf.reports.compare.weighted_metrics import (
    COMPARED,
    OF_SCORES,
    Answers,
    known_metrics,
    label_f1,
    statistics,
)
from accel_clf.reports.intervals import SHARES

RESAMPLES = 2000
MAX_SLICES = 200  # the largest; each costs as much as its rows


def compare(
    rows: SameRows, metrics: Sequence[str] = (), resamples: int = RESAMPLES, more: Sequence[str] = ()
) -> list[Pair]:
    """Compare each run with the first.

    Args:
        rows: what they have answered.
        metrics: to compare; by default those that a run of this kind always has.
        resamples: of rows that no folds divide.
        more: metrics to compare beside these.

    Raises:
        ConfigError: there is no such metric.
    """
    target = rows.answers[0].target
    names = tuple(dict.fromkeys([*(metrics or COMPARED[target.kind]), *more]))
    check_metrics(names, known_metrics(target))
    overall, slices = _Part(rows, np.arange(len(rows)), names), {}
    for name, indices in _slices(rows).items():
        slices[name] = _Part(rows, indices, names)
    labels = _Labels(rows) if target.kind != "regression" else None
    with np.errstate(invalid="ignore", divide="ignore"):
        for weights in _weights(rows, resamples):
            for part in (overall, *slices.values()):
                part.add(weights)
            if labels:
                labels.add(weights)
    pairs = [
        Pair(
            baseline=rows.folders[0],
            run=rows.folders[run],
            metrics=overall.differences(run),
            labels=labels.differences(run) if labels else {},
            slices={name: part.differences(run) for name, part in slices.items()},
            counts=_discordance([rows.answers[of].is_right() for of in (0, run)]) if labels else None,
            differing=int(differs(rows.answers[0], rows.answers[run]).sum()),
            are_independent=rows.folds is None and rows.groups is None,
        )
        for run in range(1, len(rows.answers))
    ]
    return _corrected(pairs)


def check_metrics(names: Iterable[str], known: Sequence[str]) -> None:
    """Check that metrics can be compared.

    Raises:
        ConfigError: one cannot.
    """
    for name in names:
        if name not in known:
            shown = [metric for metric in known if ":" not in metric]
            shown += ["f1:LABEL", "precision:LABEL", "recall:LABEL"] if len(shown) < len(known) else []
            reason = ", of which resamples say nothing" if name == "ece" else ""
            raise ConfigError(f"metric {name!r}{reason}", f"one of {', '.join(shown)}", closest(name, known))


def differs(baseline: Answers, run: Answers) -> np.ndarray:
    """Return which rows have different answers: bool [rows]."""
    is_other = np.asarray(baseline.decided != run.decided)
    return np.asarray(is_other if is_other.ndim == 1 else is_other.any(axis=1))


def _weights(rows: SameRows, resamples: int) -> Iterable[np.ndarray]:
    """Return how often each row counts: in resamples; or in folds, once or not at all."""
    if rows.folds is not None:
        return [(rows.folds[:, None] == np.arange(rows.folds.max() + 1)).astype(np.float64)]
    return resample_weights(len(rows), resamples, rows.groups)


def _slices(rows: SameRows) -> dict[str, np.ndarray]:
    """Return the rows of the largest slices, in the slices' order."""
    if rows.slices is None:
        return {}
    sizes = np.bincount(rows.slices, minlength=len(rows.slice_names))
    largest = np.sort(np.argsort(-sizes, kind="stable")[:MAX_SLICES])
    return {rows.slice_names[code]: np.flatnonzero(rows.slices == code) for code in largest}


def _units(rows: SameRows, indices: np.ndarray) -> int:
    """Count some of the rows, or their groups, of which one is drawn independently of the next."""
    return len(indices) if rows.groups is None else len(np.unique(rows.groups[indices]))


def _discordance(sides: Sequence[np.ndarray]) -> Discordance:
    return Discordance.of(sides[0], sides[1])


def _mean(values: np.ndarray) -> float:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else float("nan")


class _Part:
    """The metrics of all runs on some of the rows, collected from one set of weights to the next.

    Args:
        rows: all of them.
        indices: int64, of those.
        names: of the metrics.
    """

    def __init__(self, rows: SameRows, indices: np.ndarray, names: Sequence[str]) -> None:
        self.rows, self.indices, self.names = rows, indices, names
        self.answers = [answers.take(indices) for answers in rows.answers]
        self._functions = [statistics(answers, names) for answers in self.answers]
        self._drawn: list[list[dict[str, np.ndarray]]] = [[] for _ in self.answers]

    def add(self, weights: np.ndarray) -> None:
        """Compute the metrics, NaN in resamples and folds without any of these rows."""
        weights = weights[self.indices]
        is_empty = weights.sum(axis=0) == 0
        for function, drawn in zip(self._functions, self._drawn, strict=True):
            drawn.append({name: np.where(is_empty, np.nan, of) for name, of in function(weights).items()})

    def differences(self, run: int) -> dict[str, Difference]:
        """Return by how much a run's metrics differ from the baseline's."""
        all_rows = np.ones((len(self.indices), 1))
        points = [self._functions[of](all_rows) for of in (0, run)]
        differing = _units(self.rows, self.indices[differs(self.answers[0], self.answers[run])])
        by_numbers = self.answers[0].target.kind == "regression"
        differences = {}
        for name in self.names:
            baseline, other = (np.concatenate([drawn[name] for drawn in self._drawn[of]]) for of in (0, run))
            values = [float(of[name][0]) for of in points]
            if self.rows.folds is not None:
                evidence: Evidence = OfFolds(other - baseline)
                values = [_mean(baseline), _mean(other)]
            elif name in SHARES and self.rows.groups is None:
                evidence = OfShares(_discordance([_is_right(self.answers[of], name) for of in (0, run)]))
            else:
                evidence = Resampled(other - baseline, None if by_numbers or name in OF_SCORES else differing)
            differences[name] = Difference(name, len(self.indices), values[0], values[1], evidence)
        return differences


def _is_right(answers: Answers, metric: str) -> np.ndarray:
    """Return which rows a share is of."""
    if metric != "accuracy_within_one":
        return answers.is_right()
    is_within: np.ndarray = np.abs(answers.labels.astype(np.int64) - answers.decided) <= 1
    return is_within


class _Labels:
    """The F1 of each label by all runs, collected from one set of weights to the next."""

    def __init__(self, rows: SameRows) -> None:
        self.rows = rows
        self._functions = [label_f1(answers) for answers in rows.answers]
        self._drawn: list[list[np.ndarray]] = [[] for _ in rows.answers]

    def add(self, weights: np.ndarray) -> None:
        """Compute them."""
        for function, drawn in zip(self._functions, self._drawn, strict=True):
            drawn.append(function(weights))

    def differences(self, run: int) -> dict[str, Difference]:
        """Return by how much a run's differ from the baseline's, of labels that any row has."""
        answers, names = [self.rows.answers[of] for of in (0, run)], self.rows.answers[0].target.names
        all_rows = np.ones((len(self.rows), 1))
        points = [self._functions[of](all_rows)[:, 0] for of in (0, run)]
        drawn = [np.hstack(self._drawn[of]) for of in (0, run)]
        differences = {}
        for code, name in enumerate(names):
            has = _has(answers[0].labels, code)
            if not (count := int(has.sum())):
                continue
            values = [float(of[code]) for of in points]
            of_draws = drawn[1][code] - drawn[0][code]
            if self.rows.folds is not None:
                evidence: Evidence = OfFolds(of_draws)
                values = [_mean(of[code]) for of in drawn]
            else:
                gets = [_has(of.decided, code) for of in answers]
                evidence = Resampled(of_draws, _units(self.rows, np.flatnonzero(gets[0] != gets[1])))
            differences[name] = Difference(f"f1:{name}", count, values[0], values[1], evidence)
        return differences


def _has(labels: np.ndarray, code: int) -> np.ndarray:
    """Return which rows have a label: bool [rows]."""
    has: np.ndarray = labels[:, code] > 0 if labels.ndim == 2 else labels == code
    return has


def _corrected(pairs: Sequence[Pair]) -> list[Pair]:
    """Correct p-values by Holm: of a metric over all runs; of labels, and of slices, over all runs and all of them."""
    names = list(pairs[0].metrics)
    families = [[pair.metrics[name] for pair in pairs] for name in names]
    families.append([difference for pair in pairs for difference in pair.labels.values()])
    families += [[of_slice[name] for pair in pairs for of_slice in pair.slices.values()] for name in names]
    corrected: dict[int, Difference] = {}
    for family in families:
        for difference, p in zip(family, holm([of.evidence.two_sided_p() for of in family]), strict=True):
            corrected[id(difference)] = replace(difference, corrected_p=p)

    def with_p(differences: dict[str, Difference]) -> dict[str, Difference]:
        return {name: corrected[id(difference)] for name, difference in differences.items()}

    return [
        replace(
            pair,
            metrics=with_p(pair.metrics),
            labels=with_p(pair.labels),
            slices={name: with_p(of_slice) for name, of_slice in pair.slices.items()},
        )
        for pair in pairs
    ]
