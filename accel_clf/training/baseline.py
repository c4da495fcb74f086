"""What words alone give: TF-IDF and a linear model, on the same rows as the encoder."""

from accel_clf.core.console import log
from accel_clf.data.dataset import Dataset


def tfidf_metrics(train: Dataset, held_out: Dataset) -> dict[str, float]:
    """Compute the metrics of a linear model on TF-IDF-weighted words and pairs of words.

    Holds the texts in memory.

    Args:
        train: the rows to fit on.
        held_out: the rows to evaluate on.

    Returns:
        Those that the target names as its baseline's; none where the texts have no word, as scikit-learn sees it.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    target = train.target
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), target.baseline())
    try:
        model.fit(list(train.texts()), train.labels)
    except ValueError as error:
        log(f"warning: no baseline: {str(error).splitlines()[0]}")
        return {}
    scores = target.baseline_scores(model, list(held_out.texts()))
    values = target.metrics(held_out.labels, scores).values
    return {name: values[name] for name in target.baseline_metrics}
