"""What words alone give: TF-IDF and logistic regression, on the same rows as the encoder."""

import numpy as np

from accel_clf.core.console import log
from accel_clf.data.dataset import Dataset


def tfidf_accuracy(train: Dataset, held_out: Dataset) -> float | None:
    """Compute the held-out accuracy of logistic regression on TF-IDF-weighted words and pairs of words.

    Holds the texts in memory.

    Args:
        train: the rows to fit on.
        held_out: the rows to evaluate on.

    Returns:
        None where the texts have no word, as scikit-learn sees it.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    classifier = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(max_iter=1000))
    try:
        classifier.fit(list(train.texts()), train.labels)
    except ValueError as error:
        log(f"warning: no baseline: {str(error).splitlines()[0]}")
        return None
    return float(np.mean(classifier.predict(list(held_out.texts())) == held_out.labels))
