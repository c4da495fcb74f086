"""Pairs whose order means nothing: both orders are trained on, in one split, and answered for by their mean."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import accel_clf
from accel_clf.config.schema import DataConfig
from accel_clf.core.exit_codes import USAGE
from accel_clf.data import splits
from accel_clf.data.dataset import shared_texts
from accel_clf.data.sources import read_dataset
from accel_clf.data.tokenization import tokenize
from tests.conftest import read_csv, write_csv
from tests.pair_forms import HEADER, make_encoder, make_tokenizer, pipeline_scores, random_pairs, settings

PAIRS = random_pairs(15, seed=3)
SWAPPED = [(second, first) for first, second in PAIRS]
SYMMETRIC = DataConfig(text="first", pair="second", symmetric=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, pairs: Path) -> accel_clf.Run:
    folder = tmp_path_factory.mktemp("symmetric")
    encoder = make_encoder(folder / "bert", "bert")
    return accel_clf.train(settings(folder, encoder, pairs, symmetric=True, test=str(pairs)))


def test_answers_are_the_mean_of_both_orders(run: accel_clf.Run) -> None:
    one, other = (pipeline_scores(run.path / "model", pairs) for pairs in (PAIRS, SWAPPED))
    assert max(abs(a["same"] - b["same"]) for a, b in zip(one, other, strict=True)) > 0.001, "the model sees the order"
    for answers in (run.predict(PAIRS), run.predict(SWAPPED)):
        for answer, first, second in zip(answers, one, other, strict=True):
            expected = {label: (first[label] + second[label]) / 2 for label in first}
            assert answer["scores"] == pytest.approx(expected, abs=1e-5)


def test_evaluations_and_predictions_are_the_mean_too(run: accel_clf.Run, pairs: Path) -> None:
    tested = run.metrics["test"]
    for columns in ({}, {"text": "second", "pair": "first"}):
        assert run.evaluate(pairs, **columns)["log_loss"] == pytest.approx(tested["log_loss"], abs=1e-6)
    rows = read_csv(pairs)
    answers = run.predict([(row["first"], row["second"]) for row in rows])
    written = read_csv(run.path / "predictions.csv")
    assert [float(row["score:same"]) for row in written] == pytest.approx(
        [answer["scores"]["same"] for answer in answers], abs=1e-5
    )


def test_both_orders_are_trained_on(run: accel_clf.Run) -> None:
    training = run.metrics["training"]
    assert (training["rows"], training["steps"]) == (81, -(-2 * 81 // 8))


def test_tokens_of_both_orders(pairs: Path, tmp_path: Path) -> None:
    tokenizer = make_tokenizer("bert")
    rows = read_dataset(str(pairs), SYMMETRIC, split="train")
    other = read_dataset(str(pairs), DataConfig(text="second", pair="first"), split="train")
    tokens, expected = (tokenize(each, tokenizer, 24, tmp_path, with_types=True) for each in (rows, other))
    chosen = np.array([5, 3, 80])
    taken = tokens.take(chosen)
    assert taken.swapped is not None
    for index, row in enumerate(chosen):
        assert np.array_equal(taken.swapped[index], expected[row])
        assert np.array_equal(taken.in_both_orders()[index], tokens[row])
        assert np.array_equal(taken.in_both_orders()[3 + index], expected[row])
    assert len(tokens) == 90
    assert len(tokens.in_both_orders()) == 180
    assert expected.in_both_orders() is expected


@pytest.mark.parametrize("group", [None, "doc"])
def test_both_orders_of_a_pair_are_in_one_split(tmp_path: Path, group: str | None) -> None:
    """And, where rows are in groups, the groups of both."""
    rows = []
    for number, (first, second) in enumerate(dict.fromkeys(random_pairs(60, seed=4))):
        label = "same" if number % 2 else "other"
        rows += [(first, second, label, f"d{number}"), (second, first, label, f"d{number + 1000 - number % 3}")]
    path = write_csv(tmp_path / "twins.csv", rows, (*HEADER, "doc"))
    data = SYMMETRIC.model_copy(update={"train": str(path), "validation": 0.25, "group": group})
    loaded = splits.load(data, seed=0)
    assert loaded.validation is not None
    assert 15 <= len(loaded.validation) <= 45
    assert not shared_texts(loaded.train, loaded.validation).any()
    if group:
        documents = [{rows[index][3] for index in part.ids} for part in (loaded.train, loaded.validation)]
        assert not documents[0] & documents[1]
    apart = splits.load(data.model_copy(update={"symmetric": False, "group": None}), seed=0)
    assert apart.validation is not None
    twins = read_dataset(str(path), SYMMETRIC, split="train")
    assert shared_texts(twins.take(apart.train.ids), twins.take(apart.validation.ids)).sum() > 10
    assert not shared_texts(apart.train, apart.validation).any(), "other rows, where the order counts"


def test_pairs_without_twins_are_split_as_ever(pairs: Path, tmp_path: Path) -> None:
    rows = write_csv(tmp_path / "rows.csv", [(*pair, "xy"[index % 2]) for index, pair in enumerate(PAIRS)], HEADER)
    data = SYMMETRIC.model_copy(update={"train": str(rows), "validation": 0.3})
    ids = [
        splits.load(each, seed=0).train.ids.tolist() for each in (data, data.model_copy(update={"symmetric": False}))
    ]
    assert ids[0] == ids[1]


def test_cross_validation(pairs: Path, tmp_path: Path) -> None:
    values = settings(tmp_path, make_encoder(tmp_path / "bert", "bert"), pairs, symmetric=True)
    run = accel_clf.cross_validate(values | {"folds": 2})
    for answer, swapped in zip(run.predict(PAIRS), run.predict(SWAPPED), strict=True):
        assert answer["scores"] == pytest.approx(swapped["scores"], abs=1e-6)


def test_what_does_not_go_together_is_refused(pairs: Path, refused: Callable[..., str]) -> None:
    common = ["train", "--data.train", pairs, "--data.text", "first", "--data.symmetric", "--model.name", "demo"]
    assert "there is no data.pair" in refused(USAGE, *common)
    message = refused(USAGE, *common, "--data.pair", "second", "--target.calibration", "temperature")
    assert "would not be that of the mean of both orders" in message
