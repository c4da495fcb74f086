"""Figures as a report shows them: each that metrics.json has carries the path to it, by which it can be checked."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from accel_clf.reports.intervals import Interval

NONE = "–"


def number(value: float | None) -> str:
    """Write a number: an integer with its thousands apart, another with four decimals."""
    if value is None:
        return NONE
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4f}"


def figure(path: Sequence[str | int], value: float | None) -> Markup:
    """Write a figure of metrics.json.

    Args:
        path: to it.
        value: there; None where it is not defined.
    """
    if value is None:
        return Markup(NONE)
    return Markup('<span data-figure="{}">{}</span>').format(json.dumps(path, ensure_ascii=False), number(value))


def interval(bounds: Interval | None) -> str:
    """Write an interval; none where all draws are the same, as of a label without errors."""
    return NONE if bounds is None or bounds.low == bounds.high else f"{bounds.low:.3f} to {bounds.high:.3f}"


def seconds(value: float) -> str:
    """Write a duration."""
    if value < 120:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def metric_name(name: str) -> str:
    """Write a metric's name."""
    return {"ece": "expected calibration error", "mae": "mean absolute error", "rmse": "root mean squared error"}.get(
        name, name.replace("_", " ")
    )


def averages(content: Mapping[str, Any]) -> dict[str, float]:
    """Return those entries of a part of metrics.json that are metrics, each one number."""
    return {
        name: value
        for name, value in content.items()
        if name != "rows" and isinstance(value, int | float) and not isinstance(value, bool)
    }
