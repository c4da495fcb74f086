"""Rows are predicted as they come: memory does not grow with their number."""

from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import pytest

from accel_clf.data.rows import Row, TextRows, text_schema
from accel_clf.inference.bulk import predict_rows, predict_texts
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
