"""The names of metrics that settings may have."""

# The metrics that a run always has, by what it predicts.
METRICS = {
    "single_label": ("accuracy", "macro_f1", "weighted_f1", "log_loss", "ece"),
    "multi_label": (
        "micro_f1", "macro_f1", "samples_f1", "subset_accuracy", "mean_average_precision", "roc_auc", "log_loss", "ece",
    ),
    "ordinal": ("accuracy", "accuracy_within_one", "quadratic_kappa", "mae", "macro_f1", "log_loss", "ece"),
    "regression": ("mae", "rmse", "pearson", "spearman"),
}  # fmt: skip
NAMED_METRICS = ("roc_auc", "average_precision", "mcc", "balanced_accuracy", "brier")  # that it may ask for
LABEL_METRICS = ("precision", "recall", "f1")  # of one label: "f1:LABEL"


def is_named_metric(name: str) -> bool:
    """Return whether a name is that of a built-in metric that a run may ask for."""
    metric, colon, label = name.partition(":")
    return name in NAMED_METRICS or (metric in LABEL_METRICS and bool(colon and label))
