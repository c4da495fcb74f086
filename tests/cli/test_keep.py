"""`predict` keeps columns: every kind of file in, every kind out, values and types as they were."""

import csv
import datetime
import gzip
import json
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import accel_clf
from accel_clf.cli.main import main
from accel_clf.config.schema import DataConfig
from accel_clf.core.exit_codes import DATA, DONE, USAGE
from accel_clf.data.rows import TextRows
from accel_clf.data.sources import read_rows as read_source
from tests.conftest import Cli, read_csv, write_csv

Refused = Callable[..., str]
SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
COLUMNS = ("id", "n", "text", "note")
ROWS = [
    ("017", "NA", "a dull film", ""),
    ("042", "9007199254740993", 'so "superb",\nthis\tfilm', "größe"),
    ("+1", "1e3", "", " a\rb "),
]
QUOTED = {".tsv": ("--quoting", "standard")}  # a text of several lines
ADDED = ["predicted", "score", "score:negative", "score:positive"]


def write_rows(path: Path, rows: list[tuple[Any, ...]] = ROWS, columns: tuple[str, ...] = COLUMNS) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.table(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))), path)
    elif path.suffix == ".jsonl":
        lines = (json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows)
        path.write_text("".join(lines))
    else:
        dialect = "excel-tab" if path.suffix == ".tsv" else "excel"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, dialect).writerows([columns, *rows])
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()  # type: ignore[no-any-return]
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, dialect="excel-tab" if path.suffix == ".tsv" else "excel"))


def predict(*args: object) -> None:
    assert main(["predict", *map(str, args)]) == DONE


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_columns_of_every_file_are_kept_in_every_other(run: Path, tmp_path: Path, suffix: str) -> None:
    source = write_rows(tmp_path / f"in{suffix}")
    answers = accel_clf.load(run).predict([row[2] for row in ROWS])
    for output in (tmp_path / f"out{kind}" for kind in SUFFIXES):
        predict(run, "--data", source, "--output", output, *QUOTED.get(suffix, ()))
        rows = read_rows(output)
        assert [tuple(row[name] for name in COLUMNS) for row in rows] == ROWS
        assert [row["predicted"] for row in rows] == [answer["label"] for answer in answers]
        assert [float(row["score"]) for row in rows] == pytest.approx([answer["score"] for answer in answers], abs=1e-6)
        assert list(rows[0]) == [*COLUMNS, *(["predicted", "score", "scores"] if output.suffix == ".jsonl" else ADDED)]


def test_parquet_keeps_its_types(run: Path, tmp_path: Path) -> None:
    """All of the rows, which are of several batches and row groups, as they were."""
    count = 2500
    source = pa.table(
        {
            "text": ["a dull film", "a superb film"] * (count // 2),
            "at": pa.array([10**18 + number for number in range(count)], pa.timestamp("ns", "UTC")),
            "small": pa.array([number % 200 for number in range(count)], pa.uint8()),
            "price": pa.array([Decimal("1.10"), None] * (count // 2), pa.decimal128(9, 2)),
            "kind": pa.array(["a", "b"] * (count // 2)).dictionary_encode(),
            "nothing": pa.nulls(count),
            "day": pa.array([datetime.date(2024, 2, 29)] * count),
            "raw": pa.array([b"\0\xff"] * count),
            "share": pa.array([0.1, float("nan")] * (count // 2), pa.float32()),
            "tree": pa.array([{"a": 1, "b": ["x"]}, None] * (count // 2)),
        }
    )
    pq.write_table(source, tmp_path / "in.parquet", row_group_size=700)
    predict(run, "--data", tmp_path / "in.parquet", "--output", tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    kept = table.select(source.column_names)
    assert table.column_names == [*source.column_names, *ADDED]
    assert kept.schema.types == source.schema.types
    assert kept.drop(["share"]).equals(source.drop(["share"]))
    assert str(kept["share"].to_pylist()) == str(source["share"].to_pylist()), "NaN is not null"
    predict(run, "--data", tmp_path / "in.parquet", "--output", tmp_path / "out.jsonl")
    second = read_rows(tmp_path / "out.jsonl")[1]
    assert second["at"].endswith(":40.000000001+00:00")
    assert (second["price"], second["share"], second["raw"], second["day"]) == (None, None, "AP8=", "2024-02-29")


def test_json_keeps_its_types_and_its_own_keys(run: Path, tmp_path: Path, refused: Refused) -> None:
    source = tmp_path / "in.jsonl"
    records = [
        {"id": 12345678901234567890123, "text": "dull", "more": [1, {"a": None}]},
        {"text": "superb", "score_of": 1.5, "id": None, "odd": "\ud800"},
    ]
    source.write_text("".join(json.dumps(record) + "\n" for record in records))
    predict(run, "--data", source, "--output", tmp_path / "out.jsonl")
    rows = read_rows(tmp_path / "out.jsonl")
    for row, record in zip(rows, records, strict=True):
        assert list(row.items())[: len(record)] == list(record.items())
    for suffix in (".csv", ".parquet"):
        message = refused(DATA, "predict", run, "--data", source, "--output", tmp_path / f"out{suffix}")
        assert "in.jsonl, line" in message
        assert "write to a .jsonl" in message
    flags = ("--keep", "id", "--keep", "more", "--keep", "score_of")
    predict(run, "--data", source, "--output", tmp_path / "out.csv", *flags)
    [first, second] = read_rows(tmp_path / "out.csv")
    assert list(first.values())[:4] == ["12345678901234567890123", "dull", '[1, {"a": null}]', ""]
    assert list(second.values())[:4] == ["", "superb", "", "1.5"]


def test_json_needs_one_type_for_parquet(run: Path, tmp_path: Path, refused: Refused) -> None:
    source = tmp_path / "in.jsonl"
    fine = [{"text": "dull", "n": 1, "late": None}] * 1500
    source.write_text("".join(json.dumps(record) + "\n" for record in [*fine, {"text": "dull", "n": 2.5, "late": "x"}]))
    predict(run, "--data", source, "--output", tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.schema.types[1:3] == [pa.float64(), pa.string()]
    assert table["n"].to_pylist() == [1.0] * 1500 + [2.5]
    for value in ("x", True, 2**64, {}, [[]]):
        lines = [*fine, {"text": "dull", "n": value}]
        source.write_text("".join(json.dumps(record) + "\n" for record in lines))
        message = refused(DATA, "predict", run, "--data", source, "--output", tmp_path / "bad.parquet")
        assert "column 'n' do not have one type" in message
        assert "line 1501" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.parquet"]


def test_columns_are_chosen(run: Path, tmp_path: Path, cli: Cli) -> None:
    source = write_rows(tmp_path / "in.csv")
    for number, (flags, kept) in enumerate(
        [
            ((), COLUMNS),
            (("--keep", "all"), COLUMNS),
            (("--keep", "none"), ("text",)),
            (("--keep", "note", "--keep", "id"), ("id", "text", "note")),
            (("--keep", "text"), ("text",)),
        ]
    ):
        predict(run, "--data", source, "--output", tmp_path / f"{number}.csv", *flags)
        assert list(read_csv(tmp_path / f"{number}.csv")[0]) == [*kept, *ADDED]
    write_csv(tmp_path / "empty.csv", [], ("id", "text"))
    predict(run, "--data", tmp_path / "empty.csv", "--output", tmp_path / "nothing.csv")
    assert (tmp_path / "nothing.csv").read_text() == ",".join(["id", "text", *ADDED]) + "\n"
    predict(run, "--data", tmp_path / "empty.csv", "--output", tmp_path / "nothing.parquet")
    assert pq.read_schema(tmp_path / "nothing.parquet").types == [pa.string()] * 3 + [pa.float64()] * 3
    predict(run, "a dull film", "--output", tmp_path / "texts.tsv")
    assert list(read_rows(tmp_path / "texts.tsv")[0]) == ["text", *ADDED]
    predict(run, "--data", "demo", "--output", tmp_path / "demo.csv")
    assert {"text", "label", "predicted"} < set(read_csv(tmp_path / "demo.csv")[0])
    lines = cli("predict", run, "--data", source, "--json", "--keep", "id").stdout.splitlines()
    assert [list(json.loads(line)) for line in lines] == [["id", "text", "label", "score", "scores"]] * 3
    lines = cli("predict", run, "--data", source, "--json").stdout.splitlines()
    assert [list(json.loads(line)) for line in lines] == [["text", "label", "score", "scores"]] * 3


def test_hub_data_sets_keep_their_columns(run: Path, tmp_path: Path) -> None:
    """A folder whose file has none of the readers' names is read as the Hub's data sets are."""
    rows = pa.table({"text": ["dull", "superb"], "small": pa.array([1, 2], pa.int8()), "id": ["01", "02"]})
    pq.write_table(rows, tmp_path / "test-00000-of-00001.parquet")
    predict(run, "--data", tmp_path, "--output", tmp_path / "out" / "x.parquet")
    table = pq.read_table(tmp_path / "out" / "x.parquet")
    assert table.select(rows.column_names).equals(rows)


def test_mistakes_are_refused(run: Path, tmp_path: Path, refused: Refused) -> None:
    source, output = write_rows(tmp_path / "in.csv"), tmp_path / "out.csv"
    data = ("predict", run, "--data", source)
    message = refused(DATA, *data, "--output", output, "--keep", "nota")
    assert "no column 'nota' to keep" in message and "did you mean note?" in message
    assert "--output FILE, or --json" in refused(USAGE, *data, "--keep", "id")
    assert "leave out --keep all" in refused(USAGE, *data, "--output", output, "--keep", "all", "--keep", "id")
    assert "name their file by --data" in refused(USAGE, "predict", run, "a", "--output", output, "--keep", "id")
    assert not output.exists()


@pytest.mark.parametrize(
    ("name", "content", "flags", "expected"),
    [
        (
            "x.csv",
            "id;text;ort\n017;dull;Köln\n",
            ("--separator", ";", "--encoding", "cp1252"),
            ["017", "dull", "Köln"],
        ),
        ("x.csv", "017,dull,NA\n", ("--header", "false", "--text", "2"), ["017", "dull", "NA"]),
        ("x.tsv", 'id\ttext\tnote\n017\tdull\t"so\n', (), ["017", "dull", '"so']),
        ("x.tsv", 'id\ttext\tnote\n017\tdull\t"a ""b"""\n', (), ["017", "dull", 'a "b"']),
        ("x.tsv", 'id\ttext\tnote\n017\tdull\t"a"\n', ("--quoting", "none"), ["017", "dull", '"a"']),
        ("x.json", '[{"id": "017", "text": "dull", "n": 1},\n {"text": "dull"}]', (), ["017", "dull", 1]),
        ("x.json", '{"id": "017", "text": "dull", "n": null}\n', (), ["017", "dull", None]),
        ("x.txt", 'dull, and "so"\n', ("--text", "body"), ['dull, and "so"']),
    ],
)
@pytest.mark.parametrize("compressed", ["", ".gz", ".zip"])
def test_files_are_kept_as_their_settings_read_them(
    run: Path, tmp_path: Path, name: str, content: str, flags: tuple[str, ...], expected: list[Any], compressed: str
) -> None:
    source = tmp_path / f"{name}{compressed}"
    raw = content.encode("cp1252" if "cp1252" in flags else "utf-8")
    if compressed == ".zip":
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr(name, raw)
    else:
        source.write_bytes(gzip.compress(raw) if compressed else raw)
    rows = data_rows(source, *flags)
    assert list(first_cells(rows).values()) == expected
    assert rows.columns == tuple(first_cells(rows))
    types = [{str: pa.string(), int: pa.int64()}.get(type(value), pa.null()) for value in expected]
    assert rows.schema().types == types


def data_rows(source: Path, *flags: str) -> TextRows:
    settings = {name.removeprefix("--"): value for name, value in zip(flags[::2], flags[1::2], strict=True)}
    return read_source(str(source), DataConfig.model_validate(settings), None)


def first_cells(rows: TextRows) -> dict[str, Any]:
    return next(rows.stream()).values(rows.columns)


def test_workbooks_and_folders_keep_their_columns(run: Path, tmp_path: Path, cli: Cli) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book, day = openpyxl.Workbook(), datetime.datetime(2024, 2, 29, 12, 30)
    for row in (
        ("id", "text", "day", "n", "x", "x"),
        ("017", "dull", day, 1.5, "x", None, "y"),
        ("042", "superb", None, None),
    ):
        book.active.append(row)
    book.save(tmp_path / "in.xlsx")
    predict(run, "--data", tmp_path / "in.xlsx", "--output", tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    columns = ["id", "text", "day", "n", "x (column 5)", "x (column 6)"]
    assert table.column_names == [*columns, *ADDED]
    assert list(table.slice(0, 1).to_pylist()[0].values())[:6] == ["017", "dull", day, 1.5, "x", None]
    messages = cli("predict", run, "--data", tmp_path / "in.xlsx", "--output", tmp_path / "out.csv").stderr
    assert "1 cells left out that are beyond the header" in messages
    assert list(read_csv(tmp_path / "out.csv")[0].values())[:6] == [
        "017",
        "dull",
        "2024-02-29T12:30:00",
        "1.5",
        "x",
        "",
    ]
    for folder in ("classes/neg", "classes/pos"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "1.txt").write_text("a\nfilm")
    predict(run, "--data", tmp_path / "classes", "--output", tmp_path / "folders.csv")
    kept = [tuple(row.values())[:3] for row in read_csv(tmp_path / "folders.csv")]
    assert kept == [("a\nfilm", "neg", "neg/1.txt"), ("a\nfilm", "pos", "pos/1.txt")]


def test_texts_inside_of_other_values_are_found(run: Path, tmp_path: Path) -> None:
    """All columns have them already; of chosen ones, they are one."""
    records = [{"id": "01", "data": {"text": "dull", "n": 1}}, {"id": "02", "data": {"text": "superb", "n": 2}}]
    (tmp_path / "in.json").write_text(json.dumps(records))
    pq.write_table(pa.Table.from_pylist(records * 1500), tmp_path / "in.parquet")
    for source in (tmp_path / "in.json", tmp_path / "in.parquet"):
        for suffix in SUFFIXES:
            output = tmp_path / f"all{suffix}{source.suffix}{suffix}"
            predict(run, "--data", source, "--text", "data.text", "--output", output)
            row = read_rows(output)[1]
            assert list(row)[:3] == ["id", "data", "predicted"]
            assert (row["data"] if isinstance(row["data"], dict) else json.loads(row["data"])) == records[1]["data"]
            output = tmp_path / f"chosen{suffix}{source.suffix}{suffix}"
            predict(run, "--data", source, "--text", "data.text", "--output", output, "--keep", "id")
            assert list(read_rows(output)[1].items())[:2] == [("id", "02"), ("data.text", "superb")]


def test_columns_of_one_name_are_kept_by_their_numbers(run: Path, tmp_path: Path, cli: Cli, refused: Refused) -> None:
    """As spreadsheets write them: commas at the end of the header."""
    (tmp_path / "in.csv").write_text("id,text,,,id\n01,dull,x,,02\n")
    messages = cli("predict", run, "--data", tmp_path / "in.csv", "--output", tmp_path / "out.csv").stderr
    [row] = read_csv(tmp_path / "out.csv")
    assert list(row.items())[:5] == [
        ("id (column 1)", "01"), ("text", "dull"), ("(column 3)", "x"), ("(column 4)", ""), ("id (column 5)", "02"),
    ]  # fmt: skip
    assert "in.csv: 4 columns whose name another has, too, kept as 'id (column 1)' ..." in messages
    output = tmp_path / "id.csv"
    message = refused(DATA, "predict", run, "--data", tmp_path / "in.csv", "--output", output, "--keep", "id")
    assert "no column 'id' to keep" in message and "'id (column 1)'" in message
    predict(run, "--data", tmp_path / "in.csv", "--output", output, "--keep", "id (column 5)")
    assert list(read_csv(output)[0].items())[:2] == [("text", "dull"), ("id (column 5)", "02")]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_column_is_lost_to_an_answers(run: Path, tmp_path: Path, refused: Refused, suffix: str) -> None:
    """An answer's name may be a column's: refused, with the flags that leave it out."""
    source = write_rows(tmp_path / f"in{suffix}", ROWS, ("id", "score", "text", "predicted"))
    output, quoted = tmp_path / f"out{suffix}", QUOTED.get(suffix, ())
    message = refused(DATA, "predict", run, "--data", source, "--output", output, *quoted)
    assert "columns 'score', 'predicted', which the answers have, too" in message
    assert "--keep id" in message
    predict(run, "--data", source, "--output", output, "--keep", "id", *quoted)
    assert next(iter(read_rows(output)[0])) == "id"
    again = tmp_path / f"again{suffix}"
    assert "'predicted'" in refused(DATA, "predict", run, "--data", output, "--output", again)
    message = refused(DATA, "predict", run, "--data", source, "--text", "score", "--output", again, "--keep", "none")
    assert "rename it" in message and "--keep" not in message
