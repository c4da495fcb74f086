"""What the numbers of a run say about where its model fails, or where nobody knows."""

from collections.abc import Iterator
from math import isfinite

from accel_clf.reports.hub.card_constants import constant_answers
from accel_clf.reports.hub.card_facts import Facts, MeasuredSplit
from accel_clf.reports.hub.card_metrics import metric_words
from accel_clf.reports.hub.markdown import escape, listed
from accel_clf.reports.intervals import Interval, wilson
from accel_clf.targets.metrics import LOWER_IS_BETTER, Metrics

FEW_ROWS = 30  # of a label, on which little can be measured
WIDE = 0.05  # between the ends of an interval
LARGE_ECE = 0.05
LISTED = 5
NOT_MEASURED = "It was not measured on any rows: there was neither a test set nor a validation set."


def limits(facts: Facts) -> list[str]:
    """List the limits of a model, each in a sentence or two of Markdown, by its best measured rows."""
    if not facts.splits:
        return [NOT_MEASURED, *_of_answers(facts), *_of_texts(facts)]
    split = facts.splits[0]
    return [
        *_of_measuring(facts, split),
        *_of_simpler_models(facts, split),
        *_of_labels(split.metrics),
        *_of_slices(facts, split.metrics),
        *_of_scores(facts, split),
        *_of_answers(facts),
        *_of_texts(facts),
    ]


def _of_measuring(facts: Facts, split: MeasuredSplit) -> Iterator[str]:
    if split.title == "Validation rows":
        yield (
            "There was no test set. The validation rows chose the best checkpoint, so that their figures flatter it: "
            "expect less."
        )
    for name, (low, high) in split.intervals.items():
        if high - low > WIDE and name in ("accuracy", "subset_accuracy"):
            title = metric_words(name, facts.target)
            yield f"{split.metrics.rows:,} rows leave much open: the interval of its {title} is {high - low:.3f} wide."


def _of_simpler_models(facts: Facts, split: MeasuredSplit) -> Iterator[str]:
    """Say which simpler answers the model is not better than: one for all rows, and those of words alone."""
    target, labels, not_beaten = facts.target, split.labels, []
    for name, constant in (constant_answers(target, labels) if labels is not None else {}).items():
        if name in split.intervals and not _is_beyond(split.intervals[name], constant.value, name):
            low, high = split.intervals[name]
            not_beaten.append(
                f"{metric_words(name, target)} {split.metrics[name]:.4f} ({low:.4f} to {high:.4f}), against "
                f"{constant.value:.4f} by always answering {escape(constant.answer)}"
            )
    if not_beaten:
        yield f"No better than a constant answer, beyond chance, on the {split.title.lower()}: {'; '.join(not_beaten)}."
    baseline, rows = facts.results.get("baseline"), "out of fold" if facts.folds else "validation"
    if not baseline:
        yield "It was not compared with words alone."
        return
    chosen = facts.config.evaluation.metric
    name = chosen if chosen in baseline else next(iter(baseline))
    of_words, of_model = baseline[name], facts.results[rows.replace(" ", "_")][name]
    if of_words <= of_model if name in LOWER_IS_BETTER else of_words >= of_model:
        yield (
            f"Words alone do as well or better on the {facts.baseline_rows}: {metric_words(name, target)} "
            f"{of_words:.4f}, against {of_model:.4f}."
        )


def _is_beyond(interval: Interval, value: float, metric: str) -> bool:
    """Return whether a metric is better than a value, wherever in its interval it is."""
    return interval.high < value if metric in LOWER_IS_BETTER else interval.low > value


def _of_labels(metrics: Metrics) -> Iterator[str]:
    labels = metrics.per_class
    if not labels:
        return
    if unknown := [name for name, of in labels.items() if not of.rows]:
        yield f"No row has the label {listed(unknown, LISTED)}: how well it is recognized is not known."
    if missed := metrics.never_predicted():
        yield f"Never predicted, although rows have it: {listed(missed, LISTED)}."
    few = [name for name, of in labels.items() if 0 < of.rows < FEW_ROWS]
    if few:
        yield f"Measured on fewer than {FEW_ROWS} rows, {len(few)} of {len(labels)} labels: {listed(few, LISTED)}."
    measured = sorted((item for item in labels.items() if item[1].rows), key=lambda item: item[1].f1)
    weakest = [f"{escape(name)} (F1 {of.f1:.3f})" for name, of in measured[: min(LISTED, len(measured) // 2)]]
    if weakest:
        yield f"Recognized worst: {', '.join(weakest)}."
    if mistakes := _mistakes(metrics):
        yield f"Most frequent mistakes: {mistakes}."


def _mistakes(metrics: Metrics) -> str:
    """Write the most frequent confusions of labels; empty where there are none, or a text may have several labels."""
    entries = metrics.confusion_entries()
    if entries is None:
        return ""
    names = list(metrics.per_class)
    wrong = sorted((entry for entry in entries.tolist() if entry[0] != entry[1]), key=lambda entry: -entry[2])
    rows = [of.rows for of in metrics.per_class.values()]
    return ", ".join(
        f"{escape(names[label])} taken for {escape(names[predicted])} ({count:,} of {rows[label]:,})"
        for label, predicted, count in wrong[:LISTED]
    )


def _of_slices(facts: Facts, metrics: Metrics) -> Iterator[str]:
    if not metrics.slices:
        if not facts.config.data.slice:
            yield "It was not measured by groups of texts, such as languages or sources (`data.slice`)."
        return
    shares = {"accuracy", "subset_accuracy"} & set(metrics.values)
    for metric in sorted(shares):
        lowest = wilson(metrics[metric], metrics.rows)
        intervals = {name: wilson(of[metric], of.rows) for name, of in metrics.slices.items()}
        worse = [name for name, interval in intervals.items() if interval.high < lowest.low]
        if worse:
            yield f"Worse than on the whole, beyond chance, for {listed(worse, LISTED)}."
        else:
            yield "No slice is worse than the whole beyond chance; small ones could be without showing it."


def _of_scores(facts: Facts, split: MeasuredSplit) -> Iterator[str]:
    is_out_of_fold = facts.folds and split.hub_split == "train"
    error = facts.calibrated_error if is_out_of_fold else split.metrics.values.get("ece")
    if error is not None and isfinite(error) and error > LARGE_ECE:
        name = metric_words("ece", facts.target)
        yield f"Its scores are not probabilities: they are off by {error:.3f} on average ({name})."


def _of_answers(facts: Facts) -> Iterator[str]:
    if facts.target.kind in ("single_label", "ordinal"):
        yield "It answers with one of its labels whatever the text, also where none of them fits."


def _of_texts(facts: Facts) -> Iterator[str]:
    data = facts.config.data
    if data.windows.stride is None:
        both = " of both texts together" if data.pair is not None else ""
        yield f"It reads {data.max_length} tokens{both}; what is beyond is cut off."
    else:
        yield (
            f"It reads at most {data.windows.most} windows of {data.max_length} tokens; of longer texts it leaves out "
            "the middle."
        )
    if len(data.text_columns) > 1:
        yield f"Its text is the values of {listed(data.text_columns, LISTED)}, joined by spaces in this order."
