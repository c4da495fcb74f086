"""Rows worth a look: the surest errors, the least sure answers, labels that are doubted."""

from typing import Any

import numpy as np

from accel_clf.reports.html.classes import opened_row, wrong_rows
from accel_clf.reports.html.evidence import Evidence, Predictions
from accel_clf.reports.html.figures import figure
from accel_clf.reports.page import Section, fragment
from accel_clf.run_folder.examples import least_sure, surest_errors
from accel_clf.targets.regression import Regression

MOST_SUSPECTS = 200


def rows_section(evidence: Evidence, predictions: Predictions, with_texts: bool) -> Section:
    """List the surest errors and the least sure answers."""
    target = evidence.target
    assert target, "there are predictions"
    errors = surest_errors(target, predictions.labels, predictions.scores, predictions.decided)
    unsure = least_sure(target, predictions.scores, predictions.decided)
    is_number = isinstance(target, Regression)

    def shown(rows: np.ndarray) -> list[list[Any]]:
        listed = [opened_row(evidence, predictions, row) for row in rows.tolist()]
        if is_number:
            differences = (predictions.decided - predictions.labels)[rows].tolist()
            listed = [[*row[:3], f"{error:+.3f}", *row[4:]] for row, error in zip(listed, differences, strict=True)]
        return listed

    return Section(
        "rows",
        "Rows worth a look",
        fragment(
            "rows.html",
            lists=[
                ("errors", "The numbers that are furthest off" if is_number else "The surest errors", shown(errors)),
                *([] if is_number else [("unsure", "The least sure answers", shown(unsure))]),
            ],
            wrong=len(predictions.ids) if is_number else wrong_rows(predictions),
            total=len(predictions.ids),
            headers=_headers(evidence, "off by" if is_number else "score", with_texts),
            has_score=target.has_score or is_number,
            with_texts=with_texts,
        ),
    )


def suspects_section(evidence: Evidence, with_texts: bool) -> Section | None:
    """List the labels that are doubted; None where a run has not looked for them, as only a cross-validation does."""
    counts = evidence.metrics.get("suspect_labels")
    if counts is None:
        return None
    texts = ("text", "text_pair") if with_texts else ()
    names = ["row", "label", "predicted", "probability_of_label", "issue", *texts]
    rows = []
    for row in evidence.suspects[:MOST_SUSPECTS]:
        values = [row[name] for name in names if name in row]
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


def _headers(evidence: Evidence, score: str, with_texts: bool) -> list[str]:
    return ["row", "label", "predicted", score, *_text_headers(evidence, with_texts)]


def _text_headers(evidence: Evidence, with_texts: bool) -> list[str]:
    if not with_texts:
        return []
    return ["text", "second text"] if evidence.config.data.pair else ["text"]
