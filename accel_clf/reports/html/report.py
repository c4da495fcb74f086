"""The report of a run or a cross-validation, finished or not: one HTML file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from accel_clf.config.schema import Config
from accel_clf.core.console import log
from accel_clf.core.files import atomic_write
from accel_clf.reports.charts import check_installed
from accel_clf.reports.html.classes import confusion_section, opened_cells, per_class_section, slices_section
from accel_clf.reports.html.confidence import (
    coverage_section,
    reliability_section,
    residuals_section,
    threshold_section,
)
from accel_clf.reports.html.curves import curves_section
from accel_clf.reports.html.evidence import SUSPECTS, Evidence, read_evidence, without_texts
from accel_clf.reports.html.overview import configuration_section, data_section, overview_section
from accel_clf.reports.html.rows import rows_section, suspects_section
from accel_clf.reports.output import check_output
from accel_clf.reports.page import Section, render_page
from accel_clf.run_folder.layout import SPLIT_NAMES

FILE = "report.html"
RELOAD_SECONDS = 5
# Titles of the sections that are computed from the predictions for rows.
OF_LABELS = ("Reliability", "Thresholds", "Accuracy by coverage", "Rows worth a look")
OF_NUMBERS = ("Residuals", "Rows worth a look")


def write_report(run: Path, output: Path | None = None, *, with_texts: bool = True) -> Path:
    """Write the report of a run or a cross-validation.

    Args:
        run: its folder.
        output: the file; None for report.html in the folder.
        with_texts: whether to show texts of rows.

    Returns:
        The file.

    Raises:
        ConfigError: the folder is neither, the page cannot be written there, or matplotlib is not installed.
        UserError: a file in the folder is damaged.
    """
    output = output or run / FILE
    check_output(output)
    page = render_report(run, with_texts=with_texts)
    with atomic_write(output) as file:
        file.write(page)
    return output


def with_report(config: Config, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do the work that ends in results and, if the settings ask for a report, write it.

    Args:
        config: the settings.
        work: returns the contents of metrics.json; nothing where another process or a later fold has the last word.

    Returns:
        What it returns.

    Raises:
        ConfigError: the report cannot be written, or matplotlib is not installed, which is found out before the work.
    """
    if config.report:
        check_installed()
        check_output(Path(config.output) / FILE)
    results = work()
    if config.report and results:
        log(f"report: {write_report(Path(config.output))}")
    return results


def render_report(run: Path, *, with_texts: bool = True, reloads: bool = False) -> str:
    """Render the report of a run or a cross-validation, see `write_report`.

    Args:
        run: its folder.
        with_texts: whether to show texts of rows.
        reloads: whether the page loads itself again until the run is finished.
    """
    check_installed()
    evidence = read_evidence(run, with_texts)
    evidence = evidence if with_texts else without_texts(evidence)
    sections, data = _sections(evidence, with_texts)
    kind = "Cross-validation" if evidence.is_cross_validation else "Run"
    name = evidence.folder.resolve().name
    lead = [f"{evidence.config.model.name} on {evidence.config.data.train}"]
    if evidence.target or not evidence.is_finished:
        lead[0] += f" · {evidence.target.describe() if evidence.target else 'nothing is saved yet'}"
    if evidence.split:
        lead.append(f"What follows is about the {SPLIT_NAMES[evidence.split]} rows, unless it says otherwise.")
    lead += _left_out(evidence)
    if not with_texts:
        lead.append("Texts are left out.")
    is_live = reloads and not evidence.is_finished
    return render_page(
        f"{name} · accel_clf",
        sections,
        heading=f"{kind} {name}",
        lead=lead,
        data=data,
        styles=["report.css"],
        scripts=["report.js"],
        attributes={"reload": str(RELOAD_SECONDS)} if is_live else {},
    )


def _left_out(evidence: Evidence) -> list[str]:
    """Say which files a finished folder lacks, and which sections need them."""
    lines = []
    if missing := evidence.missing:
        sections = OF_LABELS if "per_class" in evidence.results else OF_NUMBERS
        verb = "is" if len(missing) == 1 else "are"
        lines.append(f"{' and '.join(missing)} {verb} missing. Left out because of that: {', '.join(sections)}.")
    if not evidence.suspects and evidence.metrics.get("suspect_labels", {}).get("listed"):
        lines.append(f"{SUSPECTS} is missing. Left out because of that: the rows of Suspect labels.")
    return lines


def _sections(evidence: Evidence, with_texts: bool) -> tuple[list[Section], dict[str, Any]]:
    sections: list[Section | None] = [overview_section(evidence), curves_section(evidence)]
    data: dict[str, Any] = {}
    if evidence.split:
        predictions = evidence.predictions
        if "confusion" in evidence.results:
            section, of_matrix = confusion_section(evidence)
            sections.append(section)
            data |= of_matrix
        if "per_class" in evidence.results:
            sections.append(per_class_section(evidence))
            data |= opened_cells(evidence)
        sections.append(slices_section(evidence))
        if predictions is not None:
            if "per_class" in evidence.results:
                sections.append(reliability_section(evidence, predictions))
                section, of_slider = threshold_section(evidence, predictions)
                sections += [section, coverage_section(evidence, predictions)]
                data |= of_slider
            else:
                sections.append(residuals_section(evidence, predictions))
            sections.append(rows_section(evidence, predictions, with_texts))
    sections += [suspects_section(evidence, with_texts), data_section(evidence), configuration_section(evidence)]
    return [section for section in sections if section], data
