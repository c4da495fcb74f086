"""All that `accel-clf compare` says, and its JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

from accel_clf.reports.compare.comparison import RESAMPLES, compare
from accel_clf.reports.compare.differences import Pair, mcnemar_json
from accel_clf.reports.compare.paired import CONFIDENCE
from accel_clf.reports.compare.requirements import Outcome, Requirement, check
from accel_clf.reports.compare.row_differences import RowDifferences, row_differences
from accel_clf.reports.compare.same_rows import SameRows

FEW_DIFFERING = 10  # rows whose answers differ, below which resamples know little of how much others would


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs beside the first of them.

    Attributes:
        rows: that all have answered.
        pairs: each run beside the baseline.
        row_differences: of each of these.
        outcomes: of each requirement for each run.
        resamples: of the rows.
        notes: what the user should know.
    """

    rows: SameRows
    pairs: tuple[Pair, ...]
    row_differences: tuple[RowDifferences, ...]
    outcomes: tuple[Outcome, ...]
    resamples: int
    notes: tuple[str, ...]

    @property
    def is_met(self) -> bool:
        """Whether all requirements hold."""
        return all(outcome.is_met for outcome in self.outcomes)

    def to_json(self) -> dict[str, Any]:
        """Return what `accel-clf compare --json` prints."""
        rows = self.rows
        content = {
            "baseline": str(rows.folders[0]),
            "runs": [str(folder) for folder in rows.folders[1:]],
            "target": rows.answers[0].target.kind,
            "rows": {
                "kind": rows.kind,
                "source": rows.origin,
                "count": len(rows),
                "folds": None if rows.folds is None else int(rows.folds.max()) + 1,
                "groups": None if rows.groups is None else int(rows.groups.max()) + 1,
                "left_out": rows.left_out,
            },
            "confidence": CONFIDENCE,
            "resamples": self.resamples,
            "comparisons": [
                {
                    "run": str(pair.run),
                    "metrics": {name: of.to_json() for name, of in pair.metrics.items()},
                    "mcnemar": mcnemar_json(pair),
                    "labels": {name: of.to_json() for name, of in pair.labels.items()},
                    "slices": {
                        name: {metric: of.to_json() for metric, of in of_slice.items()}
                        for name, of_slice in pair.slices.items()
                    },
                    "different_rows": {
                        "count": pair.differing,
                        **of_rows.counts,
                        "listed": [row.to_json() for row in of_rows.listed],
                    },
                }
                for pair, of_rows in zip(self.pairs, self.row_differences, strict=True)
            ],
            "requirements": [outcome.to_json() for outcome in self.outcomes],
            "met": self.is_met,
            "notes": list(self.notes),
        }
        without_nan: dict[str, Any] = _without_nan(content)
        return without_nan


def compare_runs(
    rows: SameRows,
    metrics: Sequence[str] = (),
    requirements: Sequence[Requirement] = (),
    *,
    resamples: int = RESAMPLES,
    examples: int = 10,
    with_texts: bool = True,
) -> Comparison:
    """Compare runs with the first of them.

    Args:
        rows: that all have answered.
        metrics: to compare, beside those that are required; by default those that a run of this kind always has.
        requirements: to check.
        resamples: of the rows.
        examples: how many rows of each kind are listed.
        with_texts: whether with their texts.

    Raises:
        ConfigError: there is no such metric or slice.
    """
    pairs = compare(rows, metrics, resamples, [requirement.metric for requirement in requirements])
    return Comparison(
        rows=rows,
        pairs=tuple(pairs),
        row_differences=tuple(row_differences(rows, run, examples, with_texts) for run in range(1, len(rows.answers))),
        outcomes=tuple(check(requirements, pairs, rows.slice_column)),
        resamples=resamples,
        notes=(*rows.notes, *_notes(rows, pairs)),
    )


def _notes(rows: SameRows, pairs: Sequence[Pair]) -> list[str]:
    notes = []
    if rows.left_out:
        counts = ", ".join(f"{count:,} of {folder}" for folder, count in rows.left_out.items() if count)
        notes.append(f"rows that not all runs have answered are left out: {counts}")
    if rows.groups is not None:
        notes.append(f"rows are drawn by their {int(rows.groups.max()) + 1:,} groups, as those of one belong together")
    few = [str(pair.run) for pair in pairs if pair.counts and pair.differing < FEW_DIFFERING]
    if few:
        notes.append(
            f"fewer than {FEW_DIFFERING} answers of {', '.join(few)} differ from the baseline's: intervals of "
            "metrics of labels, such as F1, are too narrow"
        )
    return notes


def _without_nan(value: Any) -> Any:
    """Write what is not defined as null."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and isnan(value) else value
