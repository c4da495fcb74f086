"""What words alone give: TF-IDF and a linear model, on the same rows as the encoder."""

import numpy as np

from accel_clf.core.console import log
from accel_clf.data.dataset import Dataset


def tfidf_scores(train: Dataset, rows: Dataset) -> np.ndarray | None:
    """Compute the scores of a linear model on TF-IDF-weighted words and pairs of words: float [rows, scores].

    Holds the texts in memory.

    Args:
        train: the rows to fit on.
        rows: the rows to score.

    Returns:
        None where the texts have no word, as scikit-learn sees it.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), train.target.baseline())
    try:
        model.fit(list(train.texts()), train.labels)
    except ValueError as error:
        log(f"warning: no baseline: {str(error).splitlines()[0]}")
        return None
    return train.target.baseline_scores(model, list(rows.texts()))


def tfidf_metrics(train: Dataset, held_out: Dataset) -> dict[str, float]:
    """Compute the metrics that a target names as its baseline's, of `tfidf_scores`; none where it has none."""
    scores = tfidf_scores(train, held_out)
    if scores is None:
        return {}
    values = train.target.metrics(held_out.labels, scores).values
    return {name: values[name] for name in train.target.baseline_metrics}
