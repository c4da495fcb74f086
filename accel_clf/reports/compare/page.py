"""A comparison as a page in one HTML file."""

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from markupsafe import Markup

from accel_clf.core.files import atomic_write
from accel_clf.reports import charts
from accel_clf.reports.charts import ACCENT, BAD, INK, LONGEST_NAME, SOFT, Chart
from accel_clf.reports.compare.differences import Difference, Pair
from accel_clf.reports.compare.report import Comparison
from accel_clf.reports.compare.row_differences import RowDifferences
from accel_clf.reports.compare.text import (
    counts_text,
    interval_text,
    method_line,
    most_different,
    number,
    p_text,
    rows_line,
    signed,
    verdict_text,
)
from accel_clf.reports.names import shortened
from accel_clf.reports.page import Fact, Section, fragment, isolated, render_page

MAX_DRAWN = 20  # labels or slices in a chart
MAX_ROWS = 500  # labels or slices in a table
_HEADERS = ["baseline", "this run", "difference", "95% interval", "p (Holm)", "shown", "rows"]


def write_page(path: Path, comparison: Comparison) -> None:
    """Write a comparison's page, which appears once it is complete."""
    page = comparison_page(comparison)
    with atomic_write(path) as file:
        file.write(page)


def comparison_page(comparison: Comparison) -> str:
    """Render a comparison: requirements, each run beside the baseline, and how it is computed."""
    folders = comparison.rows.folders
    several = len(comparison.pairs) > 1
    sections = []
    if comparison.outcomes:
        sections.append(Section("requirements", "Requirements", _requirements(comparison)))
    if several:
        sections.append(Section("overview", "All runs", _overview(comparison)))
    for index, (pair, of_rows) in enumerate(zip(comparison.pairs, comparison.row_differences, strict=True), 1):
        title = f"{pair.run} beside {pair.baseline}"
        sections.append(Section(f"run-{index}", title, _pair(f"run-{index}", pair, of_rows)))
    notes = {"method": method_line(comparison), "notes": comparison.notes}
    sections.append(Section("method", "How it is computed", fragment("compare_method.html", **notes)))
    names = ", ".join(str(folder) for folder in folders[1:])
    return render_page(
        f"{names} compared with {folders[0]}",
        sections,
        styles=["compare.css"],
        lead=[f"baseline: {folders[0]}", rows_line(comparison.rows)],
    )


def _requirements(comparison: Comparison) -> Markup:
    rows = [
        [
            outcome.requirement.text,
            _coloured("met" if outcome.is_met else "NOT MET", "better" if outcome.is_met else "worse"),
            outcome.explanation,
            outcome.run,
            signed(outcome.difference),
            interval_text(outcome.interval),
        ]
        for outcome in comparison.outcomes
    ]
    return fragment("compare_requirements.html", met=comparison.is_met, rows=rows)


def _overview(comparison: Comparison) -> Markup:
    metric = next(iter(comparison.pairs[0].metrics))
    differences = {str(pair.run): pair.metrics[metric] for pair in comparison.pairs}
    return fragment("compare_overview.html", chart=_forest("overview", f"Difference in {metric}", differences))


def _pair(id: str, pair: Pair, of_rows: RowDifferences) -> Markup:
    main = next(iter(pair.metrics.values()))
    low, high = main.interval()
    facts = [
        Fact(f"{main.metric} of the baseline", number(main.baseline)),
        Fact(f"{main.metric} of this run", number(main.run)),
        Fact("difference", signed(main.difference), f"95%: {interval_text((low, high))}"),
        Fact("shown", main.verdict, f"p {p_text(main.corrected_p)}"),
        Fact("rows with different answers", f"{pair.differing:,}", f"of {main.rows:,}"),
    ]
    tables = []
    if pair.labels:
        tables.append(_table(f"{id}-labels", "F1 by label", "label", pair.labels))
    if pair.slices:
        of_slices = {name: of[main.metric] for name, of in pair.slices.items()}
        tables.append(_table(f"{id}-slices", f"{main.metric} by slice", "slice", of_slices))
    rows = [
        (title, of_rows.counts[kind], [row for row in of_rows.listed if row.kind == kind])
        for kind, title in of_rows.titles.items()
        if of_rows.counts[kind]
    ]
    note = "Those of which a model was surest first. Rows are counted from 0, as in the runs' tables."
    return fragment(
        "compare_pair.html",
        name=str(pair.run),
        facts=facts,
        caption=f"Metrics of {pair.run}",
        headers=["metric", *_HEADERS[:-1]],
        metrics=[_row(name, of)[:-1] for name, of in pair.metrics.items()],
        counts=counts_text(pair) if pair.counts else "",
        tables=tables,
        rows=rows,
        rows_note=note,
        with_texts=any(row.text is not None for row in of_rows.listed),
    )


def _table(
    id: str, title: str, column: str, differences: Mapping[str, Difference]
) -> tuple[str, Sequence[str], Sequence[Sequence[Any]], Chart]:
    """Return a table of differences by label or slice, the surest first, and the chart of the first of them."""
    ordered = most_different(differences)
    more = f", the surest {MAX_ROWS} of {len(ordered):,} differences" if len(ordered) > MAX_ROWS else ""
    rows = [_row(name, of) for name, of in ordered[:MAX_ROWS]]
    chart = _forest(id, f"Difference in {title}", dict(ordered[:MAX_DRAWN]))
    return title + more, [column, *_HEADERS], rows, chart


def _row(name: str, of: Difference) -> list[str]:
    values = [number(of.baseline), number(of.run), signed(of.difference), interval_text(of.interval())]
    verdict = verdict_text(of)
    return [isolated(name), *values, p_text(of.corrected_p), _coloured(verdict, verdict), f"{of.rows:,}"]


def _coloured(text: str, verdict: str) -> Markup:
    return Markup('<span class="{}">{}</span>').format(verdict, text) if text else Markup("")


def _forest(id: str, title: str, differences: Mapping[str, Difference]) -> Chart:
    """Draw differences with their intervals, one below the other."""
    drawn = {name: of for name, of in differences.items() if isfinite(of.difference)}

    def paint(axes: Any) -> None:
        axes.axvline(0, color=SOFT, linewidth=1)
        for place, of in enumerate(drawn.values()):
            colour = {"worse": BAD, "better": ACCENT}.get(of.verdict, INK)
            low, high = of.interval()
            if isfinite(low) and isfinite(high):
                axes.plot([low, high], [place, place], color=colour, linewidth=2)
            axes.plot([of.difference], [place], "o", color=colour, markersize=6)
        axes.set_yticks(range(len(drawn)), [shortened(name, LONGEST_NAME) for name in drawn])
        axes.set_ylim(len(drawn) - 0.5, -0.5)
        axes.set_xlabel("this run less the baseline, with the 95% interval")

    shown = [f"{shortened(name)} {of.verdict}" for name, of in drawn.items() if of.verdict != "not shown"]
    description = f"{len(drawn)} differences with intervals; shown: {', '.join(shown[:8]) or 'none'}"
    return charts.draw(id, title, description, paint, size=(5.6, max(1.5, 0.9 + 0.3 * len(drawn))))
