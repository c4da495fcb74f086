"""Gradients of embeddings by their rows: the bits of dense ones, and nothing left from one step to the next."""

import copy
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from accel_clf.models.kernels import embedding_grad
from accel_clf.models.kernels.embedding_grad import SparseEmbeddingGrad

ROWS, WIDTH = 50, 8
Ids = st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=200)


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    """Tables of tests count as large ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding_grad, "LARGE", 0)
        yield


def backward(embedding: nn.Embedding, ids: list[int], seed: int) -> None:
    values = torch.randn(len(ids), WIDTH, generator=torch.Generator().manual_seed(seed))
    (embedding(torch.tensor([ids])) * values).sum().backward()


@given(steps=st.lists(Ids, min_size=1, max_size=4), padding=st.none() | st.integers(0, ROWS - 1))
def test_the_same_bits_as_dense_gradients(steps: list[list[int]], padding: int | None) -> None:
    plain = nn.Embedding(ROWS, WIDTH, padding_idx=padding)
    quick = copy.deepcopy(plain)
    gradients = SparseEmbeddingGrad(quick)
    for seed, ids in enumerate(steps):
        for embedding in (plain, quick):
            embedding.zero_grad()
            backward(embedding, ids, seed)
        gradients.fill()
        assert plain.weight.grad is not None and quick.weight.grad is not None
        assert torch.equal(plain.weight.grad, quick.weight.grad)
        quick.weight.grad *= 0.5  # as clipping does
        gradients.clear()
    assert not any(table.any() for table in gradients.tables.values())


@given(first=Ids, second=Ids)
def test_micro_batches_add_up(first: list[int], second: list[int]) -> None:
    plain = nn.Embedding(ROWS, WIDTH)
    quick = copy.deepcopy(plain)
    gradients = SparseEmbeddingGrad(quick)
    for embedding in (plain, quick):
        backward(embedding, first, 0)
        backward(embedding, second, 1)
    gradients.fill()
    torch.testing.assert_close(quick.weight.grad, plain.weight.grad, rtol=0, atol=1e-5)


def test_weights_that_are_frozen_or_shared_keep_their_gradients() -> None:
    frozen = nn.Embedding(ROWS, WIDTH).requires_grad_(False)
    shared = nn.Embedding(ROWS, WIDTH)
    output = nn.Linear(WIDTH, ROWS, bias=False)
    output.weight = shared.weight
    gradients = SparseEmbeddingGrad(nn.ModuleList([frozen, shared, output]))
    output(shared(torch.tensor([1, 2]))).sum().backward()
    found = shared.weight.grad
    gradients.fill()
    assert shared.weight.grad is found and found is not None and not found.is_sparse
    assert frozen.weight.grad is None
