"""What clients of the Hub's inference API and of text-embeddings-inference send, and browsers from other sites."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import accel_clf
from accel_clf.config.load import load, load_serve
from accel_clf.core.errors import ConfigError
from accel_clf.training.run import train
from tests.serving.harness import Response, Server, serving

SITE, OTHER = "http://localhost:3000", "https://attacker.example"
TEXT = "a dull film"


def ask(server: Server, **body: Any) -> Response:
    return server.request("POST", "/predict", {"inputs": TEXT, **body})


def test_options_of_the_hub_are_accepted(server: Server) -> None:
    expected = ask(server)
    for options in ({}, {"wait_for_model": True}, {"use_cache": False, "wait_for_model": False, "use_gpu": None}, None):
        response = ask(server, options=options)
        assert (response.status, response.json, response.headers["X-Warning"]) == (200, expected.json, None)


def test_unknown_keys_are_ignored_and_named(server: Server) -> None:
    expected = ask(server).json
    unknown = {"model": "x", "options": {"wait": 1}, "parameters": {"max_length": 5, "top_k": 1}, "ü\r\nX: y": [None]}
    response = ask(server, **unknown)
    assert (response.status, response.json) == (200, [expected[0][:1]])
    keys = r"model, \xfc\r\nX: y, parameters.max_length, options.wait"
    assert response.headers["X-Warning"] == f"unknown keys are ignored: {keys}"
    assert response.headers["X"] is None
    assert len(ask(server, **{f"key {number}": 0 for number in range(5000)}).headers["X-Warning"]) <= 1000


INVALID = {
    "options.wait_for_model": {"options": {"wait_for_model": "yes"}},
    "options": {"options": True},
    "truncate": {"truncate": "false"},
    "raw_scores": {"raw_scores": 1},
    "truncation_direction": {"truncation_direction": "middle"},
    "parameters.top_k": {"parameters": {"top_k": "3"}},
    "truncate and parameters.truncate": {"truncate": True, "parameters": {"truncate": False}},
    "raw_scores and parameters.function": {"raw_scores": True, "parameters": {"function_to_apply": "softmax"}},
}


@pytest.mark.parametrize(("place", "body"), INVALID.items(), ids=INVALID)
def test_invalid_options_are_refused_with_their_place(server: Server, place: str, body: dict[str, Any]) -> None:
    response = ask(server, **body)
    assert response.status == 422
    assert place in response.json["error"]


def test_raw_scores_are_logits(server: Server) -> None:
    raw = ask(server, raw_scores=True, parameters={"top_k": None})
    assert raw.json == ask(server, parameters={"function_to_apply": "none", "top_k": None}).json
    assert sum(item["score"] for item in raw.json[0]) != pytest.approx(1, abs=1e-3)
    assert ask(server, raw_scores=False).json == ask(server).json


def test_truncation_as_asked(server: Server) -> None:
    """64 tokens are read: 62 words, from the end that is kept."""
    dull, superb = "dull " * 62, "superb " * 62
    first, last = (server.predict(text).json for text in (dull, superb))
    assert first != last
    for direction, expected in ((None, first), ("right", first), ("Right", first), ("left", last), ("Left", last)):
        response = ask(server, inputs=dull + superb, truncation_direction=direction)
        assert response.headers["X-Truncated"] == "0"
        scores = {item["label"]: item["score"] for item in response.json[0]}
        assert scores == pytest.approx({item["label"]: item["score"] for item in expected[0]}, abs=1e-5)
    for body in ({"truncate": False}, {"truncate": False, "truncation_direction": "left"}):
        refused = ask(server, inputs=["a", dull + superb], **body)
        assert refused.status == 422
        assert "inputs[1] has 126 tokens; the model accepts at most 64" in refused.json["error"]
    assert ask(server, inputs=dull, truncate=False).status == 200


@pytest.mark.parametrize("kind", ["multi_label", "ordinal"])
def test_raw_scores_of_other_kinds(kind: str, table: Path, tiny_bert: Path, tmp_path: Path) -> None:
    """Labels are predicted by their scores, whatever is returned; the outputs of an order are not its labels."""
    label = ["positive", "soup", "never"] if kind == "multi_label" else "grade"
    target = {} if kind == "multi_label" else {"type": kind, "order": ["bad", "fair", "good"]}
    data = {"train": str(table), "label": label, "max_length": 64}
    training = {"epochs": 1, "learning_rate": 1e-3}
    settings = {"model": {"name": str(tiny_bert)}, "data": data, "target": target, "training": training}
    train(load(None, {"output": str(tmp_path / "run"), **settings}))
    with serving(tmp_path / "run", tmp_path, "--precision", "fp32") as server:
        [items] = ask(server, raw_scores=True).json
        assert [item["score"] for item in items] == sorted((item["score"] for item in items), reverse=True)
        if kind == "ordinal":
            assert {item["label"] for item in items} == {"above bad", "above fair"}
            return
        [answer] = accel_clf.load(tmp_path / "run").predict(TEXT)
        assert {item["label"] for item in items if item["predicted"]} == set(answer["labels"])
        [plain] = ask(server).json
        assert [item["label"] for item in items] == [item["label"] for item in plain]


@pytest.fixture(scope="module")
def shared(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has a key, and lets pages of a site use it."""
    flags = ("--origins", f"{SITE.upper()}/", "--origins", "https://example.org:443", "--max_texts", 2)
    flags += ("--max_file_megabytes", 1)
    with serving(run, tmp_path_factory.mktemp("server"), *flags, ACCEL_CLF_API_KEY="secret") as server:
        yield server


def preflight(server: Server, origin: str, path: str = "/predict") -> Response:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    return server.request("OPTIONS", path, headers={"Origin": origin, **asked})


@pytest.mark.parametrize("path", ["/predict", "/predict/file", "/explain"])
def test_browsers_may_ask_for_pages_of_the_site(shared: Server, path: str) -> None:
    """They ask without the key."""
    for origin in (SITE, "https://example.org"):
        response = preflight(shared, origin, path)
        assert (response.status, response.body) == (204, b"")
        assert response.headers["Access-Control-Allow-Origin"] == origin
        assert {"GET", "POST"} <= set(response.headers["Access-Control-Allow-Methods"].split(", "))
        allowed = response.headers["Access-Control-Allow-Headers"].lower().split(", ")
        assert {"authorization", "content-type"} <= set(allowed)
        assert response.headers["Vary"] == "Origin"
    for origin in (OTHER, "null", "http://localhost:3001", "https://localhost:3000", ""):
        response = preflight(shared, origin, path)
        assert response.status == 400
        assert response.headers["Access-Control-Allow-Origin"] is None


def test_answers_and_errors_can_be_read_by_pages_of_the_site(shared: Server) -> None:
    key = {"Authorization": "Bearer secret", "Origin": SITE}
    answers = {
        200: shared.request("POST", "/predict", {"inputs": TEXT}, key),
        401: shared.request("POST", "/predict", {"inputs": TEXT}, {"Origin": SITE}),
        404: shared.request("GET", "/nowhere", headers=key),
        413: shared.request("POST", "/predict/file", b"a" * 3 * 2**20, {**key, "Content-Type": "text/csv"}),
        422: shared.request("POST", "/predict", {"inputs": 1}, key),
    }
    for status, response in answers.items():
        assert response.status == status
        assert response.headers["Access-Control-Allow-Origin"] == SITE
        assert "X-Truncated" in response.headers["Access-Control-Expose-Headers"]
        assert response.headers["Access-Control-Allow-Credentials"] is None
    for origin in ({}, {"Origin": OTHER}):
        response = shared.request("POST", "/predict", {"inputs": TEXT}, {**key, **{"Origin": ""}, **origin})
        assert response.headers["Access-Control-Allow-Origin"] is None
        assert response.headers["Vary"] == "Origin"


def test_any_site(run: Path, tmp_path: Path) -> None:
    with serving(run, tmp_path, "--origins", "*") as server:
        assert preflight(server, OTHER).headers["Access-Control-Allow-Origin"] == "*"
        response = server.request("POST", "/predict", {"inputs": TEXT}, {"Origin": OTHER})
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["Vary"] is None


def test_no_other_site_unless_asked(server: Server) -> None:
    for response in (preflight(server, SITE), server.request("GET", "/info", headers={"Origin": SITE})):
        assert not [name for name in response.headers if name.lower().startswith("access-control")]
    text = json.dumps(server.request("GET", "/openapi.json").json)
    assert all(name in text for name in ("wait_for_model", "truncation_direction", "raw_scores"))


@pytest.mark.parametrize("origin", ["localhost:3000", "https://example.org/page", "null", "", "https://*.org"])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ConfigError, match="a scheme and a host"):
        load_serve({"origins": [origin]})
