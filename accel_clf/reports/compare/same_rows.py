"""The rows that several runs have all answered, in the same order, with what is known of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np

from accel_clf.core.errors import DataError, UserError
from accel_clf.data.dataset import Dataset
from accel_clf.reports.compare.run_rows import GIVEN, RunRows
from accel_clf.reports.compare.weighted_metrics import Answers

KINDS = {"out_of_fold": "out-of-fold", GIVEN: "given"}  # of rows, as they are called


@dataclass(frozen=True, eq=False)
class SameRows:
    """Rows and several models' answers for them.

    Attributes:
        folders: of the runs, the baseline first.
        answers: of each run.
        ids: int64 [rows], each row's index in the baseline's source.
        kind: which rows these are, as they are called.
        origin: the name of their source.
        folds: int64 [rows], and 0 to their number less one; None where all rows are held out together.
        groups: int64 [rows], codes of groups that are drawn together; None where rows are independent.
        slices: int64 [rows], codes; None where there are none.
        slice_names: of the slices.
        slice_column: where they are from.
        left_out: run folder -> rows that are not compared, as other runs have not answered them.
        source: the rows with their texts; None where they cannot be read.
        notes: what the user should know.
    """

    folders: tuple[Path, ...]
    answers: tuple[Answers, ...]
    ids: np.ndarray
    kind: str
    origin: str
    folds: np.ndarray | None
    groups: np.ndarray | None
    slices: np.ndarray | None
    slice_names: tuple[str, ...]
    slice_column: str | None
    left_out: dict[str, int]
    source: Dataset | None
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)


def same_rows(runs: Sequence[RunRows], only_common: bool = False) -> SameRows:
    """Find the rows that all runs have answered.

    Args:
        runs: the baseline first.
        only_common: whether rows that some have not answered, or have with another label, are left out.

    Raises:
        DataError: there are such rows otherwise; or none that all have answered; or their folds differ.
    """
    baseline, notes = runs[0], []
    if baseline.rows == "validation":
        notes.append("these rows have chosen the best steps of the models, so that all metrics are flattered")
    keys, origin = _keys(runs)
    common = reduce(np.intersect1d, keys)
    order = [_positions(of_run, common) for of_run in keys]
    in_order = np.argsort(baseline.ids[order[0]], kind="stable")
    order = [positions[in_order] for positions in order]
    if not only_common:
        _check_complete(runs, keys, common, origin)
    if not len(common):
        raise DataError(f"no row of {origin} has been answered by all runs", "runs with the same rows")
    labels = [run.answers.labels[positions] for run, positions in zip(runs, order, strict=True)]
    agree = np.all([(of_run == labels[0]).reshape(len(common), -1).all(axis=1) for of_run in labels], axis=0)
    if not agree.all():
        if not only_common or not agree.any():
            raise _other_labels(runs, order, labels, agree)
        order = [positions[agree] for positions in order]
        notes.append(f"{(~agree).sum()} rows with different labels are left out")
    left_out = {str(run.folder): len(run.ids) - len(positions) for run, positions in zip(runs, order, strict=True)}
    source, unreadable = _source(baseline, order[0])
    notes += unreadable
    slices, slice_names, column = _slices(baseline, order[0], source)
    return SameRows(
        folders=tuple(run.folder for run in runs),
        answers=tuple(run.answers.take(positions) for run, positions in zip(runs, order, strict=True)),
        ids=baseline.ids[order[0]],
        kind=KINDS.get(baseline.rows, baseline.rows.replace("_", "-")),
        origin=origin,
        folds=_folds(runs, order),
        groups=_groups(source),
        slices=slices,
        slice_names=slice_names,
        slice_column=column,
        left_out=left_out if any(left_out.values()) else {},
        source=source,
        notes=tuple(notes),
    )


def _keys(runs: Sequence[RunRows]) -> tuple[list[np.ndarray], str]:
    """Return what identifies each run's rows, [rows] each, and what their source is called.

    Rows of one source are identified by their numbers in it; those of several sources by their texts, of which
    equal ones are counted.
    """
    baseline = runs[0]
    if all(run.source == baseline.source for run in runs):
        for run in runs[1:]:
            if (
                run.digest != baseline.digest
                and run.text_columns == baseline.text_columns
                and np.array_equal(run.ids, baseline.ids)
                and np.array_equal(run.answers.labels, baseline.answers.labels)
            ):
                raise DataError(
                    f"{baseline.source[0]} had other texts when {run.folder} was trained than for {baseline.folder}",
                    "the same rows",
                    "train again, or compare on other rows: --data FILE",
                )
        return [run.ids for run in runs], str(baseline.source[0])
    if len({run.text_columns[1] is None for run in runs}) > 1:
        raise DataError("some of the runs read pairs of texts, and others single ones, of different sources")
    keys = []
    for run in runs:
        try:
            digests = run.dataset.twin_keys() if run.dataset.has_pairs else run.dataset.digests
        except UserError as error:
            raise DataError(
                f"the runs' rows are of different sources ({', '.join(sorted({str(run.source[0]) for run in runs}))}), "
                f"and their texts cannot be compared: {error.got}",
                "the same rows",
                "--data FILE, whose labelled rows each of the runs then answers",
            ) from None
        _, text_of_row, counts = np.unique(digests, axis=0, return_inverse=True, return_counts=True)
        text_of_row = text_of_row.ravel()
        by_text = np.argsort(text_of_row, kind="stable")
        starts = np.cumsum(counts) - counts
        occurrence = np.empty(len(text_of_row), np.int64)
        occurrence[by_text] = np.arange(len(by_text)) - starts[text_of_row[by_text]]
        keys.append(np.array([f"{text.tobytes().hex()} {nth}" for text, nth in zip(digests, occurrence, strict=True)]))
    return keys, ", ".join(dict.fromkeys(str(run.source[0]) for run in runs))


def _positions(keys: np.ndarray, common: np.ndarray) -> np.ndarray:
    """Return where the common keys are among a run's."""
    by_key = np.argsort(keys, kind="stable")
    positions: np.ndarray = by_key[np.searchsorted(keys, common, sorter=by_key)]
    return positions


def _check_complete(runs: Sequence[RunRows], keys: Sequence[np.ndarray], common: np.ndarray, origin: str) -> None:
    if all(len(of_run) == len(common) for of_run in keys):
        return
    counts = ", ".join(f"{run.folder} {len(run.ids):,}" for run in runs)
    raise DataError(
        f"the runs have answered different rows of {origin}: {counts}, of which {len(common):,} are the same",
        "the same rows",
        ("--common compares only those, or " if len(common) else "")
        + "--data FILE, whose labelled rows each of the runs then answers",
    )


def _other_labels(
    runs: Sequence[RunRows], order: Sequence[np.ndarray], labels: Sequence[np.ndarray], agree: np.ndarray
) -> DataError:
    """Return the error that names the first row whose label is not the same in all runs."""
    row = int(np.flatnonzero(~agree)[0])
    number = runs[0].ids[order[0][row]]
    texts = ", ".join(
        f"{run.answers.target.to_text(of_run[row])!r} in {run.folder}" for run, of_run in zip(runs, labels, strict=True)
    )
    return DataError(
        f"{(~agree).sum():,} of {len(agree):,} rows have different labels in these runs; row {number}: {texts}",
        "the same rows",
        "--common compares only rows with the same label" if agree.any() else "",
    )


def _folds(runs: Sequence[RunRows], order: Sequence[np.ndarray]) -> np.ndarray | None:
    if runs[0].folds is None:
        return None
    of_rows = [run.folds[positions] for run, positions in zip(runs, order, strict=True) if run.folds is not None]
    for run, folds in zip(runs[1:], of_rows[1:], strict=True):
        if not np.array_equal(folds, of_rows[0]):
            raise DataError(
                f"{runs[0].folder} ({of_rows[0].max() + 1} folds) and {run.folder} ({folds.max() + 1} folds) hold out "
                "different rows together, so that their folds are no pairs",
                "the same folds: as many, and the same --training.seed, data.group and data.slice, or data.fold",
                "cross-validate again, or compare on rows that neither has seen: --data FILE",
            )
    return np.asarray(of_rows[0])


def _source(baseline: RunRows, positions: np.ndarray) -> tuple[Dataset | None, list[str]]:
    """Return the rows with their texts; or None, and why they cannot be read."""
    try:
        return baseline.dataset.take(np.sort(positions)), []
    except UserError as error:
        if baseline.requested:
            raise
        reason = f"the rows' source cannot be read, so that there are no texts, groups or slices of it: {error.got}"
        return None, [reason]


def _groups(source: Dataset | None) -> np.ndarray | None:
    """Return codes of groups, where any has more than one row."""
    if source is None or source.groups is None:
        return None
    names, codes = np.unique(source.groups.codes, return_inverse=True)
    return np.asarray(codes) if len(names) < len(source) else None


def _slices(
    baseline: RunRows, positions: np.ndarray, source: Dataset | None
) -> tuple[np.ndarray | None, tuple[str, ...], str | None]:
    column = baseline.config.data.slice
    if source is not None and source.slices is not None:
        present, codes = np.unique(source.slices.codes, return_inverse=True)
        return codes, tuple(source.slices.names[code] for code in present), column
    if source is None and baseline.slices is not None:
        names, codes = np.unique(np.array(baseline.slices)[positions], return_inverse=True)
        return codes, tuple(map(str, names)), column
    return None, (), None
