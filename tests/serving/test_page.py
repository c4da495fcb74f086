"""The web page in Chromium, used as a person does."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import accel_clf
from accel_clf.config.load import load
from accel_clf.training.run import train
from tests.conftest import write_csv
from tests.pair_forms import make_encoder, settings, write_pairs
from tests.serving.harness import Server, serving

playwright = pytest.importorskip("playwright.sync_api")

SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, reviews: Path) -> Iterator[Server]:
    """A server of a run with a label that is a script."""
    folder = tmp_path_factory.mktemp("page")
    with reviews.open(encoding="utf-8") as file:
        rows = [(row["text"], SCRIPT if row["label"] == "positive" else "bad") for row in csv.DictReader(file)][:64]
    data = write_csv(folder / "rows.csv", rows)
    flags = {"model": {"name": str(tiny_bert)}, "data": {"train": str(data), "validation": None, "max_length": 64}}
    train(load(None, {**flags, "output": str(folder / "run")}))
    with serving(folder / "run", folder) as server:
        yield server


@pytest.fixture
def page(browser: "playwright.Browser", server: Server) -> Iterator["playwright.Page"]:
    """The page on a phone's screen; at the end, it must have logged no errors and contacted no other host."""
    context = browser.new_context(viewport={"width": 360, "height": 740}, accept_downloads=True)
    page = context.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]) if "//" in request.url else None)
    page.goto(f"http://127.0.0.1:{server.port}/")
    yield page
    assert page.title() != "owned"
    assert hosts == {f"127.0.0.1:{server.port}"}
    assert [text for text in errors if not text.startswith("Failed to load resource")] == []
    context.close()


def test_text_by_keyboard(page: "playwright.Page", server: Server) -> None:
    """The text field has the focus from the start."""
    assert "2 labels · up to 64 tokens" in page.inner_text("body")
    page.keyboard.type("i never thought the soup was dull.")
    page.keyboard.press("Control+Enter")
    playwright.expect(page.locator("#answer")).to_be_visible()
    prediction = server.predict("i never thought the soup was dull.").json[0]
    assert page.locator("#label").inner_text() == prediction[0]["label"]
    assert page.locator("#scores li").count() == 2
    percentages = [f"{100 * item['score']:.1f}%" for item in prediction]
    assert page.locator("#scores .value").all_inner_texts() == percentages
    assert re.fullmatch(r"\d+ ms", page.locator("#time").inner_text())
    playwright.expect(page.locator("#cut")).to_be_hidden()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#parts")).to_have_text("i never thought the soup was dull.")
    assert page.locator("#parts span").count() == 7
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than a phone"


def test_long_text_is_reported_as_truncated(page: "playwright.Page") -> None:
    page.fill("#text", "dull film " * 200)
    page.get_by_role("button", name="Label it").click()
    playwright.expect(page.locator("#cut")).to_be_visible()


def test_scripts_in_texts_and_labels_are_not_run(page: "playwright.Page") -> None:
    page.fill("#text", SCRIPT)
    page.get_by_role("button", name="Label it").click()
    playwright.expect(page.locator("#scores")).to_contain_text(SCRIPT)
    page.get_by_role("button", name="Which words matter?").click()
    playwright.expect(page.locator("#parts")).to_have_text(SCRIPT)
    assert page.locator("#answer script, #answer img, #words script, #words img").count() == 0


def test_file_upload(page: "playwright.Page", server: Server, tmp_path: Path) -> None:
    rows = [(f"the film number {number} is dull", str(number)) for number in range(300)] + [(SCRIPT, "x")]
    path = write_csv(tmp_path / "films.csv", rows, ("review", "id"))
    page.set_input_files("#file", path)
    page.fill("#column", "text")
    page.get_by_role("button", name="Label the file").click()
    playwright.expect(page.locator("#error")).to_contain_text("no column 'text'")
    page.fill("#column", "review")
    page.get_by_role("button", name="Label the file").click()
    playwright.expect(page.locator("#rows")).to_have_text("301 rows labelled.")
    playwright.expect(page.locator("#error")).to_be_hidden()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download it").click()
    assert download.value.suggested_filename == "films-labelled.csv"
    with Path(download.value.path()).open(encoding="utf-8", newline="") as file:
        labelled = list(csv.DictReader(file))
    assert [(row["review"], row["id"]) for row in labelled] == rows
    assert labelled[-1]["predicted"] == server.predict(SCRIPT).json[0][0]["label"]


def test_pair_of_texts(browser: "playwright.Browser", tmp_path: Path) -> None:
    """Has a box for each text, which are labelled, explained and read from a file together."""
    data = write_pairs(tmp_path / "pairs.csv")
    run = accel_clf.train(settings(tmp_path, make_encoder(tmp_path / "bert", "bert"), data))
    with serving(run.path, tmp_path) as server:
        page = browser.new_page(viewport={"width": 360, "height": 740})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.fill("#text", "two dogs")
        page.fill("#pair", "an animal moves")
        page.keyboard.press("Control+Enter")
        playwright.expect(page.locator("#answer")).to_be_visible()
        [prediction] = server.predict([["two dogs", "an animal moves"]]).json
        assert page.locator("#label").inner_text() == prediction[0]["label"]
        page.get_by_role("button", name="Which words matter?").click()
        playwright.expect(page.locator("#parts")).to_have_text("two dogs")
        playwright.expect(page.locator("#pair-parts")).to_have_text("an animal moves")
        page.set_input_files("#file", data)
        page.get_by_role("button", name="Label the file").click()
        playwright.expect(page.locator("#rows")).to_have_text("90 rows labelled.")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than a phone"
        assert errors == []


def test_unreachable_server_is_reported(page: "playwright.Page") -> None:
    page.route("**/predict", lambda route: route.abort())
    page.fill("#text", "dull")
    page.get_by_role("button", name="Label it").click()
    playwright.expect(page.locator("#error")).to_contain_text("does not answer")
    page.unroute("**/predict")


def test_api_docs(page: "playwright.Page") -> None:
    page.get_by_role("link", name="API").click()
    playwright.expect(page.locator(".opblock-summary-path").first).to_be_visible()
    assert page.locator(".opblock").count() >= 7
