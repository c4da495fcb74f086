"""What the server answers: the pipeline's answers, in the Hub's form, and a defined status for all else."""

import csv
import io
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import read_csv
from tests.serving.harness import Server, serving


@pytest.fixture(scope="module")
def server(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    flags = ("--precision", "fp32", "--max_texts", 40, "--max_megabytes", 1.5, "--max_file_megabytes", 3)
    with serving(run, tmp_path_factory.mktemp("server"), *flags) as started:
        yield started


@pytest.fixture(scope="module")
def texts(reviews: Path) -> list[str]:
    """1,000 different texts, from none to more than the model reads."""
    rows = [row["text"] for row in read_csv(reviews)]
    return ["", *(" ".join(rows[k % 403 : k % 403 + k // 403 * 3 + 1]) + f" {k}" for k in range(999))]


@pytest.fixture(scope="module")
def expected(run: Path, texts: list[str]) -> list[dict[str, float]]:
    from transformers import pipeline

    classifier = pipeline("text-classification", model=str(run / "model"), top_k=None, device="cpu")
    answers = classifier(texts, truncation=True, max_length=64, batch_size=16)
    return [{one["label"]: one["score"] for one in answer} for answer in answers]


def agrees(answer: list[dict[str, Any]], expected: dict[str, float]) -> bool:
    scores = [one["score"] for one in answer]
    return scores == sorted(scores, reverse=True) and {one["label"]: one["score"] for one in answer} == pytest.approx(
        expected, abs=1e-5
    )


def test_answers_are_the_pipelines_for_64_clients(
    server: Server, texts: list[str], expected: list[dict[str, float]]
) -> None:
    with ThreadPoolExecutor(64) as clients:
        replies = list(clients.map(server.predict, texts))
    assert {reply.status for reply in replies} == {200}
    assert all(agrees(reply.json[0], right) for reply, right in zip(replies, expected, strict=True))


def test_batches_are_answered_like_single_texts(
    server: Server, texts: list[str], expected: list[dict[str, float]]
) -> None:
    parts = [texts[start : start + 40] for start in range(0, len(texts), 40)]
    with ThreadPoolExecutor(8) as clients:
        replies = list(clients.map(server.predict, parts))
    answers = [answer for reply in replies for answer in reply.json]
    assert all(agrees(answer, right) for answer, right in zip(answers, expected, strict=True))


def test_the_hubs_own_client_understands(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import InferenceClient, constants

    monkeypatch.setattr(constants, "is_offline_mode", lambda: False)  # the Hub's client asks nobody else here

    found = InferenceClient(model=f"http://127.0.0.1:{server.port}/predict").text_classification("a dull film", top_k=1)
    assert [one.label for one in found] == [server.predict("a dull film").json[0][0]["label"]]


def test_functions(server: Server, run: Path) -> None:
    from transformers import pipeline

    for function in ("softmax", "sigmoid", "none"):
        classifier = pipeline("text-classification", model=str(run / "model"), top_k=None, device="cpu")
        [answer] = classifier(["a dull film"], function_to_apply=function)
        right = {one["label"]: one["score"] for one in answer}
        reply = server.predict("a dull film", function_to_apply=function, top_k=None)
        assert {one["label"]: one["score"] for one in reply.json[0]} == pytest.approx(right, abs=1e-5)


def test_the_documents_endpoint(server: Server) -> None:
    reply = server.ask("GET", "/predict?sentence=i%20never%20thought%20the%20soup%20was%20dull.")
    answer = reply.json["response"]
    assert answer["sentence"] == "i never thought the soup was dull."
    assert agrees(server.predict(answer["sentence"]).json[0], answer["scores"])
    assert answer["time_taken"] > 0


NOT_JSON = {
    "nested without end": "[" * 100_000,
    "nested and closed": '{"inputs": ' + "[" * 5000 + "]" * 5000 + "}",
    "not UTF-8": b'{"inputs": "\xff\xfe"}',
    "5,000 digits": '{"inputs": "a", "parameters": {"top_k": ' + "9" * 5000 + "}}",
    "more than a number": '{"inputs": "a", "parameters": {"top_k": 1e999}}',
    "NaN": '{"inputs": "a", "parameters": {"top_k": NaN}}',
    "a key twice": '{"inputs": "a", "inputs": "b"}',
    "cut off": '{"inputs": "a',
    "nothing": "",
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_no_json(server: Server, body: str | bytes) -> None:
    reply = server.ask("POST", "/predict", body)
    assert reply.status == 400
    assert reply.json["error"].startswith("not JSON: ")


INVALID = {
    "a lone surrogate": ('{"inputs": "\\ud800"}', 422), "a list with one": ('{"inputs": ["a", "\\udfff"]}', 422),
    "null": ({"inputs": None}, 422), "a number": ({"inputs": 3}, 422), "an object": ({"inputs": {}}, 422),
    "a list with null": ({"inputs": ["a", None]}, 422), "nothing": ({}, 422), "a string": ('"inputs"', 422),
    "a list": ("[]", 422), "an unknown key": ({"inputs": "a", "model": "/etc/passwd"}, 422),
    "an unknown parameter": ({"inputs": "a", "parameters": {"path": "http://127.0.0.1"}}, 422),
    "a truth in quotes": ({"inputs": "a", "parameters": {"truncate": "false"}}, 422),
    "no label at all": ({"inputs": "a", "parameters": {"top_k": 0}}, 422),
    "no texts": ({"inputs": []}, 400), "too many texts": ({"inputs": ["a"] * 41}, 413),
    "too large": ({"inputs": "a" * 2_000_000}, 413),
}  # fmt: skip


@pytest.mark.parametrize(("body", "status"), INVALID.values(), ids=INVALID)
def test_what_is_not_as_described(server: Server, body: Any, status: int) -> None:
    reply = server.ask("POST", "/predict", body)
    assert reply.status == status
    assert set(reply.json) == {"error", "error_type", "request_id"}
    assert reply.headers["X-Request-ID"] == reply.json["request_id"]


ODD = {
    "nothing": "", "NUL": "a\0b", "emoji": "\U0001f468‍\U0001f469‍\U0001f467 \U0001f600", "right to left": "مرحبا ‮abc",
    "a word of 1 MB": "x" * 1_000_000, "spaces": " \t\n\r " * 100, "a script": "<script>alert(1)</script>",
}  # fmt: skip


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_odd_texts_are_answered(server: Server, text: str) -> None:
    alone, among = server.predict(text), server.predict(["dull", text, "tedious"])
    assert alone.status == among.status == 200
    assert sum(label["score"] for label in alone.json[0]) == pytest.approx(1, abs=1e-6)
    assert agrees(among.json[1], {label["label"]: label["score"] for label in alone.json[0]})


def test_texts_longer_than_the_model(server: Server) -> None:
    long = ["short", "dull film " * 200, "short", "tedious plot " * 100]
    cut = server.predict(long)
    assert cut.status == 200
    assert cut.headers["X-Truncated"] == "1,3"
    assert server.predict("short").headers["X-Truncated"] is None
    refused = server.predict(long, truncate=False)
    assert refused.status == 422
    assert refused.json["error_type"] == "Tokenizer"
    assert "inputs[1] has 402 tokens; the model takes 64" in refused.json["error"]
    assert server.predict("dull film " * 31, truncate=False).status == 200
    assert server.ask("GET", "/predict?sentence=" + "dull%20" * 200).json["response"]["truncated"]


def test_too_large_in_chunks(server: Server) -> None:
    """Its size is not told beforehand."""

    def chunks() -> Iterator[bytes]:
        yield b'{"inputs": "'
        yield from [b"a" * 100_000] * 20
        yield b'"}'

    for path in ("/predict", "/predict/file"):
        kind = {"Content-Type": "application/json" if path == "/predict" else "text/plain"}
        reply = server.ask("POST", path, chunked(chunks()), {"Transfer-Encoding": "chunked", **kind})
        assert reply.status == (413 if path == "/predict" else 200)


def chunked(pieces: Iterator[bytes]) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def test_larger_than_anything_may_be(server: Server) -> None:
    """Waitress itself refuses that: in JSON, too, and counted."""
    before = server.counted()
    reply = server.ask("POST", "/predict/file", b"a" * 5 * 2**20, {"Content-Type": "text/csv"})
    assert reply.status == 413, "read to its end, so that the answer arrives"
    assert reply.json["error"]
    head = server.ask("GET", "/?" + "a" * 300_000)
    assert head.status == 431
    assert head.json["error"]
    with socket.create_connection(("127.0.0.1", server.port), 30) as raw:
        raw.sendall(b"no HTTP at all\r\n\r\n")
        answer = raw.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.0 400")
    after = server.counted()
    refusals = {key[2]: after[key] - before.get(key, 0) for key in after if key[1] == "none"}
    assert refusals == {"413": 1, "431": 1, "400": 1}


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/nowhere", 404, None), ("GET", "/static/../app.py", 404, None), ("GET", "/docs/x", 404, None),
        ("DELETE", "/predict", 405, {"GET", "HEAD", "OPTIONS", "POST"}),
        ("POST", "/health/live", 405, {"GET", "HEAD", "OPTIONS"}),
        ("GET", "/predict", 422, None),
    ],
)  # fmt: skip
def test_no_such_thing(server: Server, method: str, path: str, status: int, allowed: set[str] | None) -> None:
    reply = server.ask(method, path)
    assert reply.status == status
    assert reply.json["error"]
    assert (set(reply.headers["Allow"].split(", ")) if reply.headers["Allow"] else None) == allowed


def test_another_type(server: Server) -> None:
    assert server.ask("POST", "/predict", b"inputs=a", {"Content-Type": "text/plain"}).status == 415
    assert (
        server.ask("POST", "/predict", b"inputs=a", {"Content-Type": "application/x-www-form-urlencoded"}).status == 415
    )
    assert server.ask("POST", "/predict/file", b"text\na\n", {"Content-Type": "image/png"}).status == 415


def test_headers(server: Server) -> None:
    reply = server.ask("GET", "/", headers={"X-Request-ID": "mine-1"})
    assert reply.headers["X-Request-ID"] == "mine-1"
    assert server.ask("GET", "/", headers={"X-Request-ID": "<b>"}).headers["X-Request-ID"] != "<b>"
    assert "script-src 'self'" in reply.headers["Content-Security-Policy"]
    assert "unsafe" not in reply.headers["Content-Security-Policy"]
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Access-Control-Allow-Origin"] is None
    for path in ("/", "/docs", "/static/page.js", "/static/page.css", "/static/docs.js"):
        found = server.ask("GET", path)
        assert found.status == 200
        assert b"//" not in found.body.replace(b"// ", b""), f"{path} names another host"


def test_another_host(server: Server) -> None:
    """So that no page of another site can reach this server by a name of its own."""
    assert server.ask("GET", "/info", headers={"Host": "attacker.example"}).status == 400
    assert server.ask("GET", "/health/ready", headers={"Host": "10.0.0.7:80"}).status == 200  # as probes ask
    for name in (f"localhost:{server.port}", "LocalHost", f"[::1]:{server.port}", "127.0.0.1"):
        assert server.ask("GET", "/info", headers={"Host": name}).status == 200


def test_info(server: Server, run: Path) -> None:
    found = server.ask("GET", "/info").json
    assert (found["labels"], found["max_length"], found["precision"]) == (["negative", "positive"], 64, "fp32")
    assert found["limits"]["max_texts"] == 40
    assert str(run) not in json.dumps(found)


def test_words_that_matter(server: Server) -> None:
    text = "the soup was  dull,\nand the room cold 汤很冷"
    found = server.ask("POST", "/explain", {"inputs": text}).json
    assert "".join(part["text"] for part in found["parts"]) == text
    whole = {one["label"]: one["score"] for one in server.predict(text).json[0]}
    for place, part in enumerate(found["parts"]):
        rest = "".join(other["text"] for other in found["parts"][:place] + found["parts"][place + 1 :])
        left = {one["label"]: one["score"] for one in server.predict(rest).json[0]}
        assert part["weight"] == pytest.approx(whole[found["label"]] - left[found["label"]], abs=1e-5)
    assert server.ask("POST", "/explain", {"inputs": ""}).json["parts"] == []
    assert server.ask("POST", "/explain", '{"inputs": "a \\ud800"}').status == 422
    long = server.ask("POST", "/explain", {"inputs": "dull film " * 50_000}).json
    assert long["truncated"]
    *parts, rest = long["parts"]
    assert "".join(part["text"] for part in parts).split() == ["dull", "film"] * 31  # what the model reads
    assert (len(rest["text"]), rest["weight"]) == (500_000 - len("dull film " * 31) + 1, 0.0)


def labels(server: Server, texts: list[str]) -> list[str]:
    return [answer[0]["label"] for answer in server.predict(texts).json]


def test_a_file_comes_back_labelled(server: Server, reviews: Path) -> None:
    reply = server.upload("my reviews.csv", reviews.read_bytes())
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/csv")
    assert reply.headers["Content-Disposition"] == 'attachment; filename="my reviews-labelled.csv"'
    rows, mine = read_csv(reviews), list(csv.DictReader(io.StringIO(reply.body.decode())))
    assert [(row["text"], row["label"]) for row in mine] == [(row["text"], row["label"]) for row in rows]
    assert [row["predicted"] for row in mine[:40]] == labels(server, [row["text"] for row in rows[:40]])
    again = server.upload("again.csv", reply.body)
    assert again.body == reply.body  # its own columns are replaced, not doubled


def test_other_files(server: Server) -> None:
    lines = [{"text": "a dull film", "n": 1}, {"text": "a superb film", "more": [None, "ü"]}]
    reply = server.upload("x.jsonl", "".join(json.dumps(line) + "\n\n" for line in lines).encode())
    found = [json.loads(line) for line in reply.body.decode().splitlines()]
    assert [{key: row[key] for key in line} for row, line in zip(found, lines, strict=True)] == lines
    assert [row["predicted"] for row in found] == labels(server, [line["text"] for line in lines])
    table = 'review\tid\n"a ""dull""\nfilm"\t01\n'
    reply = server.upload("x.tsv", table.encode(), "review")
    [row] = csv.DictReader(io.StringIO(reply.body.decode(), newline=""), dialect="excel-tab")
    assert (row["review"], row["id"], row["predicted"]) == ('a "dull"\nfilm', "01", *labels(server, ['a "dull"\nfilm']))
    assert server.upload("x.csv", b"text\n").body.startswith(b"text,predicted,score,score:negative,score:positive")


def test_names_and_columns_of_files(server: Server) -> None:
    """Whatever a file is called, and whatever else is in it."""
    for name in ("отзывы.csv", "评论.CSV", ".csv", "x" * 300 + ".csv", "a/b\\c.csv", "a;b'c.csv"):
        reply = server.upload(name, b"text\na\n")
        assert reply.status == 200, name
        assert "-labelled.csv" in reply.headers["Content-Disposition"]
    assert "A-labelled.csv" in server.upload("A.TXT", b"a\n").headers["Content-Disposition"]
    assert server.upload("a.txt", "\ufeffa\n".encode()).body.split(b"\n")[1].startswith(b"a,")
    lines = [json.dumps({"text": "a", "x": "\ud800" if number == 200 else number}) for number in range(201)]
    reply = server.upload("x.jsonl", "\n".join(lines).encode())
    assert [json.loads(line)["x"] for line in reply.body.splitlines()] == [*range(200), "\ud800"]
    reply = server.upload("x.csv", b"predicted\na\n", "predicted")
    assert (reply.status, "which the answers replace" in reply.json["error"]) == (422, True)
    assert server.upload("x.jsonl", b'{"text": "a", "x": 1e999}').status == 422


def test_a_file_as_the_body(server: Server) -> None:
    rows = [("a dull film", "1"), ("", "2"), ("größe, \U0001f600", "3")]
    said = labels(server, [text for text, _ in rows])
    table = "\ufefftext,n\r\n" + "".join(f'"{text}",{n}\r\n' for text, n in rows)
    reply = server.ask("POST", "/predict/file", table, {"Content-Type": "text/csv; charset=utf-8"})
    found = list(csv.DictReader(io.StringIO(reply.body.decode())))
    assert [(row["text"], row["n"], row["predicted"]) for row in found] == [
        (*row, label) for row, label in zip(rows, said, strict=True)
    ]
    lines = "".join(f"{text}\n" for text, _ in rows)
    reply = server.ask("POST", "/predict/file", lines, {"Content-Type": "text/plain"})
    assert reply.headers["Content-Type"].startswith("text/csv")
    assert reply.headers["X-Rows"] == "3"
    found = list(csv.DictReader(io.StringIO(reply.body.decode())))
    assert [(row["text"], row["predicted"]) for row in found] == [
        (text, label) for (text, _), label in zip(rows, said, strict=True)
    ]
    big = server.ask("POST", "/predict/file", b"text\n" + b"a" * 3 * 2**20 + b"\n", {"Content-Type": "text/csv"})
    assert big.status == 413


WRONG_FILES = {
    "a field too many": ("x.csv", b"text,label\na,b\nc,d,e\n", "x.csv, line 3: 3 fields"),
    "no column": ("x.csv", b"review\na\n", "no column 'text'"), "empty": ("x.csv", b"", "an empty file"),
    "not UTF-8": ("x.csv", b"text\n\xe9\n", "not UTF-8"),
    "not JSON": ("x.jsonl", b'{"text": NaN}\n', "line 1: not JSON"),
    "another kind": ("x.parquet", b"PAR1", "x.parquet: expected one of .csv"),
    "packed": ("x.csv.gz", b"\x1f\x8b", "x.csv.gz: expected one of"),
    "no name": ("", b"text\na\n", "a file without a name"),
    "no UTF-8 at all": ("x.txt", b"a\n\xff\n", "x.txt, line 2: not UTF-8"),
    "a column of ours": ("x.csv", b"predicted\na\n", "no column 'text'"),
    "a path": ("../../etc/passwd", b"root", "passwd: expected one of"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "told"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_wrong_files(server: Server, name: str, content: bytes, told: str) -> None:
    reply = server.upload(name, content)
    assert reply.status == 422
    assert told in reply.json["error"]
    assert "/tmp" not in reply.json["error"]


def test_counters_are_the_clients(server: Server, texts: list[str]) -> None:
    """5,000 mixed requests by 16 clients: each answer moves one counter by one."""
    requests: list[tuple[str, str, Any]] = [
        ("POST", "/predict", {"inputs": "a dull film"}), ("POST", "/predict", {"inputs": []}),
        ("POST", "/predict", "{"), ("GET", "/predict?sentence=dull", None), ("GET", "/predict", None),
        ("GET", "/nowhere", None), ("DELETE", "/predict", None), ("GET", "/health/ready", None),
        ("HEAD", "/info", None), ("POST", "/predict", {"inputs": ["a"] * 41}),
    ]  # fmt: skip
    before = server.counted()

    def ask(number: int) -> tuple[str, str, str]:
        method, path, body = requests[number % len(requests)]
        status = server.ask(method, path, body).status
        return method, "none" if path == "/nowhere" or method == "DELETE" else path.partition("?")[0], str(status)

    with ThreadPoolExecutor(16) as clients:
        told = list(clients.map(ask, range(5000)))
    after = server.counted()
    tally = {key: told.count(key) for key in set(told)}
    tally["GET", "/metrics", "200"] = 1  # the one before
    assert {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)} == tally
