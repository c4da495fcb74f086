"""Sparse embedding gradients have the bits of dense ones, and leave nothing behind for the next step."""

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
def small_embeddings_are_large() -> Iterator[None]:
    """Embeddings of any size get sparse gradients."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding_grad, "LARGE", 0)
        yield


def backward(embedding: nn.Embedding, ids: list[int], seed: int) -> None:
    values = torch.randn(len(ids), WIDTH, generator=torch.Generator().manual_seed(seed))
    (embedding(torch.tensor([ids])) * values).sum().backward()


@given(steps=st.lists(Ids, min_size=1, max_size=4), padding=st.none() | st.integers(0, ROWS - 1))
def test_gradients_have_the_bits_of_dense_ones(steps: list[list[int]], padding: int | None) -> None:
    dense = nn.Embedding(ROWS, WIDTH, padding_idx=padding)
    sparse = copy.deepcopy(dense)
    gradients = SparseEmbeddingGrad(sparse)
    for seed, ids in enumerate(steps):
        for embedding in (dense, sparse):
            embedding.zero_grad()
            backward(embedding, ids, seed)
        gradients.fill()
        assert dense.weight.grad is not None and sparse.weight.grad is not None
        assert torch.equal(dense.weight.grad, sparse.weight.grad)
        sparse.weight.grad *= 0.5  # as clipping does
        gradients.clear()
    assert not any(table.any() for table in gradients.tables.values())


@given(first=Ids, second=Ids)
def test_micro_batches_accumulate(first: list[int], second: list[int]) -> None:
    dense = nn.Embedding(ROWS, WIDTH)
    sparse = copy.deepcopy(dense)
    gradients = SparseEmbeddingGrad(sparse)
    for embedding in (dense, sparse):
        backward(embedding, first, 0)
        backward(embedding, second, 1)
    gradients.fill()
    torch.testing.assert_close(sparse.weight.grad, dense.weight.grad, rtol=0, atol=1e-5)


def test_frozen_and_shared_embeddings_keep_their_gradients() -> None:
    frozen = nn.Embedding(ROWS, WIDTH).requires_grad_(False)
    shared = nn.Embedding(ROWS, WIDTH)
    output = nn.Linear(WIDTH, ROWS, bias=False)
    output.weight = shared.weight
    gradients = SparseEmbeddingGrad(nn.ModuleList([frozen, shared, output]))
    output(shared(torch.tensor([1, 2]))).sum().backward()
    gradient = shared.weight.grad
    gradients.fill()
    assert shared.weight.grad is gradient and gradient is not None and not gradient.is_sparse
    assert frozen.weight.grad is None
