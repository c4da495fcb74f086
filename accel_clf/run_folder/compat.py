"""Which settings may change when a run resumes, and which have."""

from typing import Any

from accel_clf.config.schema import Config, settings

# What may change when a run goes on. Batch, accumulation and processes may, together: see `resume`.
RESUMABLE_CHANGES = {
    "model.allow_code", "model.allow_pickle", "batch.size", "batch.accumulate", "batch.layout", "training.timeout",
    "evaluation.baseline", "checkpoint.every", "checkpoint.keep", "strategy", "virtual_cores", "output", "resume",
    "allow_changes", "folds",
}  # fmt: skip


def differences(before: Config, after: Config) -> list[str]:
    """The settings in which two configurations differ, of those that decide the result."""

    def value(config: Config, name: str) -> Any:
        for part in name.split("."):
            config = getattr(config, part)
        return config

    return [
        f"{name} {value(before, name)} -> {value(after, name)}"
        for name, _ in settings()
        if name not in RESUMABLE_CHANGES and value(before, name) != value(after, name)
    ]
