"""A run with pairs, served: the pipeline's form of a pair, TEI's, and columns' names; words and files of both texts."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import accel_clf
from tests.pair_forms import LENGTH, make_encoder, pipeline_scores, random_pairs, settings, write_pairs
from tests.serving.harness import Server, serving

PAIRS = [*random_pairs(20, seed=2), ("", "a man sleeps"), ("two dogs " * 30, "here"), ("now", "nobody " * 30)]


@pytest.fixture(scope="module")
def pair_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    pairs = write_pairs(folder / "pairs.csv")
    return accel_clf.train(settings(folder, make_encoder(folder / "bert", "bert"), pairs)).path


@pytest.fixture(scope="module")
def pair_server(pair_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(pair_run, tmp_path_factory.mktemp("streams"), "--precision", "fp32") as server:
        yield server


def named(first: str, second: str) -> dict[str, str]:
    return {"text": first, "text_pair": second}


def scores(prediction: list[dict[str, Any]]) -> dict[str, float]:
    return {item["label"]: item["score"] for item in prediction}


def test_all_forms_of_a_pair_get_the_pipelines_scores(pair_server: Server, pair_run: Path) -> None:
    expected = [pytest.approx(row, abs=1e-5) for row in pipeline_scores(pair_run / "model", PAIRS)]
    for inputs in (
        [named(*pair) for pair in PAIRS],
        [list(pair) for pair in PAIRS],
        [{"first": first, "second": second} for first, second in PAIRS],
    ):
        response = pair_server.predict(inputs)
        assert response.status == 200, response.body
        assert list(map(scores, response.json)) == expected
        assert response.headers["X-Truncated"] == ",".join(
            str(index) for index, pair in enumerate(PAIRS) if len(" ".join(pair).split()) > LENGTH - 3
        )
    assert [scores(prediction) for prediction in pair_server.predict(named(*PAIRS[0])).json] == expected[:1]
    response = pair_server.request("GET", "/predict?sentence=a+man&sentence_pair=two+dogs")
    [answer] = pair_server.predict([["a man", "two dogs"]]).json
    assert response.json["response"]["scores"] == pytest.approx(scores(answer), abs=1e-6)


def test_info_says_that_it_reads_pairs(pair_server: Server, server: Server) -> None:
    assert pair_server.request("GET", "/info").json["pairs"] is True
    assert server.request("GET", "/info").json["pairs"] is False


def test_what_is_not_a_pair_is_refused(pair_server: Server, server: Server) -> None:
    for inputs in ("a", ["a", "b"], [["a"]], [["a", "b", "c"]], {"text": "a"}, [named("a", "\ud800")], [{"x": "a"}]):
        response = pair_server.predict(inputs)
        assert response.status == 422, inputs
        assert "inputs" in response.json["error"]
    assert "inputs[0]: a text; expected: a pair of texts" in pair_server.predict(["a", "b"]).json["error"]
    assert pair_server.request("GET", "/predict?sentence=a").status == 422
    assert pair_server.request("POST", "/explain", {"inputs": "a"}).status == 422
    response = pair_server.predict([list(PAIRS[-1])], truncate=False)
    assert f"inputs[0] has 34 tokens; the model accepts at most {LENGTH}" in response.json["error"]
    for inputs in ([["a", "b"]], named("a", "b")):
        assert server.predict(inputs).status == 422
    assert server.predict({"text": "a dull film"}).json == server.predict("a dull film").json


def test_words_of_both_texts_are_explained(pair_server: Server) -> None:
    pair = ("two dogs", "a man sleeps ")
    explanation = pair_server.request("POST", "/explain", {"inputs": named(*pair)}).json
    parts = [(part["side"], part["text"]) for part in explanation["parts"]]
    assert parts == [("text", "two "), ("text", "dogs"), *(("text_pair", word) for word in ("a ", "man ", "sleeps "))]
    without = [
        ("dogs", pair[1]),
        ("two ", pair[1]),
        *((pair[0], rest) for rest in ("man sleeps ", "a sleeps ", "a man ")),
    ]
    label = explanation["label"]
    answers = pair_server.predict([list(each) for each in without]).json
    expected = [explanation["score"] - scores(answer)[label] for answer in answers]
    assert [part["weight"] for part in explanation["parts"]] == pytest.approx(expected, abs=1e-5)
    for long in PAIRS[-2:]:
        explanation = pair_server.request("POST", "/explain", {"inputs": named(*long)}).json
        assert explanation["truncated"]
        for name, text in named(*long).items():
            assert "".join(part["text"] for part in explanation["parts"] if part["side"] == name) == text


def test_files_with_pairs(pair_server: Server, server: Server) -> None:
    expected = [prediction[0]["label"] for prediction in pair_server.predict([list(pair) for pair in PAIRS]).json]
    table = io.StringIO(newline="")
    csv.writer(table).writerows([("second", "first"), *((second, first) for first, second in PAIRS)])
    response = pair_server.upload("pairs.csv", table.getvalue().encode())
    assert [row["predicted"] for row in csv.DictReader(io.StringIO(response.body.decode()))] == expected
    lines = "\n".join(json.dumps({"a": first, "b": second}) for first, second in PAIRS)
    response = pair_server.upload("pairs.jsonl", lines.encode(), "a&pair=b")
    assert [json.loads(line)["predicted"] for line in response.body.decode().splitlines()] == expected
    assert "no pairs" in pair_server.upload("pairs.txt", b"a\n").json["error"]
    assert "no column 'second'" in pair_server.upload("pairs.csv", b"first\na\n").json["error"]
    assert server.upload("x.csv", b"text,b\na,b\n", "text&pair=b").status == 422


def test_page_has_a_box_for_each_text(pair_server: Server) -> None:
    page = pair_server.request("GET", "/").body.decode()
    assert 'id="pair"' in page
    assert 'value="first"' in page
    assert 'id="pair-column" type="text" value="second"' in page


def test_symmetric_pairs_get_the_mean_of_both_orders(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "pairs.csv")
    run = accel_clf.train(settings(tmp_path, make_encoder(tmp_path / "bert", "bert"), data, symmetric=True))
    expected = [pytest.approx(answer["scores"], abs=1e-5) for answer in run.predict(PAIRS)]
    with serving(run.path, tmp_path, "--precision", "fp32") as server:
        for asked in (PAIRS, [(second, first) for first, second in PAIRS]):
            assert [
                scores(prediction) for prediction in server.predict([list(pair) for pair in asked]).json
            ] == expected
        explanation = server.request("POST", "/explain", {"inputs": named(*PAIRS[0])}).json
        assert explanation["score"] == pytest.approx(run.predict(PAIRS[:1])[0]["score"], abs=1e-5)
