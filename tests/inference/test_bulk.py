"""Rows are predicted as they come: memory does not grow with their number."""

from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
import torch

from accel_clf.core.errors import DataError, UserError
from accel_clf.data.rows import Row, TextRows, text_schema
from accel_clf.data.texts import Text
from accel_clf.data.tokenization import TokenizedDataset, tokenize_texts
from accel_clf.inference import predictor as predictor_module
from accel_clf.inference.bulk import evaluate_source, predict_rows, predict_texts
from accel_clf.inference.predictor import TEXTS_PER_CHUNK, Predictor


def test_rows_without_end_are_answered_in_order(run: Path) -> None:
    predictor, taken = Predictor(run), 0
    texts = ("a dull film", "superb", "")

    def endless() -> Iterator[Row]:
        nonlocal taken
        for number in count():
            taken += 1
            yield Row(f"line {number}", texts[number % 3], {"id": number})

    rows = TextRows("endless", ("id",), "text", endless, lambda: text_schema(("id",)))
    expected = [answer["score"] for answer in predict_texts(predictor, texts)]
    asked = TEXTS_PER_CHUNK + 5
    for number, (row, answer) in enumerate(islice(predict_rows(predictor, rows), asked)):
        assert row.value("id") == number
        assert answer["score"] == pytest.approx(expected[number % 3], abs=1e-5)
        assert taken - number <= TEXTS_PER_CHUNK
    assert number == asked - 1


def test_text_that_the_tokenizer_fails_on(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokenizer without a token for what it does not know raises Exception."""

    def fail_on_unknown(texts: Sequence[Text], *args: Any, **options: Any) -> TokenizedDataset:
        if any("quetzal" in text for text in texts):
            raise Exception("WordPiece error: Missing [UNK] token from the vocabulary")
        return tokenize_texts(texts, *args, **options)

    texts = ["a dull film", "the quetzal", "superb", "", "quetzal"]
    predictor = Predictor(run)
    expected = list(predict_texts(predictor, [text for text in texts if "quetzal" not in text]))
    monkeypatch.setattr(predictor_module, "tokenize_texts", fail_on_unknown)
    rows = TextRows.of_texts(lambda: texts)
    answers = [answer for _, answer in predict_rows(predictor, rows, skips_failing=True)]
    failed = {"error": "Exception: WordPiece error: Missing [UNK] token from the vocabulary"}
    assert answers == [expected[0], failed, *expected[1:], failed]
    with pytest.raises(DataError, match=r"text 2: the model fails on this text \(Exception: WordPiece error"):
        list(predict_rows(predictor, rows))
    failing = TextRows.of_texts(lambda: ["quetzal"] * 3)
    assert [answer for _, answer in predict_rows(predictor, failing, skips_failing=True)] == [failed] * 3


def test_texts_without_finite_scores(run: Path, reviews: Path) -> None:
    predictor = Predictor(run)
    embeddings = predictor.models[0].get_input_embeddings()
    token = int(predictor.tokenizer("dull", add_special_tokens=False)["input_ids"][0])
    with torch.no_grad():
        embeddings.weight[token] = torch.nan
    rows = TextRows.of_texts(lambda: ["superb", "dull", "superb"])
    answers = [answer for _, answer in predict_rows(predictor, rows, skips_failing=True)]
    assert answers[1] == {"error": "its scores are NaN or infinite"}
    assert "error" not in answers[0] | answers[2]
    with pytest.raises(UserError, match=r"text 2: the model fails on this text \(its scores are NaN or infinite\)"):
        list(predict_rows(predictor, rows))
    with pytest.raises(UserError, match=r"line \d+: the model fails on this text .its scores are NaN"):
        evaluate_source(predictor, str(reviews), predictor.config.data)


@pytest.mark.parametrize("length", [1, 3, 8, 64])
def test_fillers_are_texts(run: Path, length: int) -> None:
    """With each special token once: encoders that look for the last of them take no rows of padding alone."""
    predictor = Predictor(run)
    tokenizer, row = predictor.tokenizer, predictor._filler(length)
    assert len(row) == max(length, len(tokenizer("a")["input_ids"]))
    assert (row[0], row[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
    assert not set(row[1:-1].tolist()) & set(tokenizer.all_special_ids)
