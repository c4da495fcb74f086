"""The training, validation and test rows of a configuration; case 20."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from accel_clf.config.schema import DataConfig
from accel_clf.core.errors import DataError
from accel_clf.core.exit_codes import DATA
from accel_clf.data import splits
from accel_clf.targets.single_label import SingleLabel
from tests.conftest import write_csv


def rows(count: int, prefix: str = "row") -> list[tuple[str, str]]:
    return [(f"{prefix} {number}", "ab"[number % 2]) for number in range(count)]


def test_single_class_is_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    path = write_csv(tmp_path / "one.csv", [("x", "only"), ("y", "only")])
    message = refused(DATA, "train", "--data.train", path)
    assert "all 2 rows have the label 'only'" in message


def test_unknown_label_in_validation_is_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    train = write_csv(tmp_path / "train.csv", rows(10))
    dev = write_csv(tmp_path / "dev.csv", [("x", "a"), ("y", "c")])
    message = refused(DATA, "train", "--data.train", train, "--data.validation", dev)
    assert f"{dev}, line 3: label 'c'" in message
    assert "'a', 'b'" in message


def test_empty_and_shared_texts_are_counted(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", [*rows(10), ("", "a"), ("", "b")])
    dev = write_csv(tmp_path / "dev.csv", [*rows(3), *rows(4, "new")])
    data = DataConfig(train=str(train), validation=str(dev))
    assert splits.warnings(splits.load(data, seed=0), data) == [
        "2 of 12 train rows have an empty text; --data.incomplete skip leaves such rows out",
        "3 of 7 validation rows have the text of a training row, which flatters the result",
    ]


def test_too_few_rows_to_split_are_refused(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", rows(2))
    with pytest.raises(DataError, match="leaves one side without rows"):
        splits.load(DataConfig(train=str(train)), seed=0)


def test_limit_share_and_groups_work_together(tmp_path: Path) -> None:
    table = [(f"row {n}", "ab"[n % 2], f"group {n // 4}", "en" if n % 3 else "de") for n in range(200)]
    path = write_csv(tmp_path / "train.csv", table, ("text", "label", "group", "lang"))  # type: ignore[arg-type]
    data = DataConfig(train=str(path), validation=0.2, group="group", slice="lang", limit=100)
    loaded = splits.load(data, seed=0)
    assert loaded.validation is not None
    assert len(loaded.train) + len(loaded.validation) == 100
    assert len(loaded.validation) in range(18, 23)
    assert loaded.train.groups is not None
    assert loaded.validation.groups is not None
    assert not set(loaded.train.groups.codes) & set(loaded.validation.groups.codes)
    assert loaded.train.slices is not None
    assert loaded.train.slices.names == ("de", "en")
    texts = list(loaded.validation.texts())
    assert texts == [f"row {number}" for number in loaded.validation.ids]


def test_label_order_of_a_trained_model_is_kept(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", rows(10))
    data = DataConfig(train=str(train), validation=None)
    assert splits.load(data, 0, target=SingleLabel(("b", "a"))).train.target.names == ("b", "a")
    flipped = splits.load(data, 0, target=SingleLabel(("b", "a"))).train.labels
    assert np.array_equal(flipped, 1 - splits.load(data, 0).train.labels)


def test_limit_keeps_a_row_of_each_label(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", [(f"row {n}", "rare" if n < 3 else "common") for n in range(1000)])
    loaded = splits.load(DataConfig(train=str(train), limit=20), seed=0)
    assert np.bincount(loaded.train.labels, minlength=2).min() >= 1
    table = write_csv(tmp_path / "three.csv", [(f"row {n}", "abc"[n % 3]) for n in range(30)])
    with pytest.raises(DataError, match="there are 3 labels"):
        splits.load(DataConfig(train=str(table), limit=2), seed=0)


def test_folder_of_files_keeps_labels_as_written(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", [("a", "01"), ("b", "NA")])
    assert splits.load(DataConfig(train=str(tmp_path), validation=None), seed=0).train.target.names == ("01", "NA")


def test_hub_data_set_is_read_from_its_folder(tmp_path: Path) -> None:
    """The Hub's own loader reads a folder laid out as on the Hub: its splits, and a share of one."""
    write_csv(tmp_path / "train-00000-of-00001.csv", rows(20))
    write_csv(tmp_path / "test-00000-of-00001.csv", rows(6, "new"))
    loaded = splits.load(DataConfig(train=str(tmp_path), validation=0.2, test="test"), seed=0)
    assert [len(part) for part in loaded if part is not None] == [16, 4, 6]
    assert loaded.train.target.names == ("a", "b")
    assert loaded.test is not None
    assert next(iter(loaded.test.texts())) == "new 0"
    with pytest.raises(DataError, match="nosuch"):
        splits.load(DataConfig(train=str(tmp_path), split="nosuch"), seed=0)
