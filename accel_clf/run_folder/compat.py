"""Which settings may change when a run is resumed, and which have changed."""

from typing import Any

from accel_clf.config.schema import Config, settings
from accel_clf.targets.registry import KINDS, with_defaults
from accel_clf.targets.single_label import SingleLabel

# These may change when a run is resumed. How files are read may, and which rows of them: rows are compared. Batch,
# accumulation and processes may if rows per step stay: see resume. What concerns folds is compared by
# cross_validation.lock.
RESUMABLE_CHANGES = {
    "model.allow_code", "model.allow_pickle", "model.gradient_checkpointing", "batch.size", "batch.accumulate",
    "batch.layout", "training.timeout", "evaluation.baseline", "checkpoint.every", "checkpoint.keep", "strategy",
    "virtual_cores", "output", "report", "resume", "allow_changes", "folds", "data.fold", "data.separator",
    "data.quoting", "data.encoding", "data.header", "data.incomplete", "data.near_duplicates", "trackers",
    "tracking.project", "tracking.group",
}  # fmt: skip


def differences(before: Config, after: Config) -> list[str]:
    """Describe how two configurations differ in settings that affect the result.

    Args:
        before: a run's.
        after: those of now; what depends on the kind of target, and is not set, is as that run's kind has it.
    """
    kind = KINDS.get(before.target.type, SingleLabel)  # the only one in runs of earlier versions
    before, after = with_defaults(before, kind), with_defaults(after, kind)

    def value(config: Config, name: str) -> Any:
        for part in name.split("."):
            config = getattr(config, part)
        return config

    return [
        f"{name} {value(before, name)} -> {value(after, name)}"
        for name, _ in settings()
        if name not in RESUMABLE_CHANGES and value(before, name) != value(after, name)
    ]
