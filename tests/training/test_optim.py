"""The learning rate as a function of the step, and which weights decay."""

import pytest
from torch import nn

from accel_clf.config.schema import TrainingConfig
from accel_clf.training.optim import lr_at, make_optimizer, scaled_lr


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("total", [1, 2, 10, 1000])
def test_rates_are_above_zero_and_at_most_the_peak(schedule: str, warmup: float, total: int) -> None:
    rates = [lr_at(step, total, 2.0, warmup, schedule) for step in range(total)]
    assert all(0 < value <= 2.0 for value in rates)
    rising = round(total * warmup)
    assert rates[:rising] == sorted(rates[:rising])
    assert rates[rising:] == sorted(rates[rising:], reverse=True)
    if rising < total:
        assert rates[rising] == pytest.approx(2.0)


def test_shapes() -> None:
    assert lr_at(50, 100, 1.0, 0.0, "linear") == pytest.approx(0.5)
    assert lr_at(50, 100, 1.0, 0.0, "cosine") == pytest.approx(0.5)
    assert lr_at(25, 100, 1.0, 0.0, "cosine") > 0.75
    assert lr_at(99, 100, 1.0, 0.1, "constant") == 1.0


def test_scaling() -> None:
    def scaled(how: str) -> float:
        return scaled_lr(TrainingConfig(learning_rate=1.0, lr_scaling=how), 4)  # type: ignore[arg-type]

    assert [scaled(how) for how in ("linear", "sqrt", "none")] == [4.0, 2.0, 1.0]


def test_biases_and_norms_do_not_decay() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4))
    decayed, others = make_optimizer(model, 0.1).param_groups
    assert [p.ndim for p in decayed["params"]] == [2, 2]
    assert [p.ndim for p in others["params"]] == [1, 1, 1]
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
