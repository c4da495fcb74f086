"""What the loop relies on, the same cases for every strategy."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from accel_clf.data.layouts import collate, places
from accel_clf.data.order import micro_batches
from accel_clf.data.tokens import Tokens
from accel_clf.errors import UserError
from accel_clf.optim import make_optimizer
from accel_clf.strategies.accelerate import AccelerateStrategy
from accel_clf.strategies.base import GlobalBatches, Strategy, weights_digest

STRATEGIES: dict[str, Callable[[], Strategy]] = {"accelerate": lambda: AccelerateStrategy("fp32")}


@pytest.fixture(params=STRATEGIES)
def strategy(request: pytest.FixtureRequest) -> Strategy:
    return STRATEGIES[request.param]()


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def test_batches_hold_every_row_once(strategy: Strategy) -> None:
    tokens = Tokens(np.arange(100, dtype=np.int32), np.arange(0, 101, 5), 99)
    whole = [places(rows, tokens.lengths, "padded", 8) for rows in micro_batches(np.arange(20), 6)]
    share = strategy.batches(GlobalBatches(whole, len(whole), 6), collate(tokens, None, 0))
    seen = [row for batch in share for row in batch["rows"].tolist()]
    assert seen == list(range(20))
    again = strategy.batches(GlobalBatches(whole, len(whole), 6), collate(tokens, None, 0))
    assert all(batch["input_ids"].device == strategy.device for batch in again)


def test_loading_leaves_the_seed_alone(strategy: Strategy) -> None:
    """Dropout's noise is decided by the step's seed, whenever a loader starts."""
    tokens = Tokens(np.arange(100, dtype=np.int32), np.arange(0, 101, 5), 99)
    whole = [places(rows, tokens.lengths, "padded", 8) for rows in micro_batches(np.arange(20), 6)]
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    next(iter(strategy.batches(GlobalBatches(whole, len(whole), 6), collate(tokens, None, 0))))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("max_norm", [None, 0.1])
def test_a_step_reduces_clips_and_clears(strategy: Strategy, max_norm: float | None) -> None:
    model = linear()
    before = model.weight.detach().clone()  # type: ignore[operator]
    prepared, optimizer = strategy.prepare(model, torch.optim.SGD(model.parameters(), lr=0.5))
    with strategy.micro_batch(prepared, last=True):
        strategy.backward(prepared(torch.ones(4, 3, device=strategy.device)).sum() * 100)
    norm = strategy.step(optimizer, max_norm)
    assert (norm is None) == (max_norm is None)
    if norm is not None:
        assert float(norm) == pytest.approx(100 * 4 * (2 * 4) ** 0.5)
    # Plain descent: the gradient is 400 in each of the eight weights, or 0.1 in all of them together.
    gradient = 400.0 if max_norm is None else 0.1 / 8**0.5
    moved = before - strategy.host_state(prepared)["weight"]
    assert torch.allclose(moved, torch.full((2, 3), 0.5 * gradient), rtol=1e-4)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_gather_sum_and_main_says(strategy: Strategy) -> None:
    value = torch.tensor([[1.0, 2.0]], device=strategy.device)
    assert strategy.gather(value).shape == (strategy.processes, 2)
    assert strategy.sum(torch.tensor(3.0, device=strategy.device)) == 3.0 * strategy.processes
    assert strategy.main_says(True)
    assert not strategy.main_says(False)


def test_host_state_is_the_bare_models(strategy: Strategy) -> None:
    model = linear()
    prepared, _ = strategy.prepare(model, make_optimizer(model, 0.0))
    state = strategy.host_state(prepared)
    assert list(state) == ["weight", "bias"]
    assert weights_digest(state) == weights_digest(linear().state_dict())


def test_different_models_are_refused(strategy: Strategy, monkeypatch: pytest.MonkeyPatch) -> None:
    model = linear()
    strategy.check_equal(model)
    monkeypatch.setattr(strategy, "gather", lambda digest: torch.cat([digest, digest + 1]))
    with pytest.raises(UserError, match="2 different models"):
        strategy.check_equal(model)


def test_a_digest_sees_one_bit() -> None:
    state = linear().state_dict()
    changed = {name: tensor.clone() for name, tensor in state.items()}
    changed["bias"][0] = torch.nextafter(changed["bias"][0], torch.tensor(9.0))
    assert weights_digest(changed) != weights_digest(state)
