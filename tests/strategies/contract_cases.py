"""What the training loop relies on: the same cases for every strategy, on any number of processes."""

import numpy as np
import pytest
import torch
from torch import nn

from accel_clf.core.errors import UserError
from accel_clf.data.collate import GlobalBatchSampler, Padding, collate
from accel_clf.data.sampling import PADDING_ROW, global_batches
from accel_clf.data.tokenization import TokenizedDataset
from accel_clf.strategies.base import Strategy, weights_digest
from accel_clf.training.optim import make_optimizer

TOKENS = TokenizedDataset(
    np.arange(100, dtype=np.int32), np.arange(0, 100, 5), np.arange(5, 101, 5), 99
)  # 20 rows of 5


def make_linear() -> nn.Module:
    """Make a layer with the same weights on every process, whatever their generators' seeds."""
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.copy_(torch.arange(6.0).reshape(2, 3) / 10)
        model.bias.copy_(torch.tensor([0.5, -0.5]))
    return model


def make_batches() -> GlobalBatchSampler:
    """Put 20 rows into three batches of 8 slots: the last has four padding rows."""
    return GlobalBatchSampler(global_batches(np.arange(20), 8), TOKENS.lengths, "bucketed", 8)


def batches_hold_every_row_once(strategy: Strategy) -> None:
    share = list(strategy.batches(make_batches(), collate(TOKENS, Padding(0), "padded", 8)))
    assert all(batch["input_ids"].device == strategy.device for batch in share)
    assert all(batch["input_ids"].shape == (8 // strategy.processes, 8) for batch in share)
    for number, batch in enumerate(share):
        rows = strategy.gather(batch["rows"].cpu())
        expected = list(range(8 * number, min(20, 8 * number + 8)))
        assert sorted(row for row in rows.tolist() if row != PADDING_ROW) == expected


def check_step(strategy: Strategy, micro_batches: int, max_norm: float | None) -> None:
    """Check a step of plain SGD: the gradient is summed over processes and micro-batches, then clipped."""
    weight_before = make_linear().state_dict()["weight"]
    model, optimizer = strategy.prepare(make_linear(), lambda moved: torch.optim.SGD(moved.parameters(), lr=0.5))
    for number in range(micro_batches):
        with strategy.micro_batch(model, last=number == micro_batches - 1):
            # The gradients of the processes differ: 100 times 1, 2, 3 ...
            inputs = torch.full((4, 3), float(strategy.process + 1)).to(strategy.device)
            strategy.backward(model(inputs).sum() * 100, rows=4)
    norm = strategy.step(optimizer, max_norm)
    weight_grad = 100.0 * micro_batches * sum(range(1, strategy.processes + 1))
    bias_grad = 100.0 * micro_batches * strategy.processes
    expected_norm = (6 * weight_grad**2 + 2 * bias_grad**2) ** 0.5
    assert (norm is None) == (max_norm is None)
    if norm is not None and max_norm is not None:
        assert float(norm) == pytest.approx(expected_norm)
        weight_grad *= max_norm / expected_norm
    state = strategy.gather_weights(model)
    if strategy.is_main:
        assert torch.allclose(weight_before - state["weight"], torch.full((2, 3), 0.5 * weight_grad), rtol=1e-4)
    assert all(parameter.grad is None for parameter in model.parameters())
    strategy.check_equal(model)


def step_reduces_and_zeroes_gradients(strategy: Strategy) -> None:
    check_step(strategy, micro_batches=1, max_norm=None)


def step_clips_reduced_gradients(strategy: Strategy) -> None:
    check_step(strategy, micro_batches=1, max_norm=0.1)


def step_clips_accumulated_and_reduced_gradients(strategy: Strategy) -> None:
    check_step(strategy, micro_batches=3, max_norm=0.1)


def collectives_are_in_rank_order(strategy: Strategy) -> None:
    local = torch.tensor([[1.0, float(strategy.process)]])
    assert strategy.gather(local).tolist() == [[1.0, float(process)] for process in range(strategy.processes)]
    assert strategy.sum(torch.tensor([3.0, 0.5])).tolist() == [3.0 * strategy.processes, 0.5 * strategy.processes]
    assert strategy.broadcast_flag(strategy.is_main)
    assert not strategy.broadcast_flag(not strategy.is_main)


def gather_keeps_infinite_values(strategy: Strategy) -> None:
    local = torch.tensor([float("inf") if strategy.is_main else 1.0])
    assert strategy.gather(local).isfinite().tolist() == [False] + [True] * (strategy.processes - 1)


def gather_keeps_all_bits_of_integers(strategy: Strategy) -> None:
    values = [2**63 - 1, -(2**63), 2**48 - 1, 2**32, 2**31, -1, strategy.process]
    expected = torch.tensor([[*values[:-1], process] for process in range(strategy.processes)])
    assert torch.equal(strategy.gather(torch.tensor(values)), expected.reshape(-1))
    assert torch.equal(strategy.gather(torch.tensor([values])), expected)
    transposed = torch.tensor([values, values]).T  # not contiguous
    assert torch.equal(strategy.gather(transposed)[: len(values)], expected[0].expand(2, -1).T)
    narrow = torch.tensor([2**31 - 1, strategy.process], dtype=torch.int32)
    assert strategy.gather(narrow).dtype == torch.int32


def gathered_weights_have_the_bare_models_names(strategy: Strategy) -> None:
    model, _ = strategy.prepare(make_linear(), lambda moved: make_optimizer(moved, 0.0))
    state = strategy.gather_weights(model)
    if strategy.is_main:
        assert list(state) == ["weight", "bias"]
        assert weights_digest(state) == weights_digest(make_linear().state_dict())


def different_models_are_refused(strategy: Strategy) -> None:
    model = make_linear()
    strategy.check_equal(model)
    gather = strategy.gather
    try:
        strategy.gather = lambda digest: torch.cat([digest, digest + 1])  # type: ignore[method-assign]
        with pytest.raises(UserError, match="2 different models"):
            strategy.check_equal(model)
    finally:
        strategy.gather = gather  # type: ignore[method-assign]


CASES = [
    batches_hold_every_row_once,
    step_reduces_and_zeroes_gradients,
    step_clips_reduced_gradients,
    step_clips_accumulated_and_reduced_gradients,
    collectives_are_in_rank_order,
    gather_keeps_infinite_values,
    gather_keeps_all_bits_of_integers,
    gathered_weights_have_the_bare_models_names,
    different_models_are_refused,
]
