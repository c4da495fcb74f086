"""Windows of long texts: those of transformers' tokenizers, as rows from which they can be had again."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel_clf.config.schema import DataConfig, ModelConfig, WindowsConfig
from accel_clf.core.errors import ConfigError
from accel_clf.data.dataset import Dataset
from accel_clf.data.sources import read_dataset
from accel_clf.data.tokenization import tokenize, tokenize_texts
from accel_clf.data.windows import describe_cut, kept_windows, split_windows, window_count
from accel_clf.models.loading import load_tokenizer

LENGTH, STRIDE = 12, 3


@pytest.fixture(scope="module")
def rows(reviews: Path) -> Dataset:
    return read_dataset(str(reviews), DataConfig(), split="train")


@pytest.fixture(scope="module")
def tokenizer(rows: Dataset) -> Any:
    return load_tokenizer(ModelConfig(name="demo"), rows, 512)


@given(st.integers(1, 40), st.integers(1, 12))
def test_windows_are_kept_from_both_ends(count: int, most: int) -> None:
    kept = kept_windows(count, most)
    assert len(kept) == min(count, most)
    assert kept == sorted(set(kept))
    assert {0, count - 1} <= set(kept) or most == 1
    gaps = [second - first for first, second in pairwise(kept)]
    assert sum(gap > 1 for gap in gaps) <= 1, "what is left out is in the middle"


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.booleans())
def test_rows_are_divided_into_their_windows(lengths: list[int], by_length: bool) -> None:
    start = 0
    rows = []
    for length in lengths:
        rows.append(np.arange(start, start := start + length))
    windows, members = split_windows(rows, LENGTH, by_length)
    assert window_count(np.array(lengths), LENGTH).sum() == len(windows)
    if members is None:
        assert max(lengths) <= LENGTH
        return
    assert (members.sum(axis=0) == 1).all()
    for row, of_row in zip(rows, members, strict=True):
        pieces = sorted((windows[number] for number in np.flatnonzero(of_row)), key=lambda piece: int(piece[0]))
        assert np.array_equal(np.concatenate(pieces), row)
    if by_length:
        assert [len(window) for window in windows] == sorted(len(window) for window in windows)


def test_windows_equal_those_of_the_tokenizer(rows: Dataset, tokenizer: Any, tmp_path: Path) -> None:
    texts = [text * 4 for text in rows.texts()][:50] + list(rows.texts())
    windows = WindowsConfig(stride=STRIDE, most=1000)
    tokens = tokenize_texts(texts, tokenizer, LENGTH, windows)
    expected = tokenizer(texts, truncation=True, max_length=LENGTH, stride=STRIDE, return_overflowing_tokens=True)
    divided, members = split_windows([tokens[row] for row in range(len(tokens))], LENGTH)
    assert members is not None
    assert [window.tolist() for window in divided] == expected["input_ids"]
    assert members.argmax(axis=0).tolist() == expected["overflow_to_sample_mapping"]

    few = tokenize_texts(texts, tokenizer, LENGTH, WindowsConfig(stride=STRIDE, most=3))
    for row in range(len(texts)):
        all_windows = split_windows([tokens[row]], LENGTH)[0]
        kept = [all_windows[number] for number in kept_windows(len(all_windows), 3)]
        assert np.array_equal(few[row], np.concatenate(kept))

    cached = [tokenize(rows, tokenizer, LENGTH, tmp_path, windows=setting) for setting in (windows, WindowsConfig())]
    assert len(cached[0].ids) > len(cached[1].ids), "whole and cut texts are cached apart"


def test_texts_that_fit_are_as_without_windows(rows: Dataset, tokenizer: Any) -> None:
    texts = list(rows.texts())
    whole = tokenize_texts(texts, tokenizer, 512)
    assert np.array_equal(tokenize_texts(texts, tokenizer, 512, WindowsConfig(stride=8)).ids, whole.ids)


def test_stride_that_leaves_nothing_new_is_refused(tokenizer: Any) -> None:
    room = LENGTH - tokenizer.num_special_tokens_to_add()
    tokenize_texts(["soup"], tokenizer, LENGTH, WindowsConfig(stride=room - 1))
    with pytest.raises(ConfigError, match=f"data.windows.stride is {room}"):
        tokenize_texts(["soup"], tokenizer, LENGTH, WindowsConfig(stride=room))


def test_what_is_left_out_is_said() -> None:
    lengths = np.array([5, 10, 11, 20, 21, 30])
    cut, windows = DataConfig(max_length=10), DataConfig(max_length=10, windows=WindowsConfig(stride=2, most=2))
    assert describe_cut(lengths[:1], cut, "rows") is None
    assert describe_cut(lengths[:2], cut, "rows") == "1 of 2 rows reach 10 tokens, where they are cut (data.max_length)"
    assert describe_cut(lengths[:2], windows, "rows") is None
    assert (describe_cut(lengths[:4], windows, "rows") or "").startswith("2 of 4 rows have 2 windows of 10 tokens, or")
