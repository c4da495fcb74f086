"""Folds: rows of a group share one, each label and language is spread evenly, and leaks are detected."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accel_clf.config.load import load
from accel_clf.core.errors import DataError, UserError
from accel_clf.core.exit_codes import DATA
from accel_clf.cross_validation.folds import Folds, fold_config
from accel_clf.cross_validation.run import cross_validate
from accel_clf.data import splitting
from tests.conftest import make_xlmr, read_csv, write_csv
from tests.cross_validation.conftest import config_for

Refused = Callable[..., str]


def test_splits_of_a_fold_share_no_row_and_no_group_with_its_held_out_rows(settings: dict[str, Any]) -> None:
    folds = Folds(load(None, settings))
    for fold in range(3):
        splits = folds.prepare(fold).splits
        assert splits.validation and splits.held_out and splits.held_out.groups
        trained_on = np.concatenate([splits.train.ids, splits.validation.ids])
        assert np.array_equal(np.sort(np.concatenate([trained_on, splits.held_out.ids])), np.arange(249))
        for rows in (splits.train, splits.validation):
            assert rows.groups
            assert not set(rows.groups.codes) & set(splits.held_out.groups.codes)
        tokens = folds.prepare(fold).tokens["held_out"]
        assert len(tokens) == len(splits.held_out)


def test_leak_between_folds_is_detected(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assign_folds = splitting.folds

    def assign_with_leak(*args: Any) -> np.ndarray:
        folds = assign_folds(*args)
        folds[7] = (folds[7] + 1) % 3
        return folds

    monkeypatch.setattr(splitting, "folds", assign_with_leak)
    with pytest.raises(DataError, match=r"1 of 83 groups are in two folds or more, 's\d+' first"):
        cross_validate(config_for(settings, tmp_path / "cv"))
    assert not (tmp_path / "cv").exists()


def test_each_fold_has_its_own_seed(settings: dict[str, Any]) -> None:
    config = load(None, settings)
    assert len({fold_config(config, fold).training.seed for fold in range(5)}) == 5
    other = config.model_copy(update={"training": config.training.model_copy(update={"seed": 1})})
    assert fold_config(config, 1).training.seed != fold_config(other, 1).training.seed


def test_too_few_groups_are_refused(tmp_path: Path, tiny_bert: Path, refused: Refused) -> None:
    rows = [(f"text {number}", "ab"[number % 2], f"g{number // 10}") for number in range(40)]
    path = write_csv(tmp_path / "rows.csv", rows, ("text", "label", "id"))
    args = ("cv", "--model.name", tiny_bert, "--data.train", path, "--data.group", "id", "--output", tmp_path / "cv")
    assert "4 groups (data.group) for 5 folds" in refused(DATA, *args)
    assert not (tmp_path / "cv").exists()


def test_changed_rows_and_folds_are_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    shutil.copy(settings["data"]["train"], path)
    settings = {**settings, "data": {**settings["data"], "train": str(path)}, "output": str(tmp_path / "cv")}
    cross_validate(load(None, settings), 1)
    with path.open("a", encoding="utf-8") as file:
        file.write("the film was new,good,en,s900\n")
    with pytest.raises(UserError, match="is of other folds: rows "):
        cross_validate(load(None, settings))
    with pytest.raises(UserError, match="folds 3 -> 2"):
        cross_validate(load(None, {**settings, "folds": 2}))


def test_folds_of_tweets_in_eight_languages_are_balanced(tweets: Path, tmp_path: Path) -> None:
    """In each label of each language; with a SentencePiece vocabulary of many scripts, emoji included."""
    from accel_clf.config.schema import DataConfig
    from accel_clf.data.sources import read_dataset

    rows = read_dataset(str(tweets), DataConfig(slice="lang"), split="train")
    encoder = make_xlmr(tmp_path / "encoder", list(islice(rows.texts(), 4000)), layers=1, vocabulary=6000)
    data = {"train": str(tweets), "slice": "lang", "limit": 800, "max_length": 64}
    cross_validate(load(None, {"model": {"name": str(encoder)}, "data": data, "output": str(tmp_path / "cv")}))
    predictions = read_csv(tmp_path / "cv" / "out_of_fold.csv")
    assert len({row["row"] for row in predictions}) == len(predictions) == 800
    for cell in {(row["label"], row["slice"]) for row in predictions}:
        held_out = Counter(row["fold"] for row in predictions if (row["label"], row["slice"]) == cell)
        assert max(held_out.values()) - min(held_out[str(fold)] for fold in range(5)) <= 1
    metrics = json.loads((tmp_path / "cv" / "metrics.json").read_text())
    assert set(metrics["slices"]) == {"ar", "de", "en", "es", "fr", "hi", "it", "pt"}
