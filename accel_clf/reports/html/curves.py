"""Learning curves: losses, the metric that selects the best model, learning rates."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from accel_clf.reports.charts import ACCENT, SERIES, SOFT, Chart, draw
from accel_clf.reports.html.evidence import Evidence
from accel_clf.reports.html.figures import figure, metric_name, number
from accel_clf.reports.page import Section, fragment
from accel_clf.targets.metrics import LOWER_IS_BETTER

MAX_POINTS, MAX_ROWS = 500, 100  # of a line; of its table
MOST_EXPLAINED, LEGEND_COLUMNS = 12, 3  # lines of a legend
WIDTH_OF_MEAN = 25  # points, of the moving average of the training loss
Log = Sequence[Mapping[str, Any]]


def curves_section(evidence: Evidence) -> Section:
    """Draw what was logged during training."""
    logs = {name: log for name, log in evidence.logs.items() if log}
    metric = evidence.config.evaluation.metric
    charts = [_losses(logs), _validation(logs, metric, _best_steps(evidence, logs)), _learning_rates(logs)]
    return Section(
        "learning",
        "Learning curves",
        fragment("curves.html", charts=[chart for chart in charts if chart], best=_best_text(evidence, logs)),
    )


def last_step(logs: Mapping[str, Log]) -> int:
    """Return the last step that was logged."""
    return max((line["step"] for log in logs.values() for line in log), default=0)


def _best_steps(evidence: Evidence, logs: Mapping[str, Log]) -> dict[str, int]:
    """Return the step of the best model of each log: as metrics.json has it, or the best so far."""
    if not evidence.is_cross_validation and evidence.is_finished:
        return dict.fromkeys(logs, evidence.metrics["training"]["best_step"])
    steps = {}
    for name, log in logs.items():
        points = _points(log, "validation", evidence.config.evaluation.metric)
        if points:
            sign = -1 if evidence.config.evaluation.metric in LOWER_IS_BETTER else 1
            steps[name] = max(points, key=lambda point: sign * point[1])[0]  # the first of equal ones
    return steps


def _best_text(evidence: Evidence, logs: Mapping[str, Log]) -> Any:
    best = _best_steps(evidence, logs)
    if not best:
        return ""
    if evidence.is_cross_validation:
        return "The best step of each fold: " + ", ".join(f"{name} {step:,}" for name, step in best.items()) + "."
    if not evidence.is_finished:
        return f"The best step so far: {next(iter(best.values())):,}. The run is not finished."
    training = evidence.metrics["training"]
    return fragment(
        "best_step.html",
        best=figure(["training", "best_step"], training["best_step"]),
        steps=figure(["training", "steps"], training["steps"]),
        stopped_early=training["stopped_early"],
    )


def _points(log: Log, event: str, name: str) -> list[tuple[int, float]]:
    return [(line["step"], line[name]) for line in log if line["event"] == event and line.get(name) is not None]


def _thinned(points: Sequence[Any], most: int) -> Sequence[Any]:
    """Return at most so many points, evenly spread, the last among them."""
    if len(points) <= most:
        return points
    return [points[index] for index in np.linspace(0, len(points) - 1, most).round().astype(int)]


def _losses(logs: Mapping[str, Log]) -> Chart | None:
    trained = {name: points for name, log in logs.items() if (points := _points(log, "train", "loss"))}
    validated = {name: points for name, log in logs.items() if (points := _points(log, "validation", "log_loss"))}
    if not trained:
        return None
    is_one = len(logs) == 1
    dashed: dict[str, Any] = {"linestyle": "--", "marker": "o", "markersize": 4}
    entries = len(trained) + bool(validated)

    def paint(axes: Any) -> None:
        for index, (name, points) in enumerate(trained.items()):
            steps, losses = zip(*_thinned(points, MAX_POINTS), strict=True)
            colour = SERIES[index % len(SERIES)]
            axes.plot(steps, losses, color=colour, alpha=0.35 if len(points) >= WIDTH_OF_MEAN else 1, linewidth=1)
            smooth = _moving_average(points)
            label = "training" if is_one else name
            axes.plot(*zip(*_thinned(smooth, MAX_POINTS), strict=True), color=colour, label=label)
        for index, points in enumerate(validated.values()):
            colour = SERIES[1] if is_one else SERIES[index % len(SERIES)]
            axes.plot(*zip(*points, strict=True), color=colour, **dashed)
        if validated:
            axes.plot([], [], color=SERIES[1] if is_one else SOFT, label="validation (log loss)", **dashed)
        _finish(axes, "loss", entries)

    rows = [[f"{step:,}", name, number(loss)] for name, of in trained.items() for step, loss in _thinned(of, MAX_ROWS)]
    rows += [[f"{step:,}", f"{name}, validation", number(loss)] for name, of in validated.items() for step, loss in of]
    note = " The training loss is the mean since the line before; the strong line is its moving average."
    headers = ["step", "of", "loss"]
    return draw("chart-loss", "Loss by step", note.strip(), paint, headers=headers, rows=rows, size=_size(entries))


def _validation(logs: Mapping[str, Log], metric: str, best: Mapping[str, int]) -> Chart | None:
    validated = {name: points for name, log in logs.items() if (points := _points(log, "validation", metric))}
    if not validated:
        return None
    title = f"{metric_name(metric).capitalize()} on the validation rows by step"

    def paint(axes: Any) -> None:
        for index, (name, points) in enumerate(validated.items()):
            colour = SERIES[index % len(SERIES)]
            steps, values = zip(*points, strict=True)
            axes.plot(steps, values, color=colour, marker="o", markersize=4, label=name)
            if name in best:
                value = dict(points).get(best[name])
                if value is not None:
                    axes.plot([best[name]], [value], color=colour, marker="*", markersize=14, linestyle="none")
                if len(validated) == 1:
                    axes.axvline(best[name], color=ACCENT, linestyle=":", linewidth=1.5)
        _finish(axes, metric_name(metric), len(validated))

    rows = [
        [f"{step:,}", name, number(value), "*" if best.get(name) == step else ""]
        for name, points in validated.items()
        for step, value in points
    ]
    described = "; ".join(f"{name}: best at step {step:,}" for name, step in best.items())
    headers = ["step", "of", metric_name(metric), "best"]
    described = f"A star marks the best step. {described}"
    size = _size(len(validated))
    return draw("chart-metric", title, described, paint, headers=headers, rows=rows, size=size)


def _learning_rates(logs: Mapping[str, Log]) -> Chart | None:
    points = _points(next(iter(logs.values()), []), "train", "rate")
    if not points:
        return None

    def paint(axes: Any) -> None:
        axes.plot(*zip(*_thinned(points, MAX_POINTS), strict=True), color=SERIES[2])
        axes.set_ylim(bottom=0)
        _finish(axes, "learning rate", 1)

    rows = [[f"{step:,}", f"{rate:.3g}"] for step, rate in _thinned(points, MAX_ROWS)]
    return draw("chart-rate", "Learning rate by step", "", paint, headers=["step", "learning rate"], rows=rows)


def _moving_average(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    if len(points) < WIDTH_OF_MEAN:
        return list(points)
    steps, values = zip(*points, strict=True)
    sums = np.cumsum([0.0, *values])
    starts = np.maximum(0, np.arange(len(values)) + 1 - max(2, WIDTH_OF_MEAN // 3))
    ends = np.arange(len(values)) + 1
    return list(zip(steps, ((sums[ends] - sums[starts]) / (ends - starts)).tolist(), strict=True))


def _size(entries: int) -> tuple[float, float]:
    """Return the size of a chart, with place for its legend below it."""
    lines = -(-entries // LEGEND_COLUMNS) if 1 < entries <= MOST_EXPLAINED else 0
    return 4.4, 2.9 + 0.2 * lines


def _finish(axes: Any, name: str, entries: int) -> None:
    axes.set_xlabel("step")
    axes.set_ylabel(name)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if 1 < entries <= MOST_EXPLAINED:  # outside, as lines may be anywhere
        axes.figure.legend(loc="outside lower center", ncols=LEGEND_COLUMNS, labelcolor=SOFT)
