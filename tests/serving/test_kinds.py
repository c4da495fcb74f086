"""Servers of several labels a text, of a number, and of a model that abstains: the API, files and the page."""

import csv
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import accel_clf
from accel_clf.config.load import load
from accel_clf.training.run import train
from tests.conftest import read_csv, write_csv
from tests.serving.harness import Server, serving

playwright = pytest.importorskip("playwright.sync_api")
TEXT = "the soup was never dull"
LABELS = ["soup", "never", "<b>good</b>"]


@pytest.fixture(scope="module")
def rows(reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    table = []
    for row in read_csv(reviews):
        words = row["text"].split()
        flags = ("soup" in words, "never" in words, row["label"] == "positive")
        table.append((row["text"], *(str(int(flag)) for flag in flags), str(len(words) + 1000.5), row["label"]))
    header = ("text", *LABELS, "length", "label")
    return write_csv(tmp_path_factory.mktemp("rows") / "rows.csv", table, header)


def serve(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, Any], *flags: Any) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("kind")
    train(load(None, {"output": str(folder / "run"), **settings}))
    with serving(folder / "run", folder, "--precision", "fp32", *flags) as server:
        server.run = folder / "run"  # type: ignore[attr-defined]
        yield server


def settings(rows: Path, tiny_bert: Path, **sections: Any) -> dict[str, Any]:
    data = {"train": str(rows), "max_length": 64, **sections.pop("data")}
    training = {"epochs": 2, "learning_rate": 3e-3, "precision": "fp32"}
    return {"model": {"name": str(tiny_bert)}, "training": training, "data": data, **sections}


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, rows: Path, tiny_bert: Path) -> Iterator[Server]:
    target = {"thresholds": "f1"}
    yield from serve(tmp_path_factory, settings(rows, tiny_bert, data={"label": LABELS}, target=target))


@pytest.fixture(scope="module")
def number(tmp_path_factory: pytest.TempPathFactory, rows: Path, tiny_bert: Path) -> Iterator[Server]:
    target = {"type": "regression"}
    yield from serve(tmp_path_factory, settings(rows, tiny_bert, data={"label": "length"}, target=target))


def answer_of(server: Server) -> dict[str, Any]:
    [answer] = accel_clf.load(server.run).predict(TEXT)  # type: ignore[attr-defined]
    return answer


def test_several_labels_over_http(several: Server) -> None:
    expected = answer_of(several)
    [items] = several.predict(TEXT).json
    assert {item["label"]: item["score"] for item in items} == pytest.approx(expected["scores"], abs=1e-5)
    assert {item["label"] for item in items if item["predicted"]} == set(expected["labels"])
    [first] = several.predict(TEXT, top_k=1).json
    assert {item["label"] for item in first} == {items[0]["label"], *expected["labels"]}, (
        "what is predicted is never cut"
    )
    sentence = several.request("GET", "/predict?sentence=" + TEXT.replace(" ", "+")).json["response"]
    assert sentence["label"] == "|".join(expected["labels"])
    info = several.request("GET", "/info").json
    assert (info["target"], info["labels"], len(info["thresholds"])) == ("multi_label", LABELS, 3)
    explained = several.request("POST", "/explain", {"inputs": TEXT, "label": "never"}).json
    assert (explained["label"], len(explained["parts"])) == ("never", 5)
    refused = several.request("POST", "/explain", {"inputs": TEXT, "label": "nonsense"})
    assert refused.status == 404
    assert "no label 'nonsense'; there are 'soup'" in refused.json["error"]


def test_files_of_every_kind(several: Server, number: Server) -> None:
    content = f"text,id\n{TEXT},7\n".encode()
    expected = answer_of(several)
    [row] = csv.DictReader(io.StringIO(several.upload("rows.csv", content).body.decode()))
    assert row["predicted"] == "|".join(expected["labels"])
    assert [name for name in row if name.startswith("score")] == [f"score:{name}" for name in LABELS]
    line = json.dumps({"text": TEXT}).encode() + b"\n"
    [answer] = map(json.loads, several.upload("rows.jsonl", line).body.splitlines())
    assert answer["predicted"] == expected["labels"]
    [row] = csv.DictReader(io.StringIO(number.upload("rows.csv", content).body.decode()))
    assert list(row) == ["text", "id", "predicted"]
    assert float(row["predicted"]) == pytest.approx(answer_of(number)["value"], rel=1e-5)


def test_number_over_http(number: Server) -> None:
    expected = answer_of(number)["value"]
    assert 1000 < expected < 1020
    assert number.predict(TEXT).json == [[{"label": "length", "score": pytest.approx(expected, rel=1e-5)}]]
    explained = number.request("POST", "/explain", {"inputs": TEXT}).json
    assert explained["label"] == "length"
    assert max(abs(part["weight"]) for part in explained["parts"]) < 20, "in the number's own unit"


@pytest.mark.parametrize("width", [390, 1280])
def test_pages_of_every_kind(several: Server, number: Server, browser: "playwright.Browser", width: int) -> None:
    for server in (several, number):
        page = browser.new_page(viewport={"width": width, "height": 900})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))  # noqa: B023  (of this page)
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.fill("#text", TEXT)
        page.keyboard.press("Control+Enter")
        playwright.expect(page.locator("#answer")).to_be_visible()
        answer = answer_of(server)
        headline = page.locator("#label").inner_text()
        if server is number:
            assert float(headline) == pytest.approx(answer["value"], rel=1e-3)
            assert page.locator("#scores li").count() == 0
        else:
            assert set(filter(None, headline.replace("no label", "").split(", "))) == set(answer["labels"])
            assert page.locator("#scores .threshold").count() == 3
            page.get_by_role("button", name="never").click()
            playwright.expect(page.locator("#for")).to_have_text("never")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert errors == []
        page.close()


def test_server_with_a_risk_abstains(run: Path, tmp_path: Path) -> None:
    """Some texts get `abstain` and a set; how many, /metrics tells. The surer half of the calibration rows is right."""
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "model" / "model.safetensors"
    weights = load_file(path)
    # The tiny model is hardly sure of anything: its log-odds get a mean of 0 and a deviation of 2.
    rows = read_csv(run / "predictions.csv")
    odds = np.array([float(row["logit:positive"]) - float(row["logit:negative"]) for row in rows])
    scale, bias = 2 / odds.std(), weights["classifier.bias"]
    weights["classifier.weight"] *= scale
    weights["classifier.bias"] = torch.tensor([0.0, -scale * (odds.mean() - float(bias[1] - bias[0]))]).float()
    save_file(weights, path, {"format": "pt"})
    texts = [row["text"] for row in read_csv(Path(load(run / "config.yaml", {}).data.train))]
    answers = accel_clf.load(tmp_path / "run").predict(texts)
    median = float(np.median([answer["score"] for answer in answers]))
    other = {"positive": "negative", "negative": "positive"}
    labels = [answer["label"] if answer["score"] > median else other[answer["label"]] for answer in answers]
    logits = [[str(np.log(answer["scores"][name] + 1e-9)) for name in ("negative", "positive")] for answer in answers]
    table = [(label, *of_row) for label, of_row in zip(labels, logits, strict=True)]
    write_csv(tmp_path / "run" / "calibration.csv", table, ("label", "logit:negative", "logit:positive"))
    texts = texts[:40]
    with serving(tmp_path / "run", tmp_path, "--precision", "fp32", "--risk", 0.2) as server:
        answers = server.predict(texts).json
        abstained = [answer for answer in answers if answer[0]["label"] == "abstain"]
        assert 0 < len(abstained) < len(texts)
        assert all({item["label"] for item in answer[1:]} <= {"negative", "positive"} for answer in abstained)
        assert all(len(answer) > 1 for answer in abstained)
        assert server.predict(texts, function_to_apply="softmax").json == answers
        refused = server.predict(texts, function_to_apply="none")
        assert (refused.status, "go by probabilities" in refused.json["error"]) == (422, True)
        metrics = server.request("GET", "/metrics").body.decode()
        [count] = re.findall(r"^accel_clf_abstained_total (\S+)$", metrics, re.MULTILINE)
        assert float(count) == 2 * len(abstained)
        lines = "".join(f"{text}\n" for text in texts).encode()
        table_of_file = list(csv.DictReader(io.StringIO(server.upload("texts.txt", lines).body.decode())))
        assert [row["predicted"] for row in table_of_file] == [answer[0]["label"] for answer in answers]
        assert all(bool(row["set"]) == (row["predicted"] == "abstain") for row in table_of_file)
