"""The contract of strategies, on a CPU by Accelerate; tests/xla runs the same cases on virtual XLA cores."""

from collections.abc import Callable

import pytest
import torch

from accel_clf.data.collate import Padding, collate
from accel_clf.strategies.accelerate import AccelerateStrategy
from accel_clf.strategies.base import Strategy, weights_digest
from tests.strategies.contract_cases import CASES, TOKENS, make_batches, make_linear


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_accelerate_fulfils_the_contract(case: Callable[[Strategy], None]) -> None:
    case(AccelerateStrategy("fp32"))


def test_loading_leaves_the_generator_alone() -> None:
    """Dropout depends on the step's seed only, not on when a loader starts."""
    strategy = AccelerateStrategy("fp32")
    strategy.seed(5)
    expected = torch.rand(1)
    strategy.seed(5)
    next(iter(strategy.batches(make_batches(), collate(TOKENS, Padding(0), "padded", 8))))
    assert torch.equal(torch.rand(1), expected)


def test_one_bit_changes_the_digest() -> None:
    state = make_linear().state_dict()
    changed = {name: tensor.clone() for name, tensor in state.items()}
    changed["bias"][0] = torch.nextafter(changed["bias"][0], torch.tensor(9.0))
    assert weights_digest(changed) != weights_digest(state)
