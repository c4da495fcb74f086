"""The built-in corpus: reproducible, and not solved by words alone."""

from accel_clf.config.schema import DataConfig
from accel_clf.data import demo_corpus, splits
from accel_clf.training.baseline import tfidf_metrics


def test_corpus_is_reproducible_and_has_no_duplicates() -> None:
    rows = list(demo_corpus.reviews())
    assert len(rows) == demo_corpus.ROWS == len({text for text, _ in rows})
    assert rows[:500] == list(demo_corpus.reviews(500))
    assert rows[:500] != list(demo_corpus.reviews(500, seed=1))
    positive = sum(label == "positive" for _, label in rows)
    assert 0.45 < positive / len(rows) < 0.55


def test_test_rows_are_not_training_rows() -> None:
    train, test = demo_corpus.rows("train"), demo_corpus.rows("test")
    assert (len(train), len(test)) == (8000, 1000)
    assert not {text for text, _ in train} & {text for text, _ in test}


def test_words_and_word_pairs_do_not_solve_it() -> None:
    """TF-IDF stays well over 5 points below the tiny encoder, which reaches 0.95 and more (`make demo`)."""
    loaded = splits.load(DataConfig(), seed=0)
    assert loaded.validation is not None
    assert 0.5 < tfidf_metrics(loaded.train, loaded.validation)["accuracy"] < 0.88
