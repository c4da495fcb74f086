"""Tables of answers, by every kind of target and as every kind of file."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from accel_clf.core.errors import DataError
from accel_clf.data.rows import Row, TextRows
from accel_clf.run_folder.answer_tables import added_columns, answer_keys, check_columns, write_answers
from accel_clf.targets.abstaining import Abstaining
from accel_clf.targets.abstention import Abstention
from accel_clf.targets.base import Target
from accel_clf.targets.multi_label import MultiLabel
from accel_clf.targets.ordinal import Ordinal
from accel_clf.targets.regression import Regression
from accel_clf.targets.single_label import SingleLabel

NAMES = ("low", "mid", "high")
RULE = Abstention(0.1, 0.9, np.full(3, 0.6), np.full(3, 0.3), (), 100, 0.1, 0.5)
LABEL, LABELS = pa.string(), pa.list_(pa.string())
# Kind -> what is predicted by SCORES, as JSON has it and as text; the other columns; Parquet's type.
SCORES = np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25]])
KINDS: dict[str, tuple[Target, list[Any], list[str], list[str], pa.DataType]] = {
    "single": (SingleLabel(NAMES), ["low", "low"], ["low", "low"], ["score"], LABEL),
    "ordinal": (Ordinal(NAMES), ["low", "mid"], ["low", "mid"], ["score"], LABEL),
    "several": (MultiLabel(NAMES), [["low"], []], ["low", ""], [], LABELS),
    "number": (Regression(("stars",)), [0.7, 0.4], ["0.7", "0.4"], [], pa.float64()),
    "abstaining": (Abstaining(NAMES, rule=RULE), ["low", "abstain"], ["low", "abstain"], ["score", "set"], LABEL),
}


def rows_of(*texts: str, **columns: list[Any]) -> TextRows:
    cells = [
        {"text": text, **{name: column[index] for name, column in columns.items()}} for index, text in enumerate(texts)
    ]
    rows = [Row(f"x, line {number}", text, row) for number, (text, row) in enumerate(zip(texts, cells, strict=True), 2)]
    names = ("text", *columns)
    return TextRows("x", names, "text", lambda: iter(rows), lambda: pa.schema([(name, pa.string()) for name in names]))


@pytest.mark.parametrize("kind", KINDS)
def test_answers_of_every_kind(kind: str, tmp_path: Path) -> None:
    target, values, texts, others, predicted_type = KINDS[kind]
    scores = SCORES[:, : len(target.names)]
    rows = rows_of("a", "b", id=["01", "02"])
    for suffix in (".csv", ".tsv", ".jsonl", ".parquet"):
        answered = zip(rows.stream(), map(target.answer, scores), strict=True)
        write_answers(tmp_path / f"out{suffix}", rows, answered, target)
    score_columns = [] if kind == "number" else [f"score:{name}" for name in NAMES]
    columns = ["text", "id", "predicted", *others, *score_columns]
    for suffix, dialect in ((".csv", "excel"), (".tsv", "excel-tab")):
        with (tmp_path / f"out{suffix}").open(newline="") as file:
            table = list(csv.DictReader(file, dialect=dialect))
        assert list(table[0]) == columns
        assert [row["predicted"] for row in table] == texts
        assert all([float(row[name]) for name in score_columns] == of_row.tolist()[: len(score_columns)]
                   for row, of_row in zip(table, scores, strict=True))  # fmt: skip
    objects = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["predicted"] for row in objects] == values
    assert set().union(*objects) == {"text", "id", *added_columns(target, ".jsonl")}
    parquet = pq.read_table(tmp_path / "out.parquet")
    assert parquet.column_names == columns
    assert parquet.schema.field("predicted").type == predicted_type
    assert parquet["predicted"].to_pylist() == values
    if kind == "abstaining":
        assert parquet["set"].to_pylist() == [None, ["low", "mid"]]
        assert [row.get("set") for row in objects] == [None, ["low", "mid"]]
    assert {key for answer in map(target.answer, scores) for key in answer} <= set(answer_keys(target))


def test_names_of_answers_are_not_for_other_columns() -> None:
    target = SingleLabel(NAMES)
    columns = added_columns(target, ".csv")
    check_columns(rows_of("a", label=["x"], scores=["x"]), columns)
    with pytest.raises(DataError, match="column 'score:mid'") as error:
        check_columns(rows_of("a", **{"score:mid": ["x"], "b": ["y"]}), columns)
    assert "--keep b" in error.value.fix
    with pytest.raises(DataError, match="'scores'"):
        check_columns(rows_of("a", scores=["x"]), added_columns(target, ".jsonl"))
    check_columns(rows_of("a", score=["x"], label=["x"]), added_columns(Regression(("stars",)), ".csv"))


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    target = SingleLabel(NAMES)
    rows = rows_of("a", "b", more=["fine", "\ud800"])
    for suffix in (".csv", ".parquet"):
        answered = zip(rows.stream(), map(target.answer, SCORES), strict=True)
        with pytest.raises(DataError, match=r"x, line 3: .*column 'more'"):
            write_answers(tmp_path / f"out{suffix}", rows, answered, target)
    assert not list(tmp_path.iterdir())
