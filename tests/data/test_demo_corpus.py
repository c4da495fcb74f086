"""The demo's corpus, and that words alone do not solve it."""

from accel_clf.config.schema import DataConfig
from accel_clf.data import demo_corpus, splits
from accel_clf.training.baseline import tfidf_accuracy


def test_reproducible_and_without_doubles() -> None:
    rows = list(demo_corpus.reviews())
    assert len(rows) == demo_corpus.ROWS == len({text for text, _ in rows})
    assert rows[:500] == list(demo_corpus.reviews(500))
    assert rows[:500] != list(demo_corpus.reviews(500, seed=1))
    positive = sum(label == "positive" for _, label in rows)
    assert 0.45 < positive / len(rows) < 0.55


def test_fresh_rows_to_test_on() -> None:
    train, test = demo_corpus.rows("train"), demo_corpus.rows("test")
    assert (len(train), len(test)) == (8000, 1000)
    assert not {text for text, _ in train} & {text for text, _ in test}


def test_words_and_pairs_of_words_do_not_solve_it() -> None:
    """The tiny encoder reaches 0.95 and more (`make demo`); this stays well over 5 points below."""
    loaded = splits.load(DataConfig(), seed=0)
    assert loaded.validation is not None
    assert 0.5 < tfidf_accuracy(loaded.train, loaded.validation) < 0.88
