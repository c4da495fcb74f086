"""Settings that others bring along, where these are not set."""

from typing import Any

# What the tiny encoder, which is trained from scratch, needs in place of the defaults for fine-tuning.
DEMO: dict[str, dict[str, Any]] = {
    "data": {"max_length": 64, "near_duplicates": False},  # its phrases are few
    "batch": {"size": 32},
    "training": {
        "epochs": 6,
        "learning_rate": 2e-3,
        "head_lr_multiplier": 1,
        "lr_scaling": "none",
        "precision": "fp32",
    },
    "evaluation": {"baseline": True},
}

# What few rows need, where the head starts as a linear model (benchmarks/LOG.md).
LP_FT: dict[str, dict[str, Any]] = {"training": {"epochs": 20, "learning_rate": 5e-5, "head_lr_multiplier": 1}}
