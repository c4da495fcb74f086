"""What words alone give: TF-IDF and a linear model, on the same rows as the encoder."""

from collections.abc import Iterator

import numpy as np

from accel_clf.core.console import log
from accel_clf.data.dataset import Dataset
from accel_clf.data.texts import SEPARATOR, sides
from accel_clf.targets.label_names import rare_labels_expected

MAX_WEIGHTS = 50_000_000  # L-BFGS keeps 20 copies of them: 8 GB


def tfidf_scores(train: Dataset, rows: Dataset) -> np.ndarray | None:
    """Compute the scores of a linear model on TF-IDF-weighted words and pairs of words: float [rows, scores].

    Holds the texts in memory.

    Args:
        train: the rows to fit on.
        rows: the rows to score.

    Returns:
        None where the texts have no word, as scikit-learn sees it, or there are more than MAX_WEIGHTS to learn.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    words, estimator = TfidfVectorizer(ngram_range=(1, 2)), train.target.baseline()
    try:
        features = words.fit_transform(_documents(train))
        if (weights := features.shape[1] * len(train.target.names)) > MAX_WEIGHTS:
            raise ValueError(f"{len(train.target.names)} labels and {features.shape[1]} words have {weights:,} weights")
        with rare_labels_expected():
            estimator.fit(features, train.labels)
    except ValueError as error:
        log(f"warning: no baseline: {str(error).splitlines()[0]}")
        return None
    return train.target.baseline_scores(estimator, words.transform(_documents(rows)))


def _documents(rows: Dataset) -> Iterator[str]:
    """Stream the texts, the two of a pair joined."""
    return (SEPARATOR.join(sides(text)) for text in rows.texts())


def tfidf_metrics(train: Dataset, held_out: Dataset) -> dict[str, float]:
    """Compute the metrics that a target names as its baseline's, of `tfidf_scores`; none where it has none."""
    scores = tfidf_scores(train, held_out)
    if scores is None:
        return {}
    values = train.target.metrics(held_out.labels, scores).values
    return {name: values[name] for name in train.target.baseline_metrics}
