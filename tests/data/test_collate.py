"""Rows to tensors: nothing is lost or invented, and shapes are few where they must be."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from accel_clf.data import collate as collate_module
from accel_clf.data.collate import WIDTHS, GlobalBatchSampler, Padding, bucket_widths, collate, shape_step
from accel_clf.data.sampling import PADDING_ROW
from accel_clf.data.tokenization import TokenizedDataset
from accel_clf.inference import predictor
from accel_clf.targets.cross_entropy import PADDING_LABEL

PAD, IGNORE_INDEX = 0, PADDING_LABEL


def make_tokens(lengths: list[int]) -> TokenizedDataset:
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return TokenizedDataset(np.arange(1, starts[-1] + 1, dtype=np.int32), starts[:-1], starts[1:], int(starts[-1]))


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(0, 5), st.sampled_from(["padded", "bucketed"])
)
def test_tensors_hold_the_tokens_of_their_rows(lengths: list[int], padding_rows: int, layout: str) -> None:
    tokens = make_tokens(lengths)
    labels = np.arange(len(lengths))
    rows = np.concatenate([np.arange(len(lengths)), np.full(padding_rows, PADDING_ROW)])
    (slots,) = GlobalBatchSampler(rows[None], tokens.lengths, layout, 40)
    batch = collate(tokens, Padding(PAD), layout, 40, labels, IGNORE_INDEX)(slots)
    width = max(lengths) if layout == "padded" else bucket_widths(np.array([max(lengths)]), 40)[0]
    kept = len(lengths) + (padding_rows if layout == "bucketed" else 0)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (kept, width)
    for index, row in enumerate(batch["rows"].tolist()):
        is_token = batch["attention_mask"][index].bool()
        if row == PADDING_ROW:
            assert batch["labels"][index] == IGNORE_INDEX
        else:
            assert batch["input_ids"][index][is_token].tolist() == tokens[row].tolist()
            assert (batch["input_ids"][index][~is_token] == PAD).all()
            assert batch["labels"][index] == row


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(0, 5))
def test_packed_rows_have_no_padding(lengths: list[int], padding_rows: int) -> None:
    tokens, labels = make_tokens(lengths), np.arange(len(lengths))
    rows = np.concatenate([np.arange(len(lengths)), np.full(padding_rows, PADDING_ROW)])
    (slots,) = GlobalBatchSampler(rows[None], tokens.lengths, "packed", 40)
    batch = collate(tokens, Padding(PAD), "packed", 40, labels, IGNORE_INDEX)(slots)
    assert batch["lengths"] == tuple(sorted(lengths))
    assert batch["input_ids"].shape == batch["position_ids"].shape == (1, sum(lengths))
    assert batch["labels"].tolist() == batch["rows"].tolist()
    assert sorted(batch["rows"].tolist()) == labels.tolist()
    for row, start in zip(batch["rows"].tolist(), batch["starts"].tolist(), strict=True):
        tokens_of_row = slice(start, start + lengths[row])
        assert batch["input_ids"][0, tokens_of_row].tolist() == tokens[row].tolist()
        assert batch["position_ids"][0, tokens_of_row].tolist() == list(range(lengths[row]))


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_share_without_rows_keeps_one_padding_row(layout: str) -> None:
    """DDP waits for every process, so one without rows still has a batch, which adds nothing to the loss."""
    tokens = make_tokens([3])
    (slots,) = GlobalBatchSampler(np.full((1, 4), PADDING_ROW), tokens.lengths, layout, 8)
    batch = collate(tokens, Padding(PAD), layout, 40, np.array([1]), IGNORE_INDEX)(slots)
    assert batch["rows"].tolist() == [PADDING_ROW]
    loss = torch.nn.functional.cross_entropy(
        torch.randn(1, 2), batch["labels"], ignore_index=IGNORE_INDEX, reduction="sum"
    )
    assert loss == 0.0


@given(st.integers(1, 512), st.sampled_from([64, 100, 128, 512]))
def test_buckets_are_few_and_wide_enough(length: int, max_length: int) -> None:
    length = min(length, max_length)
    (width,) = bucket_widths(np.array([length]), max_length)
    assert length <= width <= max_length
    assert width in (*WIDTHS, max_length)


def test_all_processes_share_a_width() -> None:
    tokens = make_tokens([3, 40])
    batches = GlobalBatchSampler(np.array([[0, 1], [0, PADDING_ROW]]), tokens.lengths, "bucketed", 64)
    assert [[slot.width for slot in batch] for batch in batches] == [[64, 64], [16, 16]]
    assert [batches.slot(index) for index in range(4)] == [slot for batch in batches for slot in batch]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(0, 5))
def test_varlen_rows_keep_their_slots_and_have_a_filler(lengths: list[int], padding_rows: int) -> None:
    tokens, labels = make_tokens(lengths), np.arange(len(lengths))
    rows = np.concatenate([np.arange(len(lengths)), np.full(padding_rows, PADDING_ROW)])
    (slots,) = GlobalBatchSampler(rows[None], tokens.lengths, "varlen", 40)
    batch = collate(tokens, Padding(PAD), "varlen", 40, labels, IGNORE_INDEX)(slots)
    assert batch["rows"].tolist() == [*labels, *[PADDING_ROW] * (padding_rows + 1)]
    assert batch["labels"].tolist() == [*labels, *[IGNORE_INDEX] * (padding_rows + 1)]
    starts = batch["cu_seqlens"].tolist()
    assert np.diff(starts)[:-1].tolist() == [*lengths, *[1] * padding_rows]
    assert 0 < starts[-1] - starts[-2] <= batch["max_seqlen"]
    assert batch["input_ids"].shape == batch["position_ids"].shape == (1, starts[-1])
    for row, (start, end) in enumerate(pairwise(starts[: len(lengths) + 1])):
        assert batch["input_ids"][0, start:end].tolist() == tokens[row].tolist()
        assert batch["position_ids"][0, start:end].tolist() == list(range(lengths[row]))
    assert (batch["input_ids"][0, starts[-2] :] == PAD).all()
    assert (batch["position_ids"][0, starts[-2] :] == 0).all()


@pytest.mark.parametrize("module", [collate_module, predictor])
def test_batches_have_few_shapes(module: Any) -> None:
    """Of varlen batches on a GPU, and of packed ones in a server."""
    per_doubling, smallest = module.SHAPES_PER_DOUBLING, module.SMALLEST_STEP
    fillers = [-tokens % shape_step(tokens, per_doubling, smallest) for tokens in range(1, 16385)]
    shapes = {tokens + filler for tokens, filler in enumerate(fillers, start=1)}
    assert len(shapes) <= per_doubling * 9
    assert all(shape % shape_step(shape, per_doubling, smallest) == 0 for shape in shapes), "a shape stays as it is"
    large = per_doubling * smallest
    assert all(filler < tokens / per_doubling for tokens, filler in enumerate(fillers, start=1) if tokens >= large)


@pytest.mark.parametrize("layout", ["padded", "bucketed", "packed", "varlen"])
def test_token_types_go_with_their_tokens(layout: str) -> None:
    """As an input of the shape of the ids, 0 for padding; without them there is no such input."""
    tokens = make_tokens([5, 3, 9])
    typed = replace(tokens, ids=np.stack([tokens.ids, tokens.ids % 2], axis=1))
    rows = np.array([[0, 1, 2, PADDING_ROW]])
    (slots,) = GlobalBatchSampler(rows, tokens.lengths, layout, 40)
    plain, batch = (collate(part, Padding(PAD), layout, 40)(slots) for part in (tokens, typed))
    assert batch.keys() - plain.keys() == {"token_type_ids"}
    assert torch.equal(batch["input_ids"], plain["input_ids"])
    expected = torch.where(plain["input_ids"] == PAD, 0, plain["input_ids"] % 2)
    assert torch.equal(batch["token_type_ids"], expected)
    types = collate(typed, Padding(PAD), layout, 40)(slots[3:])["token_type_ids"]
    assert torch.equal(types.unique(), torch.tensor([0]))
