"""A tokenizer that is written in Python: the same tokens as in evaluation, truncation, and what the model reads."""

from dataclasses import replace

import numpy as np
import pytest
from transformers import ByT5Tokenizer

from accel_clf.config.schema import Config, DataConfig
from accel_clf.core.errors import DataError
from accel_clf.data.tokenization import tokenize_texts
from accel_clf.serving.errors import TooLongError
from accel_clf.serving.python_tokenizer import PythonTextTokenizer, text_tokenizer
from accel_clf.serving.worker import LoadedModel
from accel_clf.targets.single_label import SingleLabel

LENGTH = 12
LONG = "a wonderful evening"  # a token a letter, and one for the end
MODEL = LoadedModel(
    config=Config(data=DataConfig(train="rows.csv", max_length=LENGTH)),
    target=SingleLabel(("a", "b")),
    models=1,
    temperature=1.0,
    precision="fp32",
    device="cpu",
    tokenizer=ByT5Tokenizer(),
    truncation_side="right",
    ends_in_texts=None,
    token_for_nothing=3,
    with_types=False,
)


def test_tokens_are_those_of_evaluation() -> None:
    tokenizer = text_tokenizer(MODEL, has_pairs=False)
    assert isinstance(tokenizer, PythonTextTokenizer)
    for text in ("good", LONG, ""):
        [tokenized] = tokenizer.tokenize([text])
        assert np.array_equal(tokenized.ids, tokenize_texts([text], ByT5Tokenizer(), LENGTH)[0])
        assert (tokenized.full_length, tokenized.is_truncated) == (len(text) + 1, len(text) + 1 > LENGTH)
    left = ByT5Tokenizer(truncation_side="left")
    [tokenized] = tokenizer.tokenize([LONG], side="left")
    assert np.array_equal(tokenized.ids, tokenize_texts([LONG], left, LENGTH)[0])


def test_pairs_are_tokenized_as_in_evaluation() -> None:
    [tokenized] = text_tokenizer(MODEL, has_pairs=True).tokenize([("good", "bad")])
    assert np.array_equal(tokenized.ids, tokenize_texts([("good", "bad")], ByT5Tokenizer(), LENGTH)[0])


def test_long_texts_and_lone_surrogates_are_refused() -> None:
    tokenizer = text_tokenizer(MODEL, has_pairs=False)
    with pytest.raises(TooLongError):
        tokenizer.tokenize(["good", LONG], truncate=False)
    with pytest.raises(DataError, match=r"inputs\[1\]"):
        tokenizer.tokenize(["good", "\ud800"])


@pytest.mark.parametrize(("side", "expected"), [("right", slice(0, LENGTH - 1)), ("left", slice(8, 19))])
def test_read_span_is_what_fills_the_row(side: str, expected: slice) -> None:
    tokenizer = text_tokenizer(replace(MODEL, truncation_side=side), has_pairs=False)
    assert tokenizer.find_read_spans("good") == [slice(0, 4)]
    assert tokenizer.find_read_spans(LONG) == [expected]
    assert tokenizer.find_read_spans(("good", LONG)) == [slice(0, 4), slice(0, len(LONG))]
