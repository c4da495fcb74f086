"""Rows without a text or a label are counted, then refused together, or left out."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from accel_clf.config.schema import DataConfig, TargetConfig
from accel_clf.core.errors import DataError
from accel_clf.core.exit_codes import DATA
from accel_clf.data import splits
from accel_clf.data.dataset import Dataset
from accel_clf.data.sources import read_dataset
from accel_clf.targets.single_label import SingleLabel
from tests.conftest import write_csv


def write_jsonl(path: Path, rows: list[tuple[object, object]]) -> Path:
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    return path


def write_parquet(path: Path, texts: list[str | None], labels: pa.Array) -> Path:
    pq.write_table(pa.table({"text": pa.array(texts, pa.string()), "label": labels}), path)
    return path


def read(path: Path, target: SingleLabel | None = None, **settings: object) -> Dataset:
    return read_dataset(str(path), DataConfig.model_validate(settings), split="train", target=target)


def labels_of(rows: Dataset) -> list[str]:
    return [rows.target.to_text(label) for label in rows.labels]


def test_all_are_counted_in_one_error(tmp_path: Path, refused: Callable[..., str]) -> None:
    rows = [(None if i % 4 == 0 else "a film", None if i in (5, 9) else i % 2) for i in range(80)]
    path = write_jsonl(tmp_path / "rows.jsonl", [*rows, (" \t", "1")])  # type: ignore[list-item]
    message = refused(DATA, "train", "--data.train", path)
    assert f"{path}: 20 of 81 rows have no text (line 1, 5, 9 ...), 2 no label (line 6, 10), 1 an empty text" in message
    assert "--data.incomplete skip" in message


@pytest.mark.parametrize(
    ("row", "problem"),
    [((None, "x"), "no text"), (("a", None), "no label"), (("a", ""), "no label"), ((float("nan"), "x"), "no text")],
)
def test_nulls_and_empty_labels_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, row: tuple[object, object], problem: str
) -> None:
    from accel_clf.data.readers import files

    monkeypatch.setattr(files, "read", lambda request: iter([(1, ("fine", "y")), (2, row)]))
    (tmp_path / "rows.jsonl").touch()
    with pytest.raises(DataError, match=rf"1 of 2 rows has {problem} \(line 2\)"):
        read(tmp_path / "rows.jsonl")


def test_those_left_out_are_said_once_and_the_others_stay_as_they_are(tmp_path: Path) -> None:
    complete = [(f"text {i}", "ab"[i % 2]) for i in range(20)]
    holes = [*complete[:5], ("", "a"), ("x", ""), *complete[5:], ("  ", "b")]
    skipping = DataConfig(train=str(write_csv(tmp_path / "holes.csv", holes)), validation=0.25, incomplete="skip")
    loaded = splits.load(skipping, seed=0)
    whole = splits.load(DataConfig(train=str(write_csv(tmp_path / "whole.csv", complete)), validation=0.25), seed=0)
    assert loaded.validation is not None
    assert whole.validation is not None
    assert loaded.train.digest() == whole.train.digest()
    assert list(loaded.validation.texts()) == list(whole.validation.texts())
    assert splits.warnings(loaded, skipping) == [
        f"{tmp_path / 'holes.csv'}: 3 of 23 rows left out: 1 has no label (line 8), 2 an empty text (line 7, 24)"
    ]
    assert loaded.train.ids.max() == whole.train.ids.max() + 2, "of the source, those left out included"


def test_nothing_remains(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2 of 2 rows have no label .*nothing remains"):
        read(write_csv(tmp_path / "rows.csv", [("a", ""), ("b", "")]), incomplete="skip")


@pytest.mark.parametrize(
    ("cell", "separator", "is_label_set"),
    [("[]", None, True), ("", "|", True), ("", None, False), (None, "|", False), (None, None, False), ([], None, True)],
)
def test_no_labels_are_a_label_set_and_a_null_is_not(
    tmp_path: Path, cell: object, separator: str | None, is_label_set: bool
) -> None:
    first = "x|y" if separator else ["x", "y"]
    path = write_jsonl(tmp_path / "rows.jsonl", [("a", first), ("b", cell)])
    rows = read(path, label_separator=separator, incomplete="skip")
    assert labels_of(rows) == (["x|y", ""] if is_label_set else ["x|y"])


def test_columns_of_labels_have_no_gaps(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", [("a", "1", "0"), ("b", "", "1"), ("c", "0", "0")], ("text", "x", "y"))
    assert labels_of(read(path, label=("x", "y"), incomplete="skip")) == ["x", ""]
    with pytest.raises(DataError, match=r"1 of 3 rows has no label \(line 3\)"):
        read(path, label=("x", "y"))


def test_nan_is_no_number(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "rows.parquet", ["a", "b", "c"], pa.array([1.5, float("nan"), 2.0]))
    data, settings = DataConfig(incomplete="skip"), TargetConfig(type="regression")
    assert read_dataset(str(path), data, settings, split="train").labels.tolist() == [1.5, 2.0]


def test_whole_floats_are_integers_where_labels_are_names(tmp_path: Path) -> None:
    """A column of integers with gaps is one of floats: by pandas with NaN, by pyarrow with null."""
    texts: list[str | None] = ["a", "b", "c", "d"]
    floats = write_parquet(tmp_path / "floats.parquet", texts, pa.array([10.0, float("nan"), 9.0, None]))
    rows = read(floats, incomplete="skip")
    assert (rows.target.names, labels_of(rows)) == (("9", "10"), ["10", "9"])
    integers = write_parquet(tmp_path / "integers.parquet", ["a", "c"], pa.array([10, 9]))
    assert read(integers).digest() == rows.digest()
    with pytest.raises(DataError, match="a float"):
        read(write_parquet(tmp_path / "large.parquet", ["a"], pa.array([1e300])))
    json_rows = write_jsonl(tmp_path / "rows.jsonl", [("a", [1.0, True]), ("b", [])])
    assert labels_of(read(json_rows)) == ["1|true", ""]


@pytest.mark.parametrize(
    ("trained", "cell", "expected"),
    [
        (("0", "1"), "1.0", "1"),
        (("0", "1"), 1.0, "1"),
        (("0.0", "1.0"), 1, "1.0"),
        (("0.0", "1.0"), 1.0, "1.0"),
        (("1", "1.0"), "1.0", "1.0"),
        (("False", "True"), True, "True"),
        (("false", "true"), "TRUE", "true"),
    ],
)
def test_a_value_is_the_same_label_however_a_file_writes_it(
    tmp_path: Path, trained: tuple[str, ...], cell: object, expected: str
) -> None:
    rows = read(write_jsonl(tmp_path / "rows.jsonl", [("a", cell)]), SingleLabel(trained))
    assert labels_of(rows) == [expected]


@pytest.mark.parametrize(
    ("trained", "cell"), [(("1", "1.0"), "1.00"), (("01", "1"), "1.5"), (("01", "2"), "1"), (("True", "TRUE"), "true")]
)
def test_other_values_are_unknown_labels(tmp_path: Path, trained: tuple[str, ...], cell: str) -> None:
    with pytest.raises(DataError, match="one of the training rows' labels"):
        read(write_csv(tmp_path / "rows.csv", [("a", cell)]), SingleLabel(trained))


def test_hidden_labels_of_a_hub_data_set_are_missing(tmp_path: Path) -> None:
    """A class label of -1, as the test splits of competitions have it."""
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    columns = {"text": ["a", "b", "c"], "label": [1, -1, None]}
    datasets.Dataset.from_dict(columns, features=features).to_parquet(str(tmp_path / "train-00000-of-00001.parquet"))
    with pytest.raises(DataError, match=r"2 of 3 rows have no label \(row 2, 3\)"):
        read(tmp_path)
    assert labels_of(read(tmp_path, incomplete="skip")) == ["yes"]
