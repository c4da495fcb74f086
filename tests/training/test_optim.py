"""The learning rate as a function of the step, and which weights decay."""

import pytest
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from accel_clf.config.schema import TrainingConfig
from accel_clf.training.optim import lr_at, make_optimizer, scaled_lr, set_lr


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("total", [1, 2, 10, 1000])
def test_learning_rate_rises_to_its_peak_then_decays(schedule: str, warmup: float, total: int) -> None:
    rates = [lr_at(step, total, 2.0, warmup, schedule) for step in range(total)]
    assert all(0 < rate <= 2.0 for rate in rates)
    warmup_steps = round(total * warmup)
    assert rates[:warmup_steps] == sorted(rates[:warmup_steps])
    assert rates[warmup_steps:] == sorted(rates[warmup_steps:], reverse=True)
    if warmup_steps < total:
        assert rates[warmup_steps] == pytest.approx(2.0)


def test_schedules_have_their_shapes() -> None:
    assert lr_at(50, 100, 1.0, 0.0, "linear") == pytest.approx(0.5)
    assert lr_at(50, 100, 1.0, 0.0, "cosine") == pytest.approx(0.5)
    assert lr_at(25, 100, 1.0, 0.0, "cosine") > 0.75
    assert lr_at(99, 100, 1.0, 0.1, "constant") == 1.0


def test_learning_rate_is_scaled_by_processes() -> None:
    def lr_of_four(scaling: str) -> float:
        return scaled_lr(TrainingConfig(learning_rate=1.0, lr_scaling=scaling), 4)  # type: ignore[arg-type]

    assert [lr_of_four(scaling) for scaling in ("linear", "sqrt", "none")] == [4.0, 2.0, 1.0]


def test_biases_and_norms_do_not_decay() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4))
    decayed, others = make_optimizer(model, 0.1).param_groups
    assert [p.ndim for p in decayed["params"]] == [2, 2]
    assert [p.ndim for p in others["params"]] == [1, 1, 1]
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)


def test_head_and_pooler_have_a_rate_of_their_own() -> None:
    size = {"hidden_size": 4, "intermediate_size": 4, "num_attention_heads": 1, "num_hidden_layers": 1}
    model = BertForSequenceClassification(BertConfig(vocab_size=5, **size))
    optimizer = make_optimizer(model, 0.1, head_lr_multiplier=10)
    set_lr(optimizer, 2.0)
    rates = {parameter: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    fast = {name for name, parameter in model.named_parameters() if rates[parameter] == 20.0}
    assert fast == {"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"}
    assert {rates[parameter] for name, parameter in model.named_parameters() if name not in fast} == {2.0}
