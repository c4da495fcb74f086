"""The endpoints: predictions equal the pipeline's, in the Hub's format; any other request gets a defined status."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import read_csv
from tests.serving.harness import Server


@pytest.fixture(scope="module")
def texts(reviews: Path) -> list[str]:
    """1,000 different texts, from an empty one to longer ones than the model reads."""
    rows = [row["text"] for row in read_csv(reviews)]
    return ["", *(" ".join(rows[k % 403 : k % 403 + k // 403 * 3 + 1]) + f" {k}" for k in range(999))]


@pytest.fixture(scope="module")
def expected(run: Path, texts: list[str]) -> list[dict[str, float]]:
    """The pipeline's scores by label, of each text."""
    from transformers import pipeline

    classifier = pipeline("text-classification", model=str(run / "model"), top_k=None, device="cpu")
    return list(map(scores_by_label, classifier(texts, truncation=True, max_length=64, batch_size=16)))


def scores_by_label(prediction: list[dict[str, Any]]) -> dict[str, float]:
    return {item["label"]: item["score"] for item in prediction}


def agrees(prediction: list[dict[str, Any]], expected: dict[str, float]) -> bool:
    """Whether a prediction is sorted by score and has the expected scores."""
    scores = [item["score"] for item in prediction]
    return scores == sorted(scores, reverse=True) and scores_by_label(prediction) == pytest.approx(expected, abs=1e-5)


def test_64_clients_get_the_pipelines_scores(
    server: Server, texts: list[str], expected: list[dict[str, float]]
) -> None:
    with ThreadPoolExecutor(64) as clients:
        responses = list(clients.map(server.predict, texts))
    assert {response.status for response in responses} == {200}
    assert all(agrees(response.json[0], scores) for response, scores in zip(responses, expected, strict=True))


def test_requests_with_several_texts_get_the_same_scores(
    server: Server, texts: list[str], expected: list[dict[str, float]]
) -> None:
    chunks = [texts[start : start + 40] for start in range(0, len(texts), 40)]
    with ThreadPoolExecutor(8) as clients:
        responses = list(clients.map(server.predict, chunks))
    predictions = [prediction for response in responses for prediction in response.json]
    assert all(agrees(prediction, scores) for prediction, scores in zip(predictions, expected, strict=True))


def test_huggingface_hub_client_is_supported(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import InferenceClient, constants

    monkeypatch.setattr(constants, "is_offline_mode", lambda: False)  # the client connects to this server only

    client = InferenceClient(model=f"http://127.0.0.1:{server.port}/predict")
    elements = client.text_classification("a dull film", top_k=1)
    assert [element.label for element in elements] == [server.predict("a dull film").json[0][0]["label"]]


def test_function_to_apply(server: Server, run: Path) -> None:
    from transformers import pipeline

    for function in ("softmax", "sigmoid", "none"):
        classifier = pipeline("text-classification", model=str(run / "model"), top_k=None, device="cpu")
        [prediction] = classifier(["a dull film"], function_to_apply=function)
        response = server.predict("a dull film", function_to_apply=function, top_k=None)
        assert scores_by_label(response.json[0]) == pytest.approx(scores_by_label(prediction), abs=1e-5)


def test_get_predict(server: Server) -> None:
    response = server.request("GET", "/predict?sentence=i%20never%20thought%20the%20soup%20was%20dull.")
    prediction = response.json["response"]
    assert prediction["sentence"] == "i never thought the soup was dull."
    assert agrees(server.predict(prediction["sentence"]).json[0], prediction["scores"])
    assert prediction["time_taken"] > 0


NOT_JSON = {
    "nested and never closed": "[" * 100_000,
    "nested too deeply": '{"inputs": ' + "[" * 5000 + "]" * 5000 + "}",
    "not UTF-8": b'{"inputs": "\xff\xfe"}',
    "5,000 digits": '{"inputs": "a", "parameters": {"top_k": ' + "9" * 5000 + "}}",
    "a float that overflows": '{"inputs": "a", "parameters": {"top_k": 1e999}}',
    "NaN": '{"inputs": "a", "parameters": {"top_k": NaN}}',
    "a duplicate key": '{"inputs": "a", "inputs": "b"}',
    "cut off": '{"inputs": "a',
    "empty": "",
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_invalid_json_is_refused(server: Server, body: str | bytes) -> None:
    response = server.request("POST", "/predict", body)
    assert response.status == 400
    assert response.json["error"].startswith("not JSON: ")


INVALID = {
    "a lone surrogate": ('{"inputs": "\\ud800"}', 422),
    "a list with a lone surrogate": ('{"inputs": ["a", "\\udfff"]}', 422),
    "null": ({"inputs": None}, 422), "a number": ({"inputs": 3}, 422), "an object": ({"inputs": {}}, 422),
    "a list with null": ({"inputs": ["a", None]}, 422), "an empty object": ({}, 422), "a string": ('"inputs"', 422),
    "a list": ("[]", 422),
    "a quoted boolean": ({"inputs": "a", "parameters": {"truncate": "false"}}, 422),
    "top_k of 0": ({"inputs": "a", "parameters": {"top_k": 0}}, 422),
    "no texts": ({"inputs": []}, 400), "too many texts": ({"inputs": ["a"] * 41}, 413),
    "too large": ({"inputs": "a" * 2_000_000}, 413),
}  # fmt: skip


@pytest.mark.parametrize(("body", "status"), INVALID.values(), ids=INVALID)
def test_invalid_request_is_refused(server: Server, body: Any, status: int) -> None:
    response = server.request("POST", "/predict", body)
    assert response.status == status
    assert set(response.json) == {"error", "error_type", "request_id"}
    assert response.headers["X-Request-ID"] == response.json["request_id"]


ODD = {
    "empty": "", "NUL": "a\0b", "emoji": "\U0001f468‍\U0001f469‍\U0001f467 \U0001f600", "right to left": "مرحبا ‮abc",
    "a word of 1 MB": "x" * 1_000_000, "spaces": " \t\n\r " * 100, "a script": "<script>alert(1)</script>",
}  # fmt: skip


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_odd_text_is_classified(server: Server, text: str) -> None:
    alone, batched = server.predict(text), server.predict(["dull", text, "tedious"])
    assert alone.status == batched.status == 200
    assert sum(item["score"] for item in alone.json[0]) == pytest.approx(1, abs=1e-6)
    assert agrees(batched.json[1], scores_by_label(alone.json[0]))


def test_long_texts_are_truncated_or_refused(server: Server) -> None:
    texts = ["short", "dull film " * 200, "short", "tedious plot " * 100]
    truncated = server.predict(texts)
    assert truncated.status == 200
    assert truncated.headers["X-Truncated"] == "1,3"
    assert server.predict("short").headers["X-Truncated"] is None
    refused = server.predict(texts, truncate=False)
    assert refused.status == 422
    assert refused.json["error_type"] == "Tokenizer"
    assert "inputs[1] has 402 tokens; the model accepts at most 64" in refused.json["error"]
    assert server.predict("dull film " * 31, truncate=False).status == 200
    assert server.request("GET", "/predict?sentence=" + "dull%20" * 200).json["response"]["truncated"]


def test_size_limits_hold_for_chunked_bodies(server: Server) -> None:
    """A chunked body has no Content-Length."""

    def pieces() -> Iterator[bytes]:
        yield b'{"inputs": "'
        yield from [b"a" * 100_000] * 20
        yield b'"}'

    for path in ("/predict", "/predict/file"):
        media_type = "application/json" if path == "/predict" else "text/plain"
        headers = {"Transfer-Encoding": "chunked", "Content-Type": media_type}
        response = server.request("POST", path, chunked(pieces()), headers)
        assert response.status == (413 if path == "/predict" else 200)


def chunked(pieces: Iterator[bytes]) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def test_requests_that_waitress_refuses_get_json_and_are_counted(server: Server) -> None:
    before = server.response_counts()
    large = server.request("POST", "/predict/file", b"a" * 5 * 2**20, {"Content-Type": "text/csv"})
    assert large.status == 413, "the body is read to its end, so that the response arrives"
    assert large.json["error"]
    long_url = server.request("GET", "/?" + "a" * 300_000)
    assert long_url.status == 431
    assert long_url.json["error"]
    with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
        connection.sendall(b"no HTTP at all\r\n\r\n")
        response = connection.makefile("rb").read()
    assert response.startswith(b"HTTP/1.0 400")
    after = server.response_counts()
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
def test_unknown_route_or_method(server: Server, method: str, path: str, status: int, allowed: set[str] | None) -> None:
    response = server.request(method, path)
    assert response.status == status
    assert response.json["error"]
    assert (set(response.headers["Allow"].split(", ")) if response.headers["Allow"] else None) == allowed


def test_unsupported_media_type_is_refused(server: Server) -> None:
    for media_type in ("text/plain", "application/x-www-form-urlencoded"):
        assert server.request("POST", "/predict", b"inputs=a", {"Content-Type": media_type}).status == 415
    assert server.request("POST", "/predict/file", b"text\na\n", {"Content-Type": "image/png"}).status == 415


def test_response_headers(server: Server) -> None:
    response = server.request("GET", "/", headers={"X-Request-ID": "client-1"})
    assert response.headers["X-Request-ID"] == "client-1"
    assert server.request("GET", "/", headers={"X-Request-ID": "<b>"}).headers["X-Request-ID"] != "<b>"
    assert "script-src 'self'" in response.headers["Content-Security-Policy"]
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Access-Control-Allow-Origin"] is None
    for path in ("/", "/docs", "/static/page.js", "/static/page.css", "/static/docs.js"):
        asset = server.request("GET", path)
        assert asset.status == 200
        assert b"//" not in asset.body.replace(b"// ", b""), f"{path} refers to another host"


def test_unknown_host_is_refused(server: Server) -> None:
    """Against DNS rebinding: a page of another site must not reach this server under its own domain name."""
    assert server.request("GET", "/info", headers={"Host": "attacker.example"}).status == 400
    # Probes use the address.
    assert server.request("GET", "/health/ready", headers={"Host": "10.0.0.7:80"}).status == 200
    for name in (f"localhost:{server.port}", "LocalHost", f"[::1]:{server.port}", "127.0.0.1"):
        assert server.request("GET", "/info", headers={"Host": name}).status == 200


def test_info(server: Server, run: Path) -> None:
    info = server.request("GET", "/info").json
    assert (info["labels"], info["max_length"], info["precision"]) == (["negative", "positive"], 64, "fp32")
    assert info["limits"]["max_texts"] == 40
    assert str(run) not in json.dumps(info)


def test_explain_weighs_each_word_by_occlusion(server: Server) -> None:
    text = "the soup was  dull,\nand the room cold 汤很冷"
    explanation = server.request("POST", "/explain", {"inputs": text}).json
    label, parts = explanation["label"], explanation["parts"]
    assert "".join(part["text"] for part in parts) == text
    full_scores = scores_by_label(server.predict(text).json[0])
    for index, part in enumerate(parts):
        occluded_text = "".join(other["text"] for other in parts[:index] + parts[index + 1 :])
        occluded_scores = scores_by_label(server.predict(occluded_text).json[0])
        assert part["weight"] == pytest.approx(full_scores[label] - occluded_scores[label], abs=1e-5)
    assert server.request("POST", "/explain", {"inputs": ""}).json["parts"] == []
    assert server.request("POST", "/explain", '{"inputs": "a \\ud800"}').status == 422


def test_explain_gives_no_weight_to_what_the_model_does_not_read(server: Server) -> None:
    explanation = server.request("POST", "/explain", {"inputs": "dull film " * 50_000}).json
    assert explanation["truncated"]
    *read, unread = explanation["parts"]
    assert "".join(part["text"] for part in read).split() == ["dull", "film"] * 31
    assert (len(unread["text"]), unread["weight"]) == (500_000 - len("dull film " * 31) + 1, 0.0)


def test_every_response_is_counted_once(server: Server) -> None:
    """5,000 mixed requests from 16 clients."""
    requests: list[tuple[str, str, Any]] = [
        ("POST", "/predict", {"inputs": "a dull film"}), ("POST", "/predict", {"inputs": []}),
        ("POST", "/predict", "{"), ("GET", "/predict?sentence=dull", None), ("GET", "/predict", None),
        ("GET", "/nowhere", None), ("DELETE", "/predict", None), ("GET", "/health/ready", None),
        ("HEAD", "/info", None), ("POST", "/predict", {"inputs": ["a"] * 41}),
    ]  # fmt: skip
    before = server.response_counts()

    def send(number: int) -> tuple[str, str, str]:
        method, path, body = requests[number % len(requests)]
        status = server.request(method, path, body).status
        return method, "none" if path == "/nowhere" or method == "DELETE" else path.partition("?")[0], str(status)

    with ThreadPoolExecutor(16) as clients:
        sent = list(clients.map(send, range(5000)))
    after = server.response_counts()
    expected = {key: sent.count(key) for key in set(sent)}
    expected["GET", "/metrics", "200"] = 1  # for `before`
    assert {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)} == expected
