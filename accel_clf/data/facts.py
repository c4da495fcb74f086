"""What the rows of a data set are like, in a few numbers."""

from typing import Any

import numpy as np

from accel_clf.data.dataset import Dataset


def count_labels(rows: Dataset) -> dict[str, Any]:
    """Count the labels, the most frequent first; of numbers, their quantiles."""
    labels, names = rows.labels, rows.target.names
    if np.issubdtype(labels.dtype, np.floating):
        return {"numbers": quantiles(labels)}
    several = labels.ndim == 2
    counts = labels.sum(axis=0, dtype=np.int64) if several else np.bincount(labels, minlength=len(names))
    order = np.argsort(-counts, kind="stable")
    report = {"counts": {names[code]: int(counts[code]) for code in order}}
    return report | ({"rows_without": int((~labels.any(axis=1)).sum())} if several else {})


def quantiles(values: np.ndarray) -> dict[str, float]:
    """Return the minimum, the median, the 95% quantile and the maximum."""
    points = {"minimum": 0.0, "median": 0.5, "95%": 0.95, "maximum": 1.0}
    return {name: float(np.quantile(values, point)) for name, point in points.items()}


def count_twins(rows: Dataset) -> dict[str, int]:
    """Count rows with the text of another row, and the texts among them that have different labels."""
    _, first, text_of_row, sizes = np.unique(
        rows.digests, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    text_of_row = text_of_row.ravel()
    differs = (rows.labels != rows.labels[first[text_of_row]]).reshape(len(rows), -1).any(axis=1)
    return {
        "rows": int(sizes[sizes > 1].sum()),
        "texts_with_different_labels": len(np.unique(text_of_row[differs])),
    }
