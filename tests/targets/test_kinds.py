"""Each kind of target: cells to labels, the loss by its definition, scores, decisions, metrics by scikit-learn."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, cohen_kappa_score, f1_score, roc_auc_score
from sklearn.metrics import mean_absolute_error as sklearn_mae

from accel_clf.config.schema import DataConfig, TargetConfig
from accel_clf.core.errors import ConfigError, DataError
from accel_clf.targets import registry
from accel_clf.targets.base import Target
from accel_clf.targets.fitting import cross_fit
from accel_clf.targets.multi_label import MultiLabel, best_cut
from accel_clf.targets.objective import Objective, Rescaling
from accel_clf.targets.ordinal import Ordinal
from accel_clf.targets.regression import Regression
from accel_clf.targets.single_label import SingleLabel

RANDOM = np.random.default_rng(0)
NAMES = ("a", "b", "c", "d")
TARGETS: tuple[Target, ...] = (SingleLabel(NAMES), MultiLabel(NAMES), Ordinal(NAMES), Regression(("stars",)))


def example(target: Target, rows: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Make labels of which some are rare, and logits that know something of them."""
    outputs = len(target.output_names)
    if isinstance(target, MultiLabel):
        labels = (RANDOM.random((rows, outputs)) < [0.5, 0.3, 0.1, 0.05]).astype(np.int8)
        return labels, RANDOM.normal(size=(rows, outputs)) + 2 * labels
    if isinstance(target, Regression):
        numbers = RANDOM.normal(size=rows) * 3 + 5
        return numbers, numbers[:, None] + RANDOM.normal(size=(rows, 1))
    labels = RANDOM.choice(4, rows, p=[0.4, 0.3, 0.2, 0.1]).astype(np.int32)
    if isinstance(target, Ordinal):
        return labels, RANDOM.normal(size=(rows, 3)) + 2 * (labels[:, None] > np.arange(3))
    return labels, RANDOM.normal(size=(rows, 4)) + 2 * np.eye(4)[labels]


def objective_of(target: Target, labels: np.ndarray, **settings: Any) -> Objective:
    return target.objective(TargetConfig.model_validate(settings), labels)


def loss_of(objective: Objective, logits: np.ndarray, labels: np.ndarray | None = None) -> float:
    labels = objective.labels if labels is None else labels
    return float(objective.loss(torch.from_numpy(logits).float(), torch.from_numpy(labels)))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.kind)
@pytest.mark.parametrize("loss", ["plain", "weighted", "focal", "logit_adjusted"])
def test_losses_are_sums_over_rows_without_padding(target: Target, loss: str) -> None:
    labels, logits = example(target)
    try:
        target.check_settings(TargetConfig.model_validate({"loss": loss}), ())
    except ConfigError:
        return
    objective = objective_of(target, labels, loss=loss)
    whole = loss_of(objective, logits)
    parts = [loss_of(objective, logits[rows], objective.labels[rows]) for rows in (slice(0, 70), slice(70, None))]
    assert whole == pytest.approx(sum(parts), rel=1e-5)
    padding = np.full_like(objective.labels[:5], objective.padding_label)
    padded = np.concatenate([objective.labels, padding])
    wild = np.concatenate([logits, np.full((5, logits.shape[1]), 9.0)])
    assert loss_of(objective, wild, padded) == pytest.approx(whole, rel=1e-5)
    outputs = torch.from_numpy(wild).float().requires_grad_()
    objective.loss(outputs, torch.from_numpy(padded)).backward()  # type: ignore[no-untyped-call]
    assert outputs.grad is not None
    assert torch.isfinite(outputs.grad).all()
    assert not outputs.grad[-5:].any(), "padding rows teach nothing"


def test_plain_losses_are_likelihoods_of_the_scores() -> None:
    """What is learned is what is answered: each loss is the negative log-likelihood of the target's own scores."""
    ordinal, multi = Ordinal(NAMES), MultiLabel(NAMES)
    labels, logits = example(ordinal)
    of_labels = ordinal.scores(logits)[np.arange(len(labels)), labels]
    assert loss_of(objective_of(ordinal, labels), logits) == pytest.approx(-np.log(of_labels).sum(), rel=1e-5)
    labels, logits = example(multi)
    of_labels = np.where(labels == 1, multi.scores(logits), 1 - multi.scores(logits))
    assert loss_of(objective_of(multi, labels), logits) == pytest.approx(-np.log(of_labels).sum() / 4, rel=1e-5)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.kind)
def test_a_new_head_begins_at_the_labels_shares(target: Target) -> None:
    """With its bias alone a model's scores are the labels' shares, or the numbers' mean."""
    labels, _ = example(target, 1000)
    objective = objective_of(target, labels)
    if objective.bias is None:
        assert isinstance(target, SingleLabel)
        return
    logits = objective.bias[None] * objective.rescaling.scale + objective.rescaling.shift
    [scores] = target.scores(logits)
    expected = {
        "multi_label": lambda: labels.mean(axis=0),
        "ordinal": lambda: np.bincount(labels, minlength=4) / len(labels),
        "regression": lambda: [labels.mean()],
    }[target.kind]()
    assert scores == pytest.approx(expected, abs=0.01)


def test_scores_of_an_order_are_probabilities_and_decisions_their_medians() -> None:
    target = Ordinal(NAMES)
    scores = target.scores(RANDOM.normal(size=(500, 3)) * 3)
    assert scores.sum(axis=1) == pytest.approx(np.ones(500))
    assert (scores >= 0).all()
    below = np.array([row[:code].sum() for row, code in zip(scores, target.decide(scores), strict=True)])
    assert (below < 0.5).all()
    assert target.decide(np.array([[0.4, 0.0, 0.15, 0.45]])) == [2]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.kind)
def test_logits_of_scores_have_these_scores(target: Target) -> None:
    scores = target.scores(example(target)[1])
    assert target.scores(target.logits(scores)) == pytest.approx(scores, abs=1e-9)


@pytest.mark.parametrize("target", [SingleLabel(NAMES), MultiLabel(NAMES), Ordinal(NAMES)], ids=lambda t: t.kind)
def test_temperature_undoes_a_scale(target: Target) -> None:
    """Labels drawn from scores of logits: of four times these logits the temperature is 4."""
    logits = RANDOM.normal(size=(20_000, len(target.output_names))) * 1.5
    scores = target.scores(logits)
    if isinstance(target, MultiLabel):
        labels = (RANDOM.random(scores.shape) < scores).astype(np.int8)
    else:
        labels = (scores.cumsum(axis=1) < RANDOM.random((len(scores), 1))).sum(axis=1)
    assert target.fit_temperature(4 * logits, labels) == pytest.approx(4, rel=0.05)
    before, after = (target.calibration_errors(labels, target.scores(factor * logits)) for factor in (4, 1))
    assert after["expected_calibration_error"] < 0.03 < before["expected_calibration_error"]
    assert after["brier"] < before["brier"]


def test_metrics_of_several_labels_equal_scikit_learns() -> None:
    target = MultiLabel(NAMES, (0.4, 0.5, 0.6, 0.7))
    labels, logits = example(target)
    scores = target.scores(logits)
    predicted = (scores >= [0.4, 0.5, 0.6, 0.7]).astype(int)
    metrics = target.metrics(labels, scores, named=("f1:b", "brier"))
    for average in ("micro", "macro", "samples"):
        expected = f1_score(labels, predicted, average=average, zero_division=1.0 if average == "samples" else 0.0)
        assert metrics[f"{average}_f1"] == pytest.approx(expected)
    assert metrics["mean_average_precision"] == pytest.approx(average_precision_score(labels, scores, average="macro"))
    assert metrics["roc_auc"] == pytest.approx(roc_auc_score(labels, scores, average="macro"))
    assert metrics["subset_accuracy"] == (labels == predicted).all(axis=1).mean()
    assert metrics["f1:b"] == metrics.per_class["b"].f1 == pytest.approx(f1_score(labels[:, 1], predicted[:, 1]))
    assert metrics["brier"] == pytest.approx(((scores - labels) ** 2).mean())
    assert [of.threshold for of in metrics.per_class.values()] == [0.4, 0.5, 0.6, 0.7]


def test_metrics_of_an_order_and_of_numbers_equal_scikit_learns() -> None:
    ordinal, number = Ordinal(NAMES), Regression(("stars",))
    labels, logits = example(ordinal)
    metrics = ordinal.metrics(labels, ordinal.scores(logits))
    decided = ordinal.decide(ordinal.scores(logits))
    assert metrics["quadratic_kappa"] == pytest.approx(cohen_kappa_score(labels, decided, weights="quadratic"))
    assert metrics["mae"] == pytest.approx(sklearn_mae(labels, decided))
    assert metrics["accuracy_within_one"] == (np.abs(labels - decided) <= 1).mean()
    labels, logits = example(number)
    values = number.metrics(labels, number.scores(logits)).values
    assert values["mae"] == pytest.approx(sklearn_mae(labels, logits[:, 0]))
    assert values["pearson"] == pytest.approx(np.corrcoef(labels, logits[:, 0])[0, 1])


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=40))
def test_no_cut_has_a_better_f1(rows: list[tuple[bool, int]]) -> None:
    labels, scores = np.array([int(label) for label, _ in rows]), np.array([score / 7 for _, score in rows])
    cut = best_cut(labels, scores)
    assert not np.isin(cut, scores) or not labels.any() or cut == scores.min(), "a cut is between scores"
    if labels.any():
        best = max(f1_score(labels, scores >= other, zero_division=0.0) for other in np.arange(-1, 15) / 14)
        assert f1_score(labels, scores >= cut) == pytest.approx(best)


def test_thresholds_that_are_told_of_were_fitted_to_other_rows() -> None:
    """A row's decision does not depend on its own labels."""
    target = MultiLabel(NAMES)
    labels, logits = example(target)
    parts = np.arange(len(labels)) % 5
    others = labels.copy()
    others[parts == 2] = 1 - others[parts == 2]
    fitted = [cross_fit(target, logits, some, parts, temperature=True, thresholds=True) for some in (labels, others)]
    assert np.array_equal(fitted[0].decided[parts == 2], fitted[1].decided[parts == 2])
    assert fitted[0].target.thresholds_by_name() != fitted[1].target.thresholds_by_name()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.kind)
def test_target_is_made_again_from_a_models_configuration(target: Target) -> None:
    class Configuration:
        pass

    config = Configuration()
    vars(config).update(target.hf_config() | {registry.OPTIONS: registry.options_of(target)})
    assert registry.of_model(config) == target


def cells(*values: Any) -> dict[Any, str]:
    return {value: f"line {number}" for number, value in enumerate(values, start=2)}


def test_orders_are_numeric_or_set() -> None:
    data = DataConfig()
    assert Ordinal.of_cells(cells("10", "2", "-1", "2.5"), data, TargetConfig()).names == ("-1", "2", "2.5", "10")
    settings = TargetConfig(order=("low", "high"))
    assert Ordinal.of_cells(cells("high"), data, settings).names == ("low", "high")
    with pytest.raises(DataError, match="line 3: the label is 'high'") as error:
        Ordinal.of_cells(cells("1", "high"), data, TargetConfig())
    assert "--target.order" in error.value.fix


def test_settings_that_a_kind_has_no_use_for_are_refused() -> None:
    refused: dict[str, list[tuple[dict[str, Any], tuple[str, ...]]]] = {
        "single_label": [({"thresholds": "f1"}, ()), ({"order": ["a"]}, ()), ({}, ("mae",))],
        "multi_label": [({"order": ["a"]}, ()), ({}, ("accuracy",)), ({}, ("f1:x",))],
        "ordinal": [({"thresholds": "f1"}, ()), ({"loss": "logit_adjusted"}, ()), ({"label_smoothing": 0.1}, ())],
        "regression": [({"calibration": "temperature"}, ()), ({"loss": "focal"}, ()), ({}, ("f1:a",))],
    }
    for target in TARGETS:
        target.check_settings(TargetConfig(), (target.default_metric, target.main_metric))
        for settings, metrics in refused[target.kind]:
            with pytest.raises(ConfigError):
                target.check_settings(TargetConfig.model_validate(settings), metrics)


def test_rescalings_invert() -> None:
    rescaling = Rescaling(0.5, -1.0)
    inverse = rescaling.inverse()
    assert (7 * rescaling.scale + rescaling.shift) * inverse.scale + inverse.shift == 7


def test_numbers_taken_for_names_are_asked_about() -> None:
    assert registry.question(SingleLabel(tuple(map(str, range(5))))) is None
    assert registry.question(SingleLabel(("a", *map(str, range(50))))) is None
    for names in (tuple(map(str, range(21))), ("0.5", "1.5")):
        assert "--target.type regression" in str(registry.question(SingleLabel(names)))


@pytest.mark.parametrize("kind", [SingleLabel, Ordinal, MultiLabel])
def test_labels_that_may_be_the_same_and_lone_ones_are_told(kind: type[SingleLabel | Ordinal | MultiLabel]) -> None:
    def messages(names: tuple[str, ...], counts: list[int]) -> list[str]:
        labels = np.repeat(np.arange(len(names)), counts)
        target = kind(names)
        labels = np.eye(len(names), dtype=np.int8)[labels] if kind is MultiLabel else labels
        return [message for message in target.warnings(labels, "plain", "macro_f1") if "rare labels" not in message]

    assert not messages(("a", "b"), [5, 5])
    [spaces] = messages(("neg", "pos", "pos "), [5, 3, 2])
    assert "only by surrounding spaces are different labels: 'pos' (3 rows) and 'pos ' (2 rows)" in spaces
    [several] = messages(tuple("aAbBcCdD"), [2] * 8)
    assert "case" in several and "'c' (2 rows) and 'C' (2 rows); and 1 more" in several
    assert "label 'b' has a single training row" in messages(("a", "b"), [5, 1])[0]
    assert "2 labels ('b', 'c') have a single training row" in messages(("a", "b", "c"), [5, 1, 1])[0]
