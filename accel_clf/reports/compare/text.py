"""What `accel-clf compare` prints."""

import textwrap
from collections.abc import Mapping, Sequence
from math import isfinite

from accel_clf.core.console import format_table
from accel_clf.reports.compare.differences import Difference, Pair
from accel_clf.reports.compare.paired import OfFolds, OfShares, mcnemar_p
from accel_clf.reports.compare.report import Comparison
from accel_clf.reports.compare.requirements import Outcome
from accel_clf.reports.compare.row_differences import DifferentRow, RowDifferences
from accel_clf.reports.compare.same_rows import SameRows
from accel_clf.reports.names import NO_LABEL, shortened

WIDTH = 100
MAX_LISTED = 12  # labels, and slices
LONGEST_ANSWER = 24  # of a row, characters: the right answer, both models' and some of the text fit into a line


def comparison_text(comparison: Comparison) -> str:
    """Write a comparison as small tables."""
    rows = comparison.rows
    method = textwrap.fill(method_line(comparison), WIDTH, subsequent_indent="  ")
    parts = ["\n".join([f"baseline: {rows.folders[0]}", rows_line(rows), method])]
    parts += [textwrap.fill(f"note: {note}", WIDTH, subsequent_indent="  ") for note in comparison.notes]
    for pair, of_rows in zip(comparison.pairs, comparison.row_differences, strict=True):
        parts += _pair(pair, of_rows, len(comparison.pairs) > 1)
    parts += ["\n".join(map(outcome_line, comparison.outcomes))] if comparison.outcomes else []
    return "\n\n".join(parts)


def rows_line(rows: SameRows) -> str:
    """Say which rows are compared."""
    folds = "" if rows.folds is None else f", in {rows.folds.max() + 1} folds"
    return f"{len(rows):,} {rows.kind} rows of {rows.origin}{folds}"


def method_line(comparison: Comparison) -> str:
    """Say what intervals and p-values are."""
    evidence = {name: of.evidence for name, of in comparison.pairs[0].metrics.items()}
    of_rows = {name: of.of_rows if isinstance(of, OfFolds) else of for name, of in evidence.items()}
    shares = [name for name, of in of_rows.items() if isinstance(of, OfShares)]
    of_shares = f"; of {', '.join(shares)}: the score interval, and McNemar's p" if shares else ""
    method = f"paired bootstrap, {comparison.resamples:,} resamples{of_shares}"
    if comparison.rows.folds is None:
        return f"95% intervals: {method}"
    return (
        "95% intervals and p: corrected resampled t-test over folds, whose models share training rows; never surer "
        f"than by the rows alone ({method})"
    )


def outcome_line(outcome: Outcome) -> str:
    """Say whether a requirement is met, and what is shown."""
    status = "met" if outcome.is_met else "NOT MET"
    of = f"{signed(outcome.difference)}, {interval_text(outcome.interval)}"
    return f"{status}: {outcome.requirement.text}: {outcome.run}: {outcome.explanation} ({of})"


def signed(value: float) -> str:
    """Write a difference."""
    return f"{value:+.4f}" if isfinite(value) else "-"


def number(value: float) -> str:
    """Write a metric."""
    return f"{value:.4f}".replace("-0.0000", "0.0000") if isfinite(value) else "-"


def interval_text(interval: Sequence[float]) -> str:
    """Write an interval."""
    low, high = interval
    return f"{low:+.4f} to {high:+.4f}" if isfinite(low) and isfinite(high) else "-"


def p_text(value: float) -> str:
    """Write a p-value."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def verdict_text(difference: Difference) -> str:
    """Write what is shown."""
    return "" if difference.verdict == "not shown" else difference.verdict


def most_different(differences: Mapping[str, Difference]) -> list[tuple[str, Difference]]:
    """Sort labels or slices: the surest differences first, then the largest."""

    def key(item: tuple[str, Difference]) -> tuple[float, float]:
        difference = abs(item[1].difference)
        return item[1].evidence.two_sided_p(), -difference if isfinite(difference) else 0.0

    return sorted(differences.items(), key=key)


def counts_text(pair: Pair) -> str:
    """Write how many rows are right by which of two runs; with McNemar's p, where rows are independent."""
    assert pair.counts, "numbers are not right or wrong"
    counts, (exact, _) = pair.counts, mcnemar_p(pair.counts)
    test = f" (McNemar's p {p_text(exact)})" if pair.are_independent else ""
    return (
        f"rows right: by both {counts.both:,}, only by the baseline {counts.baseline:,}, only by this run "
        f"{counts.other:,}, by neither {counts.neither:,}{test}"
    )


def _pair(pair: Pair, of_rows: RowDifferences, is_corrected: bool) -> list[str]:
    p = "p (Holm)" if is_corrected else "p"
    header = ["", "baseline", "run", "difference", "95% interval", p, "shown"]
    parts = [f"{pair.run}\n" + format_table(header, [_line(name, of) for name, of in pair.metrics.items()])]
    if pair.counts:
        parts.append(f"  {counts_text(pair)}")
    if pair.labels:
        parts.append(_listed("f1 of label", pair.labels, "p (Holm)"))
    if pair.slices:
        metric = next(iter(pair.metrics))
        parts.append(_listed(f"{metric} of", {name: of[metric] for name, of in pair.slices.items()}, "p (Holm)"))
    if of_rows.listed:
        parts.append(_rows(pair, of_rows))
    return parts


def _line(name: str, of: Difference) -> list[str]:
    values = [number(of.baseline), number(of.run), signed(of.difference), interval_text(of.interval())]
    return [shortened(name), *values, p_text(of.corrected_p), verdict_text(of)]


def _listed(title: str, differences: Mapping[str, Difference], p: str) -> str:
    header = [title, "baseline", "run", "difference", "95% interval", p, "shown", "rows"]
    listed = most_different(differences)[:MAX_LISTED]
    table = format_table(header, [[*_line(name, of), f"{of.rows:,}"] for name, of in listed])
    more = len(differences) - len(listed)
    return table + (f"\n  ... {more} more" if more else "")


def _rows(pair: Pair, of_rows: RowDifferences) -> str:
    lines = [f"  {pair.differing:,} rows with different answers (label: the baseline's -> this run's):"]
    for kind, title in of_rows.titles.items():
        if count := of_rows.counts[kind]:
            lines.append(f"  {title}: {count:,}")
            lines += [_row(row) for row in of_rows.listed if row.kind == kind]
    return "\n".join(lines)


def _row(row: DifferentRow) -> str:
    label, baseline, run = (shortened(name or NO_LABEL, LONGEST_ANSWER) for name in (row.label, row.baseline, row.run))
    answers = f"{label}: {baseline} -> {run}"
    return shortened(f"    row {row.row}, {answers}" + ("" if row.text is None else f"  {row.text}"), WIDTH)
