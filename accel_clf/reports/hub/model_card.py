"""A model card: what a repository on the Hub says of the model in it, in Markdown below metadata.

Its figures are those of metrics.json; only their intervals are computed. What was not measured is not there: neither
the carbon that training has cost, nor what the model does on texts of another kind.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from huggingface_hub import ModelCard

from accel_clf import __version__
from accel_clf.reports.hub.card_facts import Facts, MeasuredSplit
from accel_clf.reports.hub.card_limits import NOT_MEASURED, limits
from accel_clf.reports.hub.card_metadata import CardOptions, base_model_of, card_data, dataset_of
from accel_clf.reports.hub.card_metrics import metric_title, metric_words
from accel_clf.reports.hub.card_sources import Source, shared_name, source_of
from accel_clf.reports.hub.card_usage import usage
from accel_clf.reports.hub.markdown import escape, listed, table
from accel_clf.reports.intervals import Interval, wilson
from accel_clf.targets.metrics import LabelMetrics

MOST_LABELS = 25  # in a table or a line


def model_card(facts: Facts, options: CardOptions) -> ModelCard:
    """Write the model card of a run or a cross-validation.

    Args:
        facts: of its folder.
        options: what only its author knows.
    """
    sections = [
        f"# {escape(facts.name)}",
        _lead(facts, options),
        usage(facts),
        "## Results",
        *([] if facts.splits else [NOT_MEASURED]),
        *(_split(facts, split, is_first=number == 0) for number, split in enumerate(facts.splits)),
        *_baseline(facts),
        "## Scores and thresholds",
        _calibration(facts),
        "## Data",
        _data(facts, options),
        "## Intended use and limits",
        _intended_use(facts, options),
        "\n".join(f"- {limit}" for limit in limits(facts)),
        "## Training",
        _training(facts, options),
    ]
    data = card_data(facts, options)
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n")


def _lead(facts: Facts, options: CardOptions) -> str:
    names, kind = facts.target.names, facts.target.kind
    pair = "a pair of texts" if facts.config.data.pair is not None else "a text"
    predicts = {
        "single_label": f"one of {len(names)} labels of {pair}",
        "multi_label": f"any number of {len(names)} labels of {pair}",
        "ordinal": f"one of {len(names)} labels in order, of {pair}",
        "regression": f"a number, {escape(names[0])}, of {pair}",
    }[kind]
    labels = "" if kind == "regression" else f": {listed(names, MOST_LABELS)}"
    models = (
        f" {facts.folds} models, each trained on all but one part of the data, answer together, by the mean of their "
        "scores; they are in the folders `fold-0` and on."
        if facts.folds
        else ""
    )
    return f"It predicts {predicts}{labels}.{models} It was made from {_base_model(facts, options)}."


def _base_model(facts: Facts, options: CardOptions) -> str:
    settings, hub = facts.config.model, base_model_of(facts, options)
    if settings.name == "demo" and not hub:
        return "a tiny encoder with random weights, the demo of accel_clf"
    if not hub:
        return f"the encoder in a local folder, {escape(shared_name(settings.name))}"
    revision = f" (revision {escape(settings.revision)})" if settings.revision and hub == settings.name else ""
    return f"[{escape(hub)}](https://huggingface.co/{hub}){revision}"


def _interval(interval: Interval | None) -> str:
    return f"{interval.low:.4f} to {interval.high:.4f}" if interval else ""


def _split(facts: Facts, split: MeasuredSplit, is_first: bool) -> str:
    """Write what was measured on some rows: averages, slices and, the first time, labels."""
    metrics, intervals = split.metrics, split.intervals
    values = {name: value for name, value in metrics.values.items() if isfinite(value)}
    header = ["metric", "value", "95% interval"]
    rows = [
        [escape(metric_title(name, facts.target)), f"{value:.4f}", _interval(intervals.get(name))]
        for name, value in values.items()
    ]
    if folds := split.folds:
        header.append("each model alone")
        for row, name in zip(rows, values, strict=True):
            row.append(f"{folds.mean[name]:.4f} ± {folds.spread[name]:.4f}" if name in folds.mean else "")
    parts = [f"### {split.title}: {metrics.rows:,}", split.note, table(header, rows)]
    if is_first and metrics.per_class:
        parts += _labels(metrics.per_class, facts.target.thresholds_by_name())
    if metrics.slices:
        column = facts.config.data.slice or "slice"
        parts += [f"By {escape(column)}:", _slices(split, list(values)[:2])]
    return "\n\n".join(parts)


def _labels(per_class: dict[str, LabelMetrics], thresholds: Mapping[str, float]) -> list[str]:
    """Write the table of labels; of many, those that are predicted worst."""
    items = list(per_class.items())
    intro = "By label, with 95% intervals:"
    if len(items) > MOST_LABELS:
        items = sorted((item for item in items if item[1].rows), key=lambda item: item[1].f1)[:MOST_LABELS]
        intro = f"The {len(items)} labels of {len(per_class)} with the lowest F1, with 95% intervals:"
    header = ["label", "precision", "recall", "F1", "rows", *(["threshold"] if thresholds else [])]
    rows = [
        [
            escape(name),
            _share(of.precision, of.predicted or 0),
            _share(of.recall, of.rows),
            f"{of.f1:.3f}",
            f"{of.rows:,}",
            *([f"{thresholds[name]:.3f}"] if thresholds else []),
        ]
        for name, of in items
    ]
    return [intro, table(header, rows)]


def _share(share: float, count: int) -> str:
    if not count:
        return "not measured"
    low, high = wilson(share, count)
    return f"{share:.3f} ({low:.3f} to {high:.3f})"


def _slices(split: MeasuredSplit, columns: Sequence[str]) -> str:
    rows = []
    for name, averages in split.metrics.slices.items():
        intervals = split.intervals_of(name)
        cells = [f"{averages[column]:.4f}" if isfinite(averages[column]) else "" for column in columns]
        with_interval = next((column for column in averages.values if column in intervals), None)
        interval = (
            f"{metric_title(with_interval, split.target)}: {_interval(intervals[with_interval])}"
            if with_interval
            else ""
        )
        rows.append([escape(name), f"{averages.rows:,}", *cells, interval])
    titles = [metric_title(column, split.target) for column in columns]
    return table(["slice", "rows", *titles, "95% interval"], rows)


def _baseline(facts: Facts) -> list[str]:
    if "baseline" not in facts.results:
        return []
    target = facts.target
    values = ", ".join(f"{metric_words(name, target)} {value:.4f}" for name, value in facts.results["baseline"].items())
    return [f"Words alone (TF-IDF and {target.baseline_name}), on the {facts.baseline_rows}: {values}."]


def _calibration(facts: Facts) -> str:
    if facts.target.kind == "regression":
        return "The answer is the number itself; nothing says how sure it is."
    parts = []
    fitted = facts.results.get("calibration")
    if fitted:
        error = fitted["expected_calibration_error"]
        where = (
            "it was fitted to the answers out of fold, and is in `metrics.json`; accel_clf divides the outputs by it"
            if facts.folds
            else "it was fitted to the validation rows, and is in the weights already"
        )
        parts.append(
            f"Temperature {fitted['temperature']:.3f}: {where}. The {metric_words('ece', facts.target)} is "
            f"{error['before']:.4f} without it and {error['after']:.4f} with it, on rows that it was not fitted to."
        )
    else:
        parts.append("The scores were not calibrated after training.")
    if facts.target.kind == "multi_label":
        parts.append(
            "Each label is given from a score of its own, the threshold in the table of labels, that of the best F1."
            if facts.target.thresholds_by_name()
            else "A label is given from a score of 0.5."
        )
    elif facts.target.kind == "ordinal":
        parts.append("The answer is the median of the scores: the right label is as likely above it as below.")
    else:
        parts.append("The answer is the label with the highest score, however low that is.")
    return " ".join(parts)


def _data(facts: Facts, options: CardOptions) -> str:
    data, dataset = facts.config.data, dataset_of(facts, options)
    revision = f", revision {escape(data.revision)}" if data.revision else ""
    columns = {"text": data.text_columns, "second text": data.pair, "label": data.label_columns, "slice": data.slice}
    named = [
        f"{title}: {listed([names] if isinstance(names, str) else list(names), MOST_LABELS)}"
        for title, names in columns.items()
        if names
    ]
    titles = {"train": "training", "held_out": "held out", "calibration": "kept for abstention"}
    rows = [
        [
            titles.get(split, split),
            f"{count:,}",
            _source(source_of(data, split, dataset)),
            f"`{digest}`" if digest else "",
        ]
        for split, (count, digest) in facts.rows.items()
    ]
    return "\n\n".join(
        [
            f"{_source(source_of(data, dataset=dataset))}{revision}. Columns: {'; '.join(named)}.",
            table(["rows", "number", "from", "SHA-256 of texts and labels, in order"], rows),
        ]
    )


def _source(source: Source) -> str:
    name = (
        f"[{escape(source.hub)}](https://huggingface.co/datasets/{source.hub})" if source.hub else escape(source.name)
    )
    return f"{name}, split {escape(source.split)}" if source.split else name


def _intended_use(facts: Facts, options: CardOptions) -> str:
    data, dataset = facts.config.data, dataset_of(facts, options)
    sources = [source_of(data, split, dataset) for split in ("train", *(split.hub_split for split in facts.splits))]
    trained, *measured = [escape(source.hub or source.name) for source in sources]
    if not measured:
        use = f"For texts like those of {trained}, which it was trained on."
    elif set(measured) == {trained}:
        use = f"For texts like those of {trained}, the only ones that it was trained and measured on."
    else:
        names = " and ".join(dict.fromkeys(measured))
        use = f"For texts like those of {trained}, which it was trained on; it was measured on those of {names} only."
    languages = f" Languages: {', '.join(options.languages)}." if options.languages else " No language was declared."
    return (
        f"{use}{languages} Where a wrong answer does harm, measure it on texts of your own first: "
        "`accel-clf evaluate FOLDER --data FILE`."
    )


def _training(facts: Facts, options: CardOptions) -> str:
    config, versions = facts.config, facts.environment.get("versions", {})
    training, lora = config.training, config.model.lora
    values: dict[str, Any] = {
        "base model": _base_model(facts, options),
        "maximum tokens": config.data.max_length,
        "windows of longer texts": config.data.windows.pool if config.data.windows.stride is not None else "none",
        "epochs": training.epochs,
        "best step": facts.results.get("training", {}).get("best_step") if "validation" in facts.results else None,
        "learning rate": training.learning_rate,
        "batch": f"{config.batch.size} x {config.batch.accumulate}",
        "loss": config.target.loss,
        "LoRA": f"rank {lora.rank}, alpha {lora.alpha:g}" if lora.rank is not None else None,
        "seed": training.seed,
        "accel_clf": versions.get("accel_clf", __version__),
        "transformers": versions.get("transformers"),
        "torch": versions.get("torch"),
    }
    rows = [[name, str(value)] for name, value in values.items() if value is not None]
    return table(["setting", "value"], rows) + "\n\n`config.yaml` has all settings, `metrics.json` all results."
