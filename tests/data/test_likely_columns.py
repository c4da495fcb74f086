"""Where no column is called text or label, the message has the command that names those that look like them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import accel_clf
from accel_clf.core.errors import DataError
from accel_clf.core.exit_codes import DATA
from tests.conftest import write_csv

Refused = Callable[..., str]
ROWS = [
    {
        "id": f"{number:05}",
        "title": f"title {number}",
        "body": f"what I thought of number {number}",
        "stars": number % 5,
    }
    for number in range(30)
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".csv":
        return write_csv(path, [tuple(map(str, row.values())) for row in rows], tuple(rows[0]))
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_columns_that_look_like_text_and_label_are_named(tmp_path: Path, refused: Refused, suffix: str) -> None:
    path = write(tmp_path / f"my reviews{suffix}", ROWS)
    message = refused(DATA, "train", path, "--epochs", 3)
    assert "no column 'text'" in message
    assert "one of 'id', 'title', 'body', 'stars'" in message
    assert "; 'body' looks like the text, 'stars' looks like the label\n" in message
    assert f"accel-clf train '{path}' --epochs 3 --text body --label stars\n" in message


def test_the_command_is_the_users(tmp_path: Path, refused: Refused) -> None:
    """With the flags that it had, but for those of missing columns; a flag's near miss is the name that was meant."""
    path = write(tmp_path / "reviews.csv", ROWS)
    message = refused(DATA, "cv", path, "--label", "star", "--data.text", "title", "--folds", 3)
    assert f"accel-clf cv {path} --data.text title --folds 3 --label stars\n" in message
    message = refused(DATA, "train", path, "--text", "tite", "--label", "stars")
    assert f"accel-clf train {path} --label stars --text title\n" in message


@pytest.mark.parametrize(
    ("header", "rows", "flags"),
    [
        (("Text", "Label"), [("a b", "x"), ("c d", "y")] * 3, "--text Text --label Label"),
        (("body", "label"), [("a b", "x"), ("c d", "y")] * 3, "--text body"),
        (("a", "b"), [(f"{number}.5", str(number % 2)) for number in range(9)], "--text COLUMN --label b"),
        (("a", "b"), [("some text", "only one")], "--text a --label COLUMN"),
        (("a", "b", ""), [("some text", f"{number}", "") for number in range(9)], "--text a --label COLUMN"),
    ],
)
def test_what_cannot_be_told_is_left_open(
    tmp_path: Path, refused: Refused, header: tuple[str, ...], rows: list[tuple[str, ...]], flags: str
) -> None:
    path = write_csv(tmp_path / "rows.csv", rows, header)
    assert f"accel-clf train {path} {flags}\n" in refused(DATA, "train", path)


def test_other_columns_have_no_guess(tmp_path: Path, refused: Refused) -> None:
    path = write(tmp_path / "reviews.csv", ROWS)
    message = refused(DATA, "train", path, "--text", "body", "--label", "stars", "--data.group", "ids")
    assert "did you mean id?" in message
    assert "looks like" not in message


def test_a_table_without_usable_rows_has_no_guess(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,2,3\n")
    message = refused(DATA, "train", tmp_path / "rows.csv")
    assert "one of 'a', 'b'" in message
    assert "looks like" not in message


def test_python_is_told_the_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "reviews.csv", ROWS)
    with pytest.raises(DataError, match="no column 'text'") as caught:
        accel_clf.train({"data": {"train": str(path)}, "output": str(tmp_path / "run")})
    assert caught.value.fix == "name the right ones: --text body --label stars"
