"""Which settings may change when a run is resumed, and which have changed."""

from typing import Any

from accel_clf.config.schema import Config, settings

# These may change when a run is resumed. Batch, accumulation and processes may if rows per step stay: see resume.
RESUMABLE_CHANGES = {
    "model.allow_code", "model.allow_pickle", "batch.size", "batch.accumulate", "batch.layout", "training.timeout",
    "evaluation.baseline", "checkpoint.every", "checkpoint.keep", "strategy", "virtual_cores", "output", "resume",
    "allow_changes", "folds",
}  # fmt: skip


def differences(before: Config, after: Config) -> list[str]:
    """Describe how two configurations differ in settings that affect the result."""

    def value(config: Config, name: str) -> Any:
        for part in name.split("."):
            config = getattr(config, part)
        return config

    return [
        f"{name} {value(before, name)} -> {value(after, name)}"
        for name, _ in settings()
        if name not in RESUMABLE_CHANGES and value(before, name) != value(after, name)
    ]
