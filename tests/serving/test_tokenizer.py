"""Texts that a tokenizer fails on are named by their indices."""

from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from accel_clf.config.schema import DataConfig
from accel_clf.serving.errors import FailedTextsError
from accel_clf.serving.tokenizer import TextTokenizer


def test_failing_texts_are_named() -> None:
    words = Tokenizer(models.WordLevel({"a": 0, "film": 1}, unk_token="[NONE]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    config = SimpleNamespace(data=DataConfig(max_length=8))
    model: Any = SimpleNamespace(
        config=config, with_types=False, truncation_side="right", tokenizer=words.to_str(), ends_in_texts=None,
        token_for_nothing=0,
    )  # fmt: skip
    tokenizer = TextTokenizer(model, has_pairs=False)
    assert [text.ids.tolist() for text in tokenizer.tokenize(["a film", "film"])] == [[0, 1], [1]]
    with pytest.raises(FailedTextsError, match=r"inputs\[1\]: .*Missing \[UNK\].*; so it does on 1 more") as caught:
        tokenizer.tokenize(["a film", "a quetzal", "film", "quetzal"])
    assert sorted(caught.value.failures) == [1, 3]
    assert caught.value.status == 422
