"""POST /predict/file: files are returned unchanged with predictions added, or refused with the line that is wrong."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.conftest import read_csv
from tests.serving.harness import Server, serving


def predict_labels(server: Server, texts: list[str]) -> list[str]:
    return [prediction[0]["label"] for prediction in server.predict(texts).json]


def read_table(body: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(body.decode())))


def test_csv_is_returned_with_predictions(server: Server, reviews: Path) -> None:
    response = server.upload("my reviews.csv", reviews.read_bytes())
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/csv")
    assert response.headers["Content-Disposition"] == 'attachment; filename="my reviews-labelled.csv"'
    rows, labelled = read_csv(reviews), read_table(response.body)
    assert [(row["text"], row["label"]) for row in labelled] == [(row["text"], row["label"]) for row in rows]
    assert [row["predicted"] for row in labelled[:40]] == predict_labels(server, [row["text"] for row in rows[:40]])
    again = server.upload("again.csv", response.body)
    assert again.body == response.body, "existing prediction columns are replaced, not duplicated"
    names = "predicted, score, score:negative, score:positive"
    assert again.headers["X-Warning"] == f"columns of these names are replaced: {names}"
    assert response.headers["X-Warning"] is None


def test_jsonl_is_returned_with_predictions(server: Server) -> None:
    records = [{"text": "a dull film", "n": 1}, {"text": "a superb film", "more": [None, "ü"]}]
    response = server.upload("x.jsonl", "".join(json.dumps(record) + "\n\n" for record in records).encode())
    labelled = [json.loads(line) for line in response.body.decode().splitlines()]
    assert [{key: row[key] for key in record} for row, record in zip(labelled, records, strict=True)] == records
    assert [row["predicted"] for row in labelled] == predict_labels(server, [record["text"] for record in records])


def test_tsv_with_quoted_fields_and_csv_without_rows(server: Server) -> None:
    table = 'review\tid\n"a ""dull""\tfilm"\t01\n'
    response = server.upload("x.tsv", table.encode(), "review")
    [row] = csv.DictReader(io.StringIO(response.body.decode(), newline=""), dialect="excel-tab")
    [label] = predict_labels(server, ['a "dull"\tfilm'])
    assert (row["review"], row["id"], row["predicted"]) == ('a "dull"\tfilm', "01", label)
    header = b"text,predicted,score,score:negative,score:positive"
    assert server.upload("x.csv", b"text\n").body.startswith(header)


def test_texts_inside_of_nested_objects(server: Server) -> None:
    records = [{"id": 1, "data": {"text": "a dull film"}}, {"id": 2, "data": {"text": "a superb film"}}]
    response = server.upload("x.jsonl", "\n".join(map(json.dumps, records)).encode(), "data.text")
    labelled = [json.loads(line) for line in response.body.decode().splitlines()]
    assert [row["data"] for row in labelled] == [record["data"] for record in records]
    assert [row["predicted"] for row in labelled] == predict_labels(server, ["a dull film", "a superb film"])


def test_quotes_that_are_letters_and_columns_without_a_name(server: Server) -> None:
    response = server.upload("x.tsv", b'text\tid\t\n"a film\t1\t\na film"\t2\tx\n')
    rows = [line.split("\t") for line in response.body.decode().splitlines()]
    assert rows[0][:4] == ["text", "id", "", "predicted"]
    assert [row[:3] for row in rows[1:]] == [['"""a film"', "1", ""], ['"a film"""', "2", "x"]]
    assert "x.tsv: 1 fields that a quote opens and none closes" in (response.headers["X-Warning"] or "")
    response = server.upload("x.csv", b"score,text,,,\n1,a film,2,,3\n")
    [row] = read_table(response.body)
    assert list(row)[:5] == ["text", "(column 3)", "(column 4)", "(column 5)", "predicted"]
    assert list(row.values())[:4] == ["a film", "2", "", "3"]
    warnings = response.headers["X-Warning"] or ""
    assert warnings.startswith("x.csv: 3 columns whose name another has, too")
    assert warnings.endswith("; columns of these names are replaced: score")


def test_odd_file_names_and_column_contents(server: Server) -> None:
    for name in ("отзывы.csv", "评论.CSV", ".csv", "x" * 300 + ".csv", "a/b\\c.csv", "a;b'c.csv"):
        response = server.upload(name, b"text\na\n")
        assert response.status == 200, name
        assert "-labelled.csv" in response.headers["Content-Disposition"]
    assert "A-labelled.csv" in server.upload("A.TXT", b"a\n").headers["Content-Disposition"]
    assert server.upload("a.txt", "\ufeffa\n".encode()).body.split(b"\n")[1].startswith(b"a,")
    lines = [json.dumps({"text": "a", "x": "\ud800" if number == 200 else number}) for number in range(201)]
    response = server.upload("x.jsonl", "\n".join(lines).encode())
    assert [json.loads(line)["x"] for line in response.body.splitlines()] == [*range(200), "\ud800"]
    response = server.upload("x.csv", b"predicted\na\n", "predicted")
    assert (response.status, "which the predictions would replace" in response.json["error"]) == (422, True)
    assert server.upload("x.jsonl", b'{"text": "a", "x": 1e999}').status == 422


def test_file_as_request_body(server: Server) -> None:
    rows = [("a dull film", "1"), ("", "2"), ("größe, \U0001f600", "3")]
    labels = predict_labels(server, [text for text, _ in rows])
    table = "\ufefftext,n\r\n" + "".join(f'"{text}",{n}\r\n' for text, n in rows)
    response = server.request("POST", "/predict/file", table, {"Content-Type": "text/csv; charset=utf-8"})
    assert [(row["text"], row["n"], row["predicted"]) for row in read_table(response.body)] == [
        (*row, label) for row, label in zip(rows, labels, strict=True)
    ]
    lines = "".join(f"{text}\n" for text, _ in rows)
    response = server.request("POST", "/predict/file", lines, {"Content-Type": "text/plain"})
    assert response.headers["Content-Type"].startswith("text/csv")
    assert response.headers["X-Rows"] == "3"
    assert [(row["text"], row["predicted"]) for row in read_table(response.body)] == [
        (text, label) for (text, _), label in zip(rows, labels, strict=True)
    ]
    too_large = b"text\n" + b"a" * 3 * 2**20 + b"\n"
    assert server.request("POST", "/predict/file", too_large, {"Content-Type": "text/csv"}).status == 413


def test_files_are_read_as_the_training_data_was(run: Path, tmp_path: Path) -> None:
    """By what its settings say of separators, encodings and headers, unless the request says otherwise."""
    of_run = shutil.copytree(run, tmp_path / "run")
    settings = yaml.safe_load((of_run / "config.yaml").read_text())
    settings["data"] |= {"separator": ";", "encoding": "cp1252"}
    (of_run / "config.yaml").write_text(yaml.safe_dump(settings))
    table, expected = "n;text\n1;a dull café, 2 €\n", {"n": "1", "text": "a dull café, 2 €"}
    with serving(of_run, tmp_path) as server:
        for body, query in (
            (table.encode("cp1252"), {}),
            (table.replace(";", "\t").encode(), {"separator": "\t", "encoding": "utf-8"}),
            (table.partition("\n")[2].encode("cp1252"), {"header": "false"}),
        ):
            response = server.upload("x.csv", body, "2" if query.get("header") else "text", **query)
            assert response.status == 200, response.json
            assert list(read_table(response.body)[0].values())[:2] == list(expected.values())
        assert [row["text"] for row in read_table(server.upload("x.txt", b"caf\xe9").body)] == ["café"]
        refused = server.upload("x.csv", table.encode("cp1252"), separator="ab")
        assert (refused.status, "separator" in refused.json["error"]) == (422, True)


INVALID_FILES = {
    "an extra field": ("x.csv", b"text,label\na,b\nc,d,e\n", "x.csv, line 3: 3 fields"),
    "no text column": ("x.csv", b"review\na\n", "no column 'text'"), "empty": ("x.csv", b"", "an empty file"),
    "not UTF-8": ("x.csv", b"text\n\xe9\n", "not UTF-8"),
    "not JSON": ("x.jsonl", b'{"text": NaN}\n', "line 1: not JSON"),
    "another format": ("x.parquet", b"PAR1", "x.parquet: expected one of .csv"),
    "compressed": ("x.csv.gz", b"\x1f\x8b", "x.csv.gz: expected one of"),
    "no name": ("", b"text\na\n", "a file without a name"),
    "text that is not UTF-8": ("x.txt", b"a\n\xff\n", "x.txt, line 2: byte 0xff at offset 2 is not UTF-8"),
    "only a prediction column": ("x.csv", b"predicted\na\n", "no column 'text'"),
    "a path": ("../../etc/passwd", b"root", "passwd: expected one of"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), INVALID_FILES.values(), ids=INVALID_FILES)
def test_invalid_file_is_refused(server: Server, name: str, content: bytes, message: str) -> None:
    response = server.upload(name, content)
    assert response.status == 422
    assert message in response.json["error"]
    assert "/tmp" not in response.json["error"]


def test_texts_of_several_columns(server: Server) -> None:
    [label] = predict_labels(server, ["a dull film"])
    response = server.upload("x.csv", b"title,body\na,dull film\n,a dull film\n", "title&text=body")
    assert [(row["title"], row["predicted"]) for row in read_table(response.body)] == [("a", label), ("", label)]
