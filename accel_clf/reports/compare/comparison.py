"""Compare runs with the first of them on the same rows: by metric, label and slice."""

from collections.abc import Callable, Iterable, Sequence
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
        resamples: of the rows.
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
        for weights in resample_weights(len(rows), resamples, rows.groups):
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


def _mean_of_folds(values: np.ndarray) -> np.ndarray:
    """Average [..., folds, resamples] over those folds in which a value is defined; NaN where none is."""
    defined = np.isfinite(values)
    count = defined.sum(axis=-2)
    return np.where(count, np.where(defined, values, 0.0).sum(axis=-2) / np.maximum(count, 1), np.nan)


class _OfRun:
    """The metrics of one run on some of the rows, each fold's by itself, from one set of weights to the next.

    Args:
        rows: all of them; where they are in no folds, they are as those of one.
        run: which of the runs.
        indices: int64, of some of the rows.
        make: makes of a fold's answers what computes their metrics: weights -> float [metrics, resamples].
        size: the number of metrics.
    """

    def __init__(
        self,
        rows: SameRows,
        run: int,
        indices: np.ndarray,
        make: Callable[[Answers], Callable[[np.ndarray], np.ndarray]],
        size: int,
    ) -> None:
        folds = np.zeros(len(rows), np.int64) if rows.folds is None else rows.folds
        parts = [indices[folds[indices] == fold] for fold in range(folds.max() + 1)]
        self._parts = [(part, make(rows.answers[run].take(part)) if len(part) else None) for part in parts]
        self._size = size
        self._drawn: list[np.ndarray] = []

    def add(self, weights: np.ndarray) -> None:
        """Compute the metrics of resamples."""
        self._drawn.append(self.values(weights))

    def drawn(self) -> np.ndarray:
        """Return those of all resamples, as `values` does."""
        return np.concatenate(self._drawn, axis=-1)

    def values(self, weights: np.ndarray) -> np.ndarray:
        """Compute the metrics: float [metrics, folds, resamples], NaN in folds and resamples without any rows."""
        values = np.full((self._size, len(self._parts), weights.shape[1]), np.nan)
        for fold, (part, compute) in enumerate(self._parts):
            if compute:
                chosen = weights[part]
                values[:, fold] = np.where(chosen.sum(axis=0) > 0, compute(chosen), np.nan)
        return values


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
        self.runs = [_OfRun(rows, run, indices, self._statistics, len(names)) for run in range(len(rows.answers))]

    def _statistics(self, answers: Answers) -> Callable[[np.ndarray], np.ndarray]:
        compute = statistics(answers, self.names)
        return lambda weights: np.stack(list(compute(weights).values()))

    def add(self, weights: np.ndarray) -> None:
        """Compute the metrics."""
        for run in self.runs:
            run.add(weights)

    def differences(self, run: int) -> dict[str, Difference]:
        """Return by how much a run's metrics differ from the baseline's."""
        points = [self.runs[of].values(np.ones((len(self.rows), 1)))[..., 0] for of in (0, run)]
        changes = _mean_of_folds(self.runs[run].drawn() - self.runs[0].drawn())
        differing = self.indices[differs(self.answers[0], self.answers[run])]
        by_numbers = self.answers[0].target.kind == "regression"
        differences = {}
        for index, name in enumerate(self.names):
            if name in SHARES and self.rows.groups is None:
                evidence: Evidence = OfShares(_discordance([_is_right(self.answers[of], name) for of in (0, run)]))
            elif by_numbers or name in OF_SCORES:
                evidence = Resampled(changes[index])
            else:
                evidence = _of_answers(self.rows, changes[index], differing, self.indices)
            values = [of[index] for of in points]
            differences[name] = _difference(self.rows, name, len(self.indices), values, evidence)
        return differences


def _of_answers(rows: SameRows, changes: np.ndarray, differing: np.ndarray, indices: np.ndarray) -> Evidence:
    """Return what some rows say of a metric of answers alone.

    Where all answers are the same, so are all resamples, though others may differ: then, as of a share of these rows.

    Args:
        rows: all of them.
        changes: float [resamples], by how much the metric differs.
        differing: of the rows, those with different answers.
        indices: those that the metric is of.
    """
    if len(differing):
        return Resampled(changes, _units(rows, differing))
    return OfShares(Discordance(_units(rows, indices), 0, 0, 0))


def _difference(rows: SameRows, name: str, count: int, values: Sequence[np.ndarray], evidence: Evidence) -> Difference:
    """Return a difference by what rows say of it and, where they are in folds, by how much it varies over these.

    Args:
        rows: all of them.
        name: of the metric.
        count: how many rows it is of.
        values: float [folds], the baseline's and the run's.
        evidence: what rows say, of models that are given.
    """
    if rows.folds is not None:
        evidence = OfFolds(values[1] - values[0], evidence)
    baseline, run = (float(_mean_of_folds(of[:, None])[0]) for of in values)
    return Difference(name, count, baseline, run, evidence)


def _is_right(answers: Answers, metric: str) -> np.ndarray:
    """Return which rows a share is of."""
    if metric != "accuracy_within_one":
        return answers.is_right()
    is_within: np.ndarray = np.abs(answers.labels.astype(np.int64) - answers.decided) <= 1
    return is_within


class _Labels:
    """The F1 of each label by all runs, collected from one set of weights to the next."""

    def __init__(self, rows: SameRows) -> None:
        self.rows, self.names = rows, rows.answers[0].target.names
        everything = np.arange(len(rows))
        self.runs = [_OfRun(rows, run, everything, label_f1, len(self.names)) for run in range(len(rows.answers))]

    def add(self, weights: np.ndarray) -> None:
        """Compute them."""
        for run in self.runs:
            run.add(weights)

    def differences(self, run: int) -> dict[str, Difference]:
        """Return by how much a run's differ from the baseline's, of labels that any row has."""
        answers = [self.rows.answers[of] for of in (0, run)]
        points = [self.runs[of].values(np.ones((len(self.rows), 1)))[..., 0] for of in (0, run)]
        changes = _mean_of_folds(self.runs[run].drawn() - self.runs[0].drawn())
        differences = {}
        for code, name in enumerate(self.names):
            has = _has(answers[0].labels, code)
            if not (count := int(has.sum())):
                continue
            gets = [_has(of.decided, code) for of in answers]
            differing, involved = (np.flatnonzero(chosen) for chosen in (gets[0] != gets[1], has | gets[0]))
            evidence = _of_answers(self.rows, changes[code], differing, involved)
            values = [of[code] for of in points]
            differences[name] = _difference(self.rows, f"f1:{name}", count, values, evidence)
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
