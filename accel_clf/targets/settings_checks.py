"""Settings that a kind of target has no use for, told instead of ignored."""

from collections.abc import Sequence

from accel_clf.config.metric_names import LABEL_METRICS
from accel_clf.config.schema import TargetConfig
from accel_clf.core.errors import ConfigError, closest
from accel_clf.targets.label_names import listed


def no_thresholds(settings: TargetConfig, kind: str) -> None:
    """Raise ConfigError where thresholds are to be fitted."""
    if settings.thresholds != "fixed":
        raise ConfigError(f"target.thresholds {settings.thresholds}, and the target is {kind}", "a multi_label target")


def no_order(settings: TargetConfig, kind: str) -> None:
    """Raise ConfigError where labels have an order."""
    if settings.order:
        raise ConfigError(f"target.order, and the target is {kind}", "an ordinal target", "--target.type ordinal")


def loss_is(settings: TargetConfig, losses: Sequence[str], kind: str) -> None:
    """Raise ConfigError where the loss is none of some, or labels are smoothed."""
    if settings.loss not in losses:
        raise ConfigError(f"target.loss {settings.loss}, and the target is {kind}", "one of " + ", ".join(losses))
    if settings.label_smoothing:
        raise ConfigError(f"target.label_smoothing, and the target is {kind}", "a target of one or several labels")


def metrics(named: Sequence[str], known: Sequence[str], names: Sequence[str], kind: str) -> None:
    """Check that metrics are of this kind of target, and those of one label of one that there is.

    Args:
        named: the built-in ones that the settings name.
        known: those of the kind; "f1" and others with a label are known where it has `names`.
        names: of the labels.
        kind: of the target.

    Raises:
        ConfigError: one is not.
    """
    for metric in named:
        name, _, label = metric.partition(":")
        if label and name in LABEL_METRICS and names:
            if label not in names:
                raise ConfigError(
                    f"evaluation has the metric {metric}, and no row has the label {label!r}",
                    "one of the labels " + listed(names),
                    closest(label, names),
                )
        elif metric not in known:
            raise ConfigError(
                f"evaluation has the metric {metric}, and the target is {kind}",
                "one of " + ", ".join(known) + (", f1:LABEL, precision:LABEL, recall:LABEL" if names else ""),
            )
