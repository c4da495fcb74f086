"""What a run comes to on one screen, and what it was made with."""

import shlex
from typing import Any

import numpy as np
import yaml

from accel_clf.config.load import load
from accel_clf.config.schema import merge
from accel_clf.reports.charts import SERIES, Chart, draw
from accel_clf.reports.html.classes import metric_intervals
from accel_clf.reports.html.curves import last_step
from accel_clf.reports.html.evidence import Evidence
from accel_clf.reports.html.figures import NONE, averages, figure, interval, metric_name, seconds
from accel_clf.reports.page import Fact, Section, fragment, isolated
from accel_clf.run_folder.layout import SPLIT_NAMES

MOST_LABELS = 500  # of the table of their counts
MOST_FACTS = 4


def overview_section(evidence: Evidence) -> Section:
    """Show the metrics that say most, and all averages of all rows that were evaluated."""
    if not evidence.is_finished:
        return Section("overview", "So far", fragment("unfinished.html", step=last_step(evidence.logs)))
    bounds = metric_intervals(evidence, evidence.results, evidence.predictions) if evidence.split else {}
    facts = []
    if evidence.split:
        selecting = evidence.config.evaluation.metric
        names = averages(evidence.results)
        for name in dict.fromkeys([*(name for name in (selecting,) if name in names), *names]):
            note = f"95%: {interval(bounds[name])}" if name in bounds else ""
            facts.append(Fact(metric_name(name), figure([*evidence.path, name], names[name]), note))
        facts = facts[:MOST_FACTS]
        facts.append(
            Fact("rows", figure([*evidence.path, "rows"], evidence.results["rows"]), SPLIT_NAMES[evidence.split])
        )
    parts = _evaluated(evidence)
    columns = list(dict.fromkeys(name for path, content in parts.values() for name in averages(content)))
    table = []
    for name in columns:
        table.append(
            [metric_name(name), *(figure([*path, name], averages(of).get(name)) for path, of in parts.values())]
        )
        if evidence.split:
            table[-1].insert(2, interval(bounds.get(name)))
    if table:
        rows = ["rows", *(figure([*path, "rows"], of.get("rows")) for path, of in parts.values())]
        if evidence.split:
            rows.insert(2, "")
        table.append(rows)
    headers = ["metric", *parts]
    if evidence.split:
        headers.insert(2, "95% interval")
    return Section(
        "overview",
        "Results",
        fragment("overview.html", facts=facts, headers=headers, table=table, folds=_folds(evidence)),
    )


def _evaluated(evidence: Evidence) -> dict[str, tuple[list[str], Any]]:
    """Return all parts of metrics.json that are averages: name -> path and content, the split's first."""
    metrics = evidence.metrics
    parts: dict[str, tuple[list[str], Any]] = {}
    if evidence.split:
        parts[SPLIT_NAMES[evidence.split]] = ([evidence.split], evidence.results)
    for split in ("test", "held_out", "validation"):
        if split in metrics and split != evidence.split:
            is_ensemble = "ensemble" in metrics[split]
            path = [split, "ensemble"] if is_ensemble else [split]
            parts[SPLIT_NAMES[split] + " (ensemble)" * is_ensemble] = (
                path,
                metrics[split]["ensemble"] if is_ensemble else metrics[split],
            )
    if "mean" in metrics:
        parts["mean of the folds"] = (["mean"], metrics["mean"])
        parts["their spread"] = (["spread"], metrics["spread"])
    if "baseline" in metrics:
        parts["TF-IDF"] = (["baseline"], metrics["baseline"])
    return parts


def _folds(evidence: Evidence) -> dict[str, Any] | None:
    each = evidence.metrics.get("each")
    if not each:
        return None
    names = list(averages(each[0]))
    names.remove("fold")
    return {
        "headers": ["fold", "rows", *map(metric_name, names)],
        "rows": [
            [of["fold"], *(figure(["each", index, name], of.get(name)) for name in ("rows", *names))]
            for index, of in enumerate(each)
        ],
    }


def data_section(evidence: Evidence) -> Section | None:
    """Show what the rows are like: labels, lengths, what was cut, twins, leaks; None where it is not known."""
    facts = evidence.facts
    if not facts:
        return None
    splits = facts["splits"]
    names = {split: SPLIT_NAMES[split] for split in splits}
    table = [
        [
            names[split],
            f"{of['rows']:,}",
            *(f"{value:,.0f}" for value in of["tokens"].values()),
            f"{of['cut']:,} ({of['cut'] / of['rows']:.1%})",
            NONE if of["texts_of_training_rows"] is None else f"{of['texts_of_training_rows']:,}",
        ]
        for split, of in splits.items()
    ]
    counts = splits["train"]["labels"].get("counts")
    labels = []
    for name in list(counts or {})[:MOST_LABELS]:
        labels.append([isolated(name), *(f"{of['labels']['counts'].get(name, 0):,}" for of in splits.values())])
    without = {split: of["labels"]["rows_without"] for split, of in splits.items() if "rows_without" in of["labels"]}
    if without:
        labels.append(["(rows without a label)", *(f"{without.get(split, 0):,}" for split in splits)])
    numbers = [] if counts else [
        [names[split], *(f"{value:,.4g}" for value in of["labels"]["numbers"].values())] for split, of in splits.items()
    ]  # fmt: skip
    return Section(
        "data",
        "Data",
        fragment(
            "data.html",
            table=table,
            columns=[
                "rows of",
                "rows",
                *(f"tokens: {name}" for name in splits["train"]["tokens"]),
                "reach the limit",
                "with the text of a training row",
            ],
            cut=[of["cut_means"] for of in splits.values() if of["cut_means"]],
            labels=labels,
            split_names=list(names.values()),
            left_out_labels=max(0, len(counts or {}) - MOST_LABELS),
            most=MOST_LABELS,
            numbers=numbers,
            number_columns=["numbers of", *(splits["train"]["labels"].get("numbers") or {})],
            twins=facts["twins"],
            left_out=facts["left_out"],
            warnings=facts["warnings"],
            chart=_lengths(splits["train"]["lengths"], evidence.config.data.max_length),
        ),
    )


def _lengths(lengths: dict[str, Any], max_length: int) -> Chart:
    edges, rows = lengths["edges"], lengths["rows"]

    def paint(axes: Any) -> None:
        axes.bar(edges[:-1], rows, np.diff(edges), align="edge", color=SERIES[0], alpha=0.8)
        axes.set(xlabel="tokens", ylabel="training rows")
        if max_length <= edges[-1]:
            axes.axvline(max_length, color=SERIES[1], linestyle="--")

    table = [
        [f"{low:,.0f} to {high:,.0f}", f"{count:,}"] for low, high, count in zip(edges, edges[1:], rows, strict=False)
    ]
    described = f"At {max_length} tokens texts are cut."
    return draw(
        "chart-lengths", "Lengths of the training rows", described, paint, headers=["tokens", "rows"], rows=table
    )


def configuration_section(evidence: Evidence) -> Section:
    """Show settings, command, versions, duration and cost."""
    defaults = load(None, {"data": {"train": "-"}, "model": {"name": "-"}, "output": "-"}).model_dump(mode="json")
    config = evidence.config.model_dump(mode="json")
    changed = _different(config, defaults)
    environment = evidence.environment
    training = evidence.trainings
    processes = environment.get("processes", 1)
    spent = sum(of["seconds"] for of in training.values())
    is_one = not evidence.is_cross_validation
    items = []
    if training:
        value = figure(["training", "seconds"], spent) if is_one else f"{spent:,.4f}"
        items.append(["seconds of training", value, f"{seconds(spent)}, without evaluation and saving"])
        items.append(["processes", f"{processes:,}", f"{spent * processes / 3600:,.3f} process hours"])
        steps = sum(of["steps"] for of in training.values())
        rows = sum(of["rows"] for of in training.values())
        of_folds = "" if is_one else f" of {len(training)} finished fold{'s' * (len(training) > 1)} together"
        of_rows = f"on {rows:,} rows{of_folds}"
        items.append(["steps", figure(["training", "steps"], steps) if is_one else f"{steps:,}", of_rows])
    for name in ("device", "platform", "python", "cpus"):
        if name in environment:
            items.append([name, environment[name], ""])
    return Section(
        "configuration",
        "Configuration",
        fragment(
            "configuration.html",
            items=items,
            command=shlex.join(environment.get("command", [])),
            from_step=environment.get("from_step", 0),
            versions=[[name, version or NONE] for name, version in environment.get("versions", {}).items()],
            changed=_yaml(merge({"model": {"name": config["model"]["name"]}}, changed)),
            everything=_yaml(config),
        ),
    )


def _different(settings: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    different = {}
    for name, value in settings.items():
        if isinstance(value, dict) and isinstance(defaults.get(name), dict):
            if inner := _different(value, defaults[name]):
                different[name] = inner
        elif value != defaults.get(name):
            different[name] = value
    return different


def _yaml(settings: dict[str, Any]) -> str:
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
