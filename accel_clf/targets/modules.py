"""Metrics of the `evaluate` library."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from accel_clf.core.errors import ConfigError


def module_metrics(
    modules: Sequence[str], labels: np.ndarray, predicted: np.ndarray, scores: np.ndarray
) -> dict[str, float]:
    """Compute metrics of the `evaluate` library.

    Args:
        modules: names or paths of the library's modules.
        labels, predicted: [rows, ...].
        scores: float [rows, classes], for modules that ask for them; the second class's where they ask for one per row.

    Raises:
        ConfigError: one cannot be loaded, or compares something else.
    """
    if not modules:
        return {}
    import evaluate  # takes seconds: it imports all of transformers' pipelines

    values: dict[str, float] = {}
    for name in modules:
        try:
            module = evaluate.load(name, keep_in_memory=True)
            computed = module.compute(**_inputs(module.features, labels, predicted, scores))
        except (FileNotFoundError, ConnectionError, ImportError, ValueError, OSError) as error:
            raise ConfigError(
                f"evaluation.metrics: {name} cannot be used ({str(error).strip().splitlines()[0]})",
                "a metric of the `evaluate` library that compares labels or scores, by name or path",
                "its name needs the Hub; the path of a local copy does not",
            ) from None
        values |= {key: float(value) for key, value in computed.items() if np.ndim(value) == 0}
    return values


def _inputs(features: Any, labels: np.ndarray, predicted: np.ndarray, scores: np.ndarray) -> dict[str, np.ndarray]:
    """Return what a module of the `evaluate` library asks for: labels, or scores by the names that they have there."""
    features = features[0] if isinstance(features, list) else features
    inputs: dict[str, np.ndarray] = {}
    for name, feature in features.items():
        dtype = getattr(feature, "dtype", None)
        if name == "references":
            inputs[name] = labels
        elif not isinstance(dtype, str) or dtype == "list":
            inputs[name] = scores
        elif dtype.startswith("float") and name == "prediction_scores":
            inputs[name] = scores[:, 1]
        else:
            inputs[name] = predicted
    return inputs
