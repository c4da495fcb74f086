"""Which kind of target a data set or a trained model has."""

from typing import Any

from accel_clf.config.schema import Config, DataConfig, TargetConfig
from accel_clf.core.errors import ConfigError
from accel_clf.targets.base import Target
from accel_clf.targets.label_cells import is_list
from accel_clf.targets.multi_label import MultiLabel
from accel_clf.targets.ordinal import Ordinal
from accel_clf.targets.regression import Regression
from accel_clf.targets.single_label import SingleLabel

KINDS: dict[str, type[Target]] = {kind.kind: kind for kind in (SingleLabel, MultiLabel, Ordinal, Regression)}
MANY_NUMBERS = 20
OPTIONS = "accel_clf"  # the key in a model's config.json of what transformers has no key for


def kind_of_data(data: DataConfig, settings: TargetConfig, first: Any) -> type[Target]:
    """Choose the kind of target of a data set.

    Args:
        data, settings: name the label columns, and the kind if it is not to be chosen.
        first: the first row's label.

    Raises:
        ConfigError: the columns are not those of the kind.
    """
    may_be_several = len(data.label_columns) > 1 or data.label_separator is not None
    if settings.type == "auto":
        return MultiLabel if may_be_several or is_list(first) else SingleLabel
    kind = KINDS[settings.type]
    if kind is not MultiLabel and may_be_several:
        setting = "data.label_separator" if data.label_separator else f"{len(data.label_columns)} columns (data.label)"
        raise ConfigError(f"{setting}, and target.type {settings.type}", "multi_label", "--target.type multi_label")
    return kind


def with_defaults(config: Config, kind: type[Target]) -> Config:
    """Fill in the settings that depend on what is predicted, and on what is trained, where they are not set."""
    target, training, evaluation = config.target, config.training, config.evaluation
    has_lora = config.model.lora.rank is not None
    default_lr = kind.lora_learning_rate if has_lora else kind.learning_rate
    changes = {
        "target": {"type": kind.kind if target.type == "auto" else target.type},
        "training": {
            "learning_rate": training.learning_rate or default_lr,
            "head_lr_multiplier": training.head_lr_multiplier or (1.0 if has_lora else kind.head_lr_multiplier),
        },
        "evaluation": {"metric": kind.default_metric if evaluation.metric == "auto" else evaluation.metric},
    }
    return config.model_copy(
        update={section: getattr(config, section).model_copy(update=values) for section, values in changes.items()}
    )


def reason(data: DataConfig, settings: TargetConfig, target: Target) -> str:
    """Say why a data set has this kind of target."""
    if settings.type != "auto":
        return "target.type"
    if len(data.label_columns) > 1:
        return f"{len(data.label_columns)} label columns"
    if data.label_separator is not None:
        return "data.label_separator"
    return "the labels are lists" if isinstance(target, MultiLabel) else "a label in each row"


def question(target: Target) -> str | None:
    """Ask which kind is meant, where names that are taken for labels look like numbers."""
    if not isinstance(target, SingleLabel):
        return None
    try:
        numbers = [float(name) for name in target.names]
    except ValueError:
        return None
    if len(numbers) <= MANY_NUMBERS and all(number.is_integer() for number in numbers):
        return None
    return (
        f"the labels are {len(numbers)} different numbers, taken for as many names. Which is meant? --target.type "
        "regression: a number; ordinal: one of an order; single_label: names, without this question"
    )


def of_model(config: Any) -> Target:
    """Make the target of a trained model.

    Args:
        config: the model's, of transformers.
    """
    names: dict[int, str] = config.id2label
    options = getattr(config, OPTIONS, None) or {}
    problem_types = {kind.problem_type: name for name, kind in KINDS.items() if kind is not Ordinal}
    kind = options.get("type") or problem_types[config.problem_type]
    return KINDS[kind].of_model(tuple(names[code] for code in range(len(names))), options)


def options_of(target: Target) -> dict[str, Any]:
    """Return what config.json has of a target under OPTIONS; empty where transformers' own keys suffice."""
    return {} if isinstance(target, SingleLabel) else {"type": target.kind, **target.model_options()}
