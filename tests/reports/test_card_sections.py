"""What a model card says of a run, by its settings and its metrics.json alone; no model is trained."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accel_clf.config.load import load
from accel_clf.config.schema import DataConfig
from accel_clf.core.errors import ConfigError
from accel_clf.core.files import write_json
from accel_clf.data.sources import read_dataset
from accel_clf.reports.hub.card_constants import constant_answers
from accel_clf.reports.hub.card_facts import Facts
from accel_clf.reports.hub.card_limits import NOT_MEASURED, limits
from accel_clf.reports.hub.card_metadata import CardOptions, card_data
from accel_clf.reports.hub.card_sources import Source, source_of
from accel_clf.reports.hub.markdown import listed
from accel_clf.reports.hub.model_card import model_card
from accel_clf.reports.hub.package import write_package
from accel_clf.run_folder.layout import DATA_FACTS, FOLDS
from accel_clf.targets.base import Target
from accel_clf.targets.multi_label import MultiLabel
from accel_clf.targets.ordinal import Ordinal
from accel_clf.targets.regression import Regression
from accel_clf.targets.single_label import SingleLabel
from tests.conftest import write_csv
from tests.hub_standin import metadata_errors

TWO, ORDER, NUMBER = SingleLabel(("no", "yes")), Ordinal(("1", "2", "7", "8")), Regression(("stars",))
NOT_BETTER = "No better than a constant answer"


def facts_of(
    run: Path,
    results: dict[str, Any],
    target: Target = TWO,
    /,
    *,
    splits: dict[str, Any] | None = None,
    **settings: Any,
) -> Facts:
    """Make the facts of a run, of a cross-validation where the results have folds."""
    settings = {"data": {"train": "a.csv"}, "target": {"type": target.kind}, **settings}
    if "folds" in results:
        write_json(run / FOLDS, {"rows": "digest of all"})
    if splits:
        write_json(run / DATA_FACTS, {"splits": splits})
    return Facts("me/model", run, load(None, settings), results, target, {}, {})


def card_of(facts: Facts, **options: Any) -> str:
    return str(model_card(facts, CardOptions(license="mit", **options)))


def measured(target: Target, labels: Any, scores: Any) -> dict[str, Any]:
    return target.metrics(np.array(labels, target.label_type), np.array(scores, np.float64)).to_json()


def of_two(right: int, wrong: int, majority: float = 0.5, certainty: float = 0.6) -> dict[str, Any]:
    """Measure answers to `right + wrong` rows."""
    rows = right + wrong
    labels = np.arange(rows) < majority * rows
    decided = np.where(np.random.default_rng(0).permutation(rows) < right, labels, ~labels)
    yes = np.where(decided, certainty, 1 - certainty)
    return measured(TWO, labels, np.stack([1 - yes, yes], axis=1))


@pytest.mark.parametrize(
    ("settings", "split", "dataset", "source"),
    [
        ({"train": "d/a.csv"}, "train", None, Source("a.csv", None, None)),
        ({"train": "d/a.csv", "validation": 0.1}, "validation", None, Source("a.csv", None, None)),
        ({"train": "d/a.csv", "test": "e/b.tsv.gz"}, "test", None, Source("b.tsv.gz", None, None)),
        ({"train": "d/a.csv", "test": "e/b.csv"}, "test", "me/data", Source("b.csv", None, None)),
        ({"train": "d/a.csv", "test": "e/b.csv"}, "train", "me/data", Source("a.csv", "me/data", None)),
        ({"train": "d/a.csv", "test": "e/b.csv"}, "held_out", "me/data", Source("a.csv", "me/data", None)),
        ({"train": "me/x"}, "train", None, Source("me/x", "me/x", "train")),
        ({"train": "me/x", "split": "all", "validation": 0.1}, "validation", None, Source("me/x", "me/x", "all")),
        ({"train": "me/x", "validation": "dev"}, "validation", None, Source("me/x", "me/x", "dev")),
        ({"train": "me/x", "test": "test[:50%]"}, "test", None, Source("me/x", "me/x", "test[:50%]")),
        ({"train": "me/x", "test": "b.csv"}, "test", None, Source("b.csv", None, None)),
        ({"train": "me/x", "calibration": "you/y"}, "calibration", None, Source("you/y", "you/y", None)),
        ({"train": "demo"}, "train", None, Source("demo", None, None)),
    ],
)
def test_source_of_each_split(settings: dict[str, Any], split: str, dataset: str | None, source: Source) -> None:
    assert source_of(DataConfig(**settings), split, dataset) == source


def test_results_are_those_of_the_data_that_were_measured(tmp_path: Path) -> None:
    """The test file, not the data set that was trained on, in the metadata and wherever the card speaks of data."""
    known = {name: {"rows": 80, "digest": f"digest of {name}"} for name in ("train", "validation", "test")}
    results = {"validation": of_two(60, 20), "test": of_two(70, 10)}
    facts = facts_of(tmp_path, results, data={"train": "a.csv", "test": "b.tsv"}, splits=known)
    card = card_of(facts, dataset="me/data")
    assert metadata_errors(card) == []
    [result] = card_data(facts, CardOptions(dataset="me/data")).to_dict()["model-index"][0]["results"]
    assert result["dataset"] == {"name": "b.tsv", "type": "tsv", "split": "test"}
    assert "which it was trained on; it was measured on those of b.tsv and me/data only" in card
    link = "[me/data](https://huggingface.co/datasets/me/data)"
    assert f"| training | 80 | {link} | `digest of train` |\n" in card
    assert "| test | 80 | b.tsv | `digest of test` |\n" in card
    assert "For texts like those of a.csv, the only ones that it was trained and measured on." in card_of(
        facts_of(tmp_path, results)
    )


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ({"train": "me/x", "test": "dev"}, {"name": "me/x", "type": "me/x", "split": "dev"}),
        ({"train": "me/x", "split": "all"}, {"name": "me/x", "type": "me/x", "split": "all"}),
        ({"train": "a.csv"}, {"name": "a.csv", "type": "csv", "split": "validation"}),
    ],
)
def test_splits_have_the_names_of_the_data_set(data: dict[str, Any], place: dict[str, Any], tmp_path: Path) -> None:
    results = {"test" if "test" in data else "validation": of_two(70, 10)}
    [result] = card_data(facts_of(tmp_path, results, data=data), CardOptions()).to_dict()["model-index"][0]["results"]
    assert result["dataset"] == place


def test_which_split_a_file_has_been_is_not_known(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, {"validation": of_two(70, 10)})
    [result] = card_data(facts, CardOptions(dataset="me/data")).to_dict()["model-index"][0]["results"]
    assert result["dataset"] == {"name": "a.csv", "type": "me/data"}


def test_metrics_of_orders_count_labels(tmp_path: Path) -> None:
    """Whose names may be numbers that are further apart; the same names of numbers are in their own unit."""
    labels = np.arange(80) % 4
    test = measured(ORDER, labels, np.eye(4)[labels] * 0.6 + 0.1)
    card = card_of(facts_of(tmp_path, {"test": test}, ORDER))
    assert "| Mean distance in labels | " in card
    assert "| Accuracy within one label | " in card
    assert "| Expected calibration error of the likeliest label | " in card
    assert "\n- mae\n" not in card
    numbers = card_of(facts_of(tmp_path, {"test": measured(NUMBER, labels, labels[:, None] + 0.5)}, NUMBER))
    assert "| Mean absolute error | 0.5000 | " in numbers
    assert "\n- mae\n" in numbers


def cross_validation(with_test: bool, after: float, **more: Any) -> dict[str, Any]:
    out_of_fold = of_two(90, 10, certainty=0.88)  # whose calibration error is 0.02
    spread = {"mean": {"accuracy": 0.8}, "spread": {"accuracy": 0.01}}
    test = {"test": {"ensemble": of_two(90, 10, certainty=0.7), **spread}} if with_test else {}  # and of these 0.2
    calibration = {"temperature": 0.5, "expected_calibration_error": {"before": 0.02, "after": after}}
    return {"folds": 3, **spread, "out_of_fold": out_of_fold, "calibration": calibration, **test, **more}


@pytest.mark.parametrize(
    ("with_test", "after", "error"), [(True, 0.01, 0.2), (True, 0.3, 0.2), (False, 0.3, 0.3), (False, 0.01, None)]
)
def test_calibration_is_that_of_the_best_rows(
    with_test: bool, after: float, error: float | None, tmp_path: Path
) -> None:
    """Of test rows theirs; out of fold that with the temperature, by which what is pushed answers."""
    facts = facts_of(tmp_path, cross_validation(with_test, after))
    of_scores = [limit for limit in limits(facts) if "are not probabilities" in limit]
    assert [f"off by {error:.3f} on average" in limit for limit in of_scores] == ([True] if error else [])
    card = card_of(facts)
    assert f"fitted to the other folds, the expected calibration error is {after:.4f}" in card
    assert "name: Expected calibration error (rows out of fold, without the temperature)" in card
    assert "name: Accuracy (rows out of fold)" in card


def test_rows_of_folds_have_their_digests(tmp_path: Path) -> None:
    known = {name: {"rows": 100, "digest": f"digest of {name}"} for name in ("train", "test", "calibration")}
    data = {"train": "a.csv", "test": "b.csv", "calibration": "c.csv"}
    card = card_of(facts_of(tmp_path, cross_validation(True, 0.01), data=data, splits=known))
    assert "| out of fold | 100 | a.csv | `digest of all` |\n" in card
    assert "| test | 100 | b.csv | `digest of test` |\n" in card
    assert "| kept for abstention | 100 | c.csv | `digest of calibration` |\n" in card
    (tmp_path / DATA_FACTS).unlink()
    card = card_of(facts_of(tmp_path, cross_validation(True, 0.01), data=data))
    assert "| test | 100 | b.csv |  |\n" in card, "a run that was pushed, and downloaded, has none"


@pytest.mark.parametrize("thresholds", [(), (0.4, 0.6)])
def test_models_alone_are_left_out_where_thresholds_are_of_all(thresholds: tuple[float, ...], tmp_path: Path) -> None:
    target = MultiLabel(("a", "b"), thresholds)
    labels = np.arange(80).reshape(40, 2) % 3 > 0
    results = cross_validation(False, 0.01) | {"out_of_fold": measured(target, labels, labels * 0.8 + 0.1)}
    card = card_of(facts_of(tmp_path, results, target))
    assert ("each model alone" in card) is not bool(thresholds)
    assert ("thresholds that were fitted to the other folds" in card) is bool(thresholds)


@pytest.mark.parametrize(
    ("right", "wrong", "majority", "is_better"),
    [(40, 60, 0.52, False), (55, 45, 0.52, False), (70, 30, 0.52, True), (70, 30, 0.65, False), (70, 30, 0.8, False)],
)
def test_one_answer_for_all_rows(right: int, wrong: int, majority: float, is_better: bool, tmp_path: Path) -> None:
    """Doing as well is a limit: the interval of the model does not lie wholly above it."""
    said = [
        limit for limit in limits(facts_of(tmp_path, {"test": of_two(right, wrong, majority)})) if NOT_BETTER in limit
    ]
    assert (not said) is is_better
    if said:
        assert f"on the test rows: accuracy {right / 100:.4f} (" in said[0]
        assert f"against {majority:.4f} by always answering yes." in said[0]


def test_one_number_or_one_label_for_all_rows(tmp_path: Path) -> None:
    stars = np.tile([1.0, 2.0, 9.0], 30)
    for answer, is_said in ((np.tile([3.8, 3.9, 3.9], 30), True), (stars + 0.1, False)):
        rows = [(str(row), str(star), str(said)) for row, (star, said) in enumerate(zip(stars, answer, strict=True))]
        write_csv(
            tmp_path / "predictions.csv", [(*row, row[2]) for row in rows], ("row", "label", "predicted", "logit:stars")
        )
        text = " ".join(limits(facts_of(tmp_path, {"test": measured(NUMBER, stars, answer[:, None])}, NUMBER)))
        assert (NOT_BETTER in text) is is_said
        assert ("against 2.6667 by always answering 2;" in text) is is_said, "the median"
        assert ("by always answering 4." in text) is is_said, "the mean"
    labels = np.repeat([0, 1, 2, 3], [40, 5, 25, 30])
    scores = np.tile([0.1, 0.1, 0.7, 0.1], (100, 1))
    text = " ".join(limits(facts_of(tmp_path, {"test": measured(ORDER, labels, scores)}, ORDER)))
    for part in (
        "accuracy 0.2500 (0.1755 to 0.3430), against 0.4000 by always answering 1;",
        "quadratic kappa 0.0000 (0.0000 to 0.0000), against 0.0000 by always answering the same;",
        "against 1.1500 by always answering 7.",
    ):
        assert part in text


@pytest.mark.parametrize("seed", range(5))
def test_no_other_constant_is_better(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(4, size=31).astype(np.int32)
    best = constant_answers(ORDER, labels)
    assert best["accuracy"].value == max((labels == code).mean() for code in range(4))
    assert best["mae"].value == pytest.approx(min(np.abs(labels - code).mean() for code in range(4)))
    numbers = generator.exponential(size=30)
    grid = np.linspace(0, 4, 400)
    of_numbers = constant_answers(NUMBER, numbers)
    assert all(np.abs(numbers - constant).mean() >= of_numbers["mae"].value - 1e-9 for constant in grid)
    assert all(np.sqrt(np.square(numbers - constant).mean()) >= of_numbers["rmse"].value - 1e-9 for constant in grid)
    several = generator.integers(2, size=(30, 2)).astype(np.int8)
    [(name, constant)] = constant_answers(MultiLabel(("a", "b")), several).items()
    assert name == "subset_accuracy"
    assert constant.value == max((several == [a, b]).all(axis=1).mean() for a in (0, 1) for b in (0, 1))


@pytest.mark.parametrize(
    ("metric", "of_words", "said"),
    [
        ("mae", {"mae": 0.4, "spearman": 0.1}, "mean absolute error 0.4000, against 0.5000."),
        ("mae", {"mae": 0.6, "spearman": 1.0}, None),
        ("spearman", {"mae": 0.6, "spearman": 1.0}, "Spearman correlation 1.0000, against 1.0000."),
        ("rmse", {"mae": 0.6, "spearman": 1.0}, None),
        ("rmse", {"mae": 0.5, "spearman": 0.1}, "mean absolute error 0.5000, against 0.5000."),
    ],
)
def test_words_alone_are_compared_by_the_metric_of_the_run(
    metric: str, of_words: dict[str, float], said: str | None, tmp_path: Path
) -> None:
    labels = np.arange(80) % 4
    results = {"validation": measured(NUMBER, labels, labels[:, None] + 0.5), "baseline": of_words}
    results["test"] = results["validation"]
    facts = facts_of(tmp_path, results, NUMBER, evaluation={"metric": metric})
    words = [limit for limit in limits(facts) if limit.startswith("Words alone")]
    assert words == ([f"Words alone do as well or better on the validation rows: {said}"] if said else [])
    assert "Spearman correlation " in card_of(facts), "a name, in sentences too"


def test_rows_of_no_kind_were_measured(tmp_path: Path) -> None:
    """The card says so in its results, says nothing of a choice, and still has the limits that need no rows."""
    card = card_of(
        facts_of(tmp_path, {"training": {"rows": 9, "best_step": 7}}, splits={"train": {"rows": 9, "digest": "d"}})
    )
    assert f"## Results\n\n{NOT_MEASURED}\n" in card
    assert "For texts like those of a.csv, which it was trained on." in card
    assert "only ones" not in card
    assert "measured below" not in card
    assert "best step" not in card
    assert "tokens; what is beyond is cut off" in card
    assert "whatever the text" in card


@pytest.mark.parametrize(
    ("target", "settings", "fitted"),
    [
        (TWO, {}, ""),
        (TWO, {"calibration": "temperature"}, " The temperature fitted to them is measured by cross-fitting."),
        (MultiLabel(("a", "b"), (0.1, 0.2)), {}, " The thresholds fitted to them are measured by cross-fitting."),
        (
            MultiLabel(("a", "b"), (0.1, 0.2)),
            {"calibration": "temperature"},
            " The temperature and the thresholds fitted to them are measured by cross-fitting.",
        ),
    ],
)
def test_what_was_fitted_to_validation_rows(
    target: Target, settings: dict[str, Any], fitted: str, tmp_path: Path
) -> None:
    results = {"validation": {"rows": 5, "accuracy": 1.0}, "calibration": {}}
    [split] = facts_of(tmp_path, results, target, target={"type": target.kind, **settings}).splits
    assert split.note == f"They chose the best checkpoint, which flatters it.{fitted}"


def test_few_names_are_left_out() -> None:
    assert [listed("abcd", most) for most in (2, 3, 4)] == ["a, b and 2 others", "a, b, c and 1 other", "a, b, c, d"]


@pytest.mark.parametrize(
    ("folder", "problem"),
    [("file", "file: a file"), ("file/dry", "above it is a file"), ("file/deeper/dry", "above it is a file")],
)
def test_dry_run_into_a_file(folder: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=problem):
        write_package({"a": b"b"}, tmp_path / folder)


@pytest.mark.parametrize("kind", ["single_label", "pairs", "multi_label", "regression"])
def test_digest_is_as_documented(kind: str, tmp_path: Path) -> None:
    """See docs/sharing.md: by Python and numpy alone."""
    rows = [("good", "soup", "b|a", "1.5"), ("bad", "film", "", "2"), ("ünder", "staff", "a", "3")]
    path = write_csv(tmp_path / "rows.csv", rows, ("text", "other", "tags", "stars"))
    settings, names, codes = {
        "single_label": ({"label": "other"}, ["film", "soup", "staff"], np.array([1, 0, 2], "<i4")),
        "pairs": ({"label": "stars", "pair": "other"}, ["1.5", "2", "3"], np.array([0, 1, 2], "<i4")),
        "multi_label": (
            {"label": "tags", "label_separator": "|"},
            ["a", "b"],
            np.array([[1, 1], [0, 0], [1, 0]], "i1"),
        ),
        "regression": ({"label": "stars"}, ["stars"], np.array([1.5, 2, 3], "<f8")),
    }[kind]
    config = load(None, {"data": settings, "target": {"type": "regression" if kind == "regression" else "auto"}})
    digest = hashlib.sha256()
    for row in rows:
        sides = row[:2] if kind == "pairs" else row[:1]
        for side in sides:
            digest.update(hashlib.blake2b(side.encode(), digest_size=16 // len(sides)).digest())
    digest.update(json.dumps(names).encode() + codes.tobytes())
    assert read_dataset(str(path), config.data, config.target, split="train").digest() == digest.hexdigest()
