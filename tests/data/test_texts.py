"""A text a line, and folders of text files."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from accel_clf.config.schema import DataConfig
from accel_clf.core.errors import DataError
from accel_clf.core.exit_codes import DATA
from accel_clf.data import splits
from accel_clf.data.sources import is_file, read_dataset, read_rows
from tests.conftest import read_records

Refused = Callable[..., str]


def put(folder: Path, *names: str, text: str = "{}") -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.format(name).encode())


def test_text_in_each_line(tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "texts.txt"
    path.write_bytes('\ufeffone, "two"\r\n\n ü\u2028\t\rx\nlast'.encode())
    expected = ['one, "two"', "", " ü\u2028\t\rx", "last"]
    rows = read_rows(str(path), DataConfig(text="whatever"), None)
    assert [(row.text, row.cells) for row in rows.stream()] == [(text, {"whatever": text}) for text in expected]
    compressed = tmp_path / "TEXTS.TXT.GZ"
    compressed.write_bytes(gzip.compress(path.read_bytes()))
    assert [row.text for row in read_rows(str(compressed), DataConfig(), []).stream()] == expected
    assert "a text in each line, without a column 'label'" in refused(DATA, "train", "--data.train", path)


def test_folders_are_labels(tmp_path: Path) -> None:
    put(tmp_path, "pos/2_9.txt", "pos/10_9.TXT", "neg/0_1.txt", "neg/1_1", text="{}\n\nand so on\r\n")
    put(tmp_path, "unsup/0_0.txt", ".git/config.txt", "pos/.hidden.txt", "pos/picture.png", "urls.txt", "words.feat")
    (tmp_path / "empty").mkdir()
    rows = read_dataset(str(tmp_path), DataConfig(), split="train")
    names = ["neg/0_1.txt", "neg/1_1", "pos/10_9.TXT", "pos/2_9.txt"]
    assert list(rows.texts()) == [f"{name}\n\nand so on\r\n" for name in names]
    assert [rows.target.names[code] for code in rows.labels] == ["neg", "neg", "pos", "pos"]
    assert read_records(tmp_path, ["file"]) == [(name,) for name in names]
    [note] = splits.warnings(splits.Splits(rows, rows.take(rows.ids[:1]), None), DataConfig())[:1]
    assert note.startswith(f"{tmp_path}: ")
    for part in (
        "2 hidden",
        "1 folder 'unsup'",
        "2 files beside",
        "1 files or folders left out that",
        "1 folders without",
    ):
        assert part in note
    with pytest.raises(DataError, match="no column 'body'"):
        read_records(tmp_path, ["body"])


def test_folder_of_splits_has_folders_of_labels(tmp_path: Path) -> None:
    put(tmp_path, "train/pos/0.txt", "train/neg/0.txt", "test/pos/0.txt", "train/urls.txt", "test/urls.txt")
    data = DataConfig(train=str(tmp_path), validation=None, test="test")
    rows = splits.load(data, seed=0)
    assert list(rows.train.texts()) == ["train/neg/0.txt", "train/pos/0.txt"]
    assert rows.test is not None
    assert list(rows.test.texts()) == ["test/pos/0.txt"]


@pytest.mark.parametrize("table", ["pos/rows.csv", "rows.parquet"])
def test_folder_with_tables_is_none_of_labels(tmp_path: Path, table: str) -> None:
    put(tmp_path, "pos/LICENSE", "neg/0.txt")
    assert is_file(str(tmp_path))
    put(tmp_path, table)
    assert not is_file(str(tmp_path))


def test_file_that_is_not_text_is_named(tmp_path: Path, refused: Refused) -> None:
    put(tmp_path, "pos/0.txt", "neg/0.txt")
    (tmp_path / "neg" / "1.txt").write_bytes(b"fine\nschlecht, nicht sch\xf6n")
    message = refused(DATA, "train", "--data.train", tmp_path)
    assert "neg/1.txt, line 2: byte 0xf6" in message
    assert "--data.encoding cp1252" in message
    assert read_records(tmp_path, encoding="cp1252")[1] == ("fine\nschlecht, nicht schön", "neg")
    (tmp_path / "neg" / "1.txt").write_bytes(b"fine\n\0")
    with pytest.raises(DataError, match=r"neg/1\.txt, line 2: a NUL"):
        read_records(tmp_path)
