"""Rows worth a look: the surest errors, the least sure answers, labels that are doubted."""

from typing import Any

import numpy as np
from markupsafe import Markup

from accel_clf.reports.html.classes import opened_row, wrong_rows
from accel_clf.reports.html.evidence import Evidence, Predictions
from accel_clf.reports.html.figures import figure
from accel_clf.reports.names import NO_LABEL
from accel_clf.reports.page import Section, fragment, isolated
from accel_clf.run_folder.examples import (
    confidence,
    least_sure,
    least_sure_labels,
    most_wrong_labels,
    surest_errors,
)
from accel_clf.targets.base import Target
from accel_clf.targets.multi_label import MultiLabel
from accel_clf.targets.regression import Regression

MOST_SUSPECTS = 200


def rows_section(evidence: Evidence, predictions: Predictions, with_texts: bool) -> Section:
    """List the surest errors and the least sure answers."""
    target, of_all = evidence.target, (predictions.labels, predictions.scores, predictions.decided)
    assert target, "there are predictions"
    is_number = isinstance(target, Regression)
    errors = "The numbers that are furthest off" if is_number else "The surest errors"
    lists = [("errors", errors, surest_errors(target, *of_all))]
    if not is_number:
        lists.append(("unsure", "The least sure answers", least_sure(target, *of_all[1:])))
    tables = []
    for id, title, rows in lists:
        columns, values = _how_sure(target, *(of[rows] for of in of_all), are_errors=id == "errors")
        listed = []
        for row, of_row in zip(rows.tolist(), values, strict=True):
            number, label, predicted, _, *texts = opened_row(evidence, predictions, row)
            listed.append([number, isolated(label), isolated(predicted), *of_row, *texts])
        headers = ["row", "label", "predicted", *columns, *_text_headers(evidence, with_texts)]
        tables.append((id, title, headers, listed))
    return Section(
        "rows",
        "Rows worth a look",
        fragment(
            "rows.html",
            lists=tables,
            wrong=len(predictions.ids) if is_number else wrong_rows(predictions),
            total=len(predictions.ids),
            several=isinstance(target, MultiLabel),
            with_texts=with_texts,
        ),
    )


def _how_sure(
    target: Target, labels: np.ndarray, scores: np.ndarray, decided: np.ndarray, *, are_errors: bool
) -> tuple[list[str], list[list[Any]]]:
    """Say how sure the answers for some rows are: the columns' names, and the values of each row."""
    if isinstance(target, Regression):
        return ["off by"], [[f"{error:+.3f}"] for error in (decided - labels).tolist()]
    if not isinstance(target, MultiLabel):
        return ["score"], [[f"{score:.3f}"] for score in confidence(target, scores, decided).tolist()]
    codes = most_wrong_labels(target, labels, scores, decided) if are_errors else least_sure_labels(target, scores)
    values = []
    for code, of_row in zip(codes.tolist(), scores, strict=True):
        score = Markup("{:.3f}<small>from {:.3f}</small>").format(of_row[code], target.cuts[code])
        values.append([isolated(target.names[code]), score])
    return ["most wrong" if are_errors else "least sure", "score"], values


def suspects_section(evidence: Evidence, with_texts: bool) -> Section | None:
    """List the labels that are doubted; None where a run has not looked for them, as only a cross-validation does."""
    counts = evidence.metrics.get("suspect_labels")
    if counts is None:
        return None
    texts = ("text", "text_pair") if with_texts else ()
    names = ["row", "label", "predicted", "probability_of_label", "issue", *texts]
    rows = []
    for row in evidence.suspects[:MOST_SUSPECTS]:
        values: list[Any] = [row[name] for name in names if name in row]
        values[1:3] = [isolated(name or NO_LABEL) for name in values[1:3]]
        values[3] = f"{float(values[3]):.3f}"
        values[4] = "yes" if values[4] == "true" else "no"
        rows.append(values)
    return Section(
        "suspects",
        "Suspect labels",
        fragment(
            "suspects.html",
            rows=rows,
            listed=figure(["suspect_labels", "listed"], counts["listed"]),
            issues=figure(["suspect_labels", "issues"], counts["issues"]),
            headers=[
                "row",
                "label",
                "predicted",
                "probability of the label",
                "most likely wrong",
                *_text_headers(evidence, with_texts),
            ],
        ),
    )


def _text_headers(evidence: Evidence, with_texts: bool) -> list[str]:
    if not with_texts:
        return []
    return ["text", "second text"] if evidence.config.data.pair else ["text"]
