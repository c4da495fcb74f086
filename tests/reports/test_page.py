"""The report in Chromium without a network: used by keyboard, with texts that are hostile, and checked by axe-core."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from accel_clf.core.errors import ConfigError
from accel_clf.reports.html.report import write_report
from accel_clf.reports.page import spoken
from accel_clf.serving.live_report import LiveReport, make_server
from accel_clf.targets.base import Target
from accel_clf.targets.multi_label import MultiLabel
from accel_clf.targets.single_label import SingleLabel
from tests.reports.folders import TARGETS, write_run

playwright = pytest.importorskip("playwright.sync_api")

HOSTILE = (
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "]]><svg onload=\"document.title='owned'\">",
    '"><a href="javascript:document.title=\'owned\'">$x_2$ {{ 7*7 }}',
    "<!--<script>",
    "名 ​\u202e\u2028 \x07 \U0001f9e8",
)
LABELS = (*HOSTILE[:4], "fine")


class Visit:
    """A page without a network.

    Attributes:
        page: in the browser.
        requests: the addresses that it has asked.
        errors: what it has logged or thrown.
    """

    def __init__(self, browser: "playwright.Browser", file: Path, width: int = 1280, scheme: Any = "light") -> None:
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
        self.page = context.new_page()
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.goto(file.as_uri())
        assert self.requests == [file.as_uri()]
        assert self.errors == []


@pytest.mark.parametrize(
    "target", [SingleLabel(LABELS), MultiLabel(LABELS, separator="|")], ids=["single_label", "multi_label"]
)
def test_hostile_texts_are_inert(target: Target, browser: "playwright.Browser", tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", target, texts=HOSTILE, slices=HOSTILE[:2])
    visit = Visit(browser, write_report(folder))
    page = visit.page
    buttons = page.locator("button[data-cell]")
    for number in range(min(6, buttons.count())):
        buttons.nth(number).press("Enter")
        playwright.expect(page.locator("#cell li").first).to_be_visible()
        assert any(text.replace("\x07", "").strip()[:9] in page.locator("#cell").inner_text() for text in HOSTILE)
    page.locator("#threshold-label").select_option(index=1)
    page.locator("#errors-search").fill("<script>")
    page.wait_for_timeout(200)
    assert page.title() == "run · accel_clf"
    assert page.locator("main img, main a[href^='javascript'], main svg[onload]").count() == 0
    assert page.evaluate("document.scripts.length") == 2, "the data, and the page's own"
    assert visit.errors == [] and len(visit.requests) == 1


def test_by_keyboard(browser: "playwright.Browser", tmp_path: Path) -> None:
    """A cell opens its rows and gives the focus back; the slider's figures are those of the table."""
    folder = write_run(tmp_path / "run", TARGETS["multi_label"])
    page = Visit(browser, write_report(folder), width=390, scheme="dark").page
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    button = page.locator("#labels-table button[data-cell]").first
    button.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "cell"
    rows = int(button.inner_text())
    assert page.locator("#cell li").count() == min(10, rows)
    page.keyboard.press("Escape")
    playwright.expect(page.locator("#cell")).to_be_hidden()
    playwright.expect(button).to_be_focused()

    for row in page.locator("#labels-table tbody tr").all():
        cells = row.locator("th, td").all_inner_texts()
        page.locator("#threshold-label").select_option(label=cells[0])
        shown = {name: page.locator(f"[data-of={name}]").inner_text() for name in ("precision", "recall", "f1")}
        assert list(shown.values()) == [cell.split()[0] for cell in cells[1:4]]
        assert page.locator("#threshold-value").inner_text() == cells[-1].removesuffix("00")
        assert page.locator("[data-of=missed]").inner_text() == cells[6]
        assert page.locator("[data-of=wrong]").inner_text() == cells[7]
    page.locator("#threshold").focus()
    before = page.locator("#chart-threshold-marker path").get_attribute("d")
    page.keyboard.press("ArrowRight")
    assert page.locator("#threshold-value").inner_text() == "0.30"
    assert page.locator("#chart-threshold-marker path").get_attribute("d") != before
    page.locator("#errors-search").fill("row 7")
    shown_rows = page.locator("#errors tbody tr:visible").all_inner_texts()
    assert all("row 7" in text for text in shown_rows)
    assert page.locator("[data-count=errors]").inner_text().startswith(f"{len(shown_rows)} of ")


def test_large_matrix_by_filter(browser: "playwright.Browser", tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", SingleLabel(tuple(f"label {code}" for code in range(150))), rows=3000)
    page = Visit(browser, write_report(folder)).page
    assert page.locator("#matrix tbody tr").count() == 20
    page.locator("#matrix-filter").fill("label 14")
    assert page.locator("#matrix-note").inner_text() == "11 labels"  # 14 and 140 to 149
    assert page.locator("#matrix tbody tr").count() == page.locator("#matrix thead th").count() - 1 == 11
    page.locator("#matrix button[data-cell]").first.click()
    playwright.expect(page.locator("#cell")).to_contain_text(f"label {spoken('label 14')}")
    page.get_by_role("region", name="Most frequent confusions").locator("button").first.click()
    assert page.locator("#cell li").count() > 1
    page.locator("#matrix-filter").fill("")
    assert page.locator("#matrix tbody tr").count() == 20


LONG = ("L" * 5000, "a_label_of_some_forty_characters_in_one_word", "\u202eturned", "an ordinary one")
TABLES_BY_WIDTH = "all => all.map(one => [one.closest('[aria-label]')?.ariaLabel || one.id, one.offsetWidth])"


@pytest.mark.parametrize("target", [SingleLabel(LONG), MultiLabel(LONG, separator=";")], ids=["one", "several"])
def test_long_names_and_texts_leave_place_for_figures(
    target: Target, browser: "playwright.Browser", tmp_path: Path
) -> None:
    """On a screen of any width, and on paper, where what is wider than the page makes all of it smaller."""
    folder = write_run(tmp_path / "run", target, texts=["word " * 50, "x" * 900], slices=("", "s" * 300))
    file = write_report(folder)
    for width in (390, 1280):
        page = Visit(browser, file, width=width).page
        widths = dict(page.locator("table").evaluate_all(TABLES_BY_WIDTH))
        assert max(widths.values()) < 1300, widths
        figures = page.locator("#labels-table tbody tr").first.locator("td").first.bounding_box()
        assert figures and figures["x"] + figures["width"] <= width
        texts = page.locator("#errors td.text").evaluate_all("all => all.map(one => one.getBoundingClientRect())")
        assert texts and all(box["x"] + box["width"] <= width and box["width"] > 250 for box in texts)
        page.locator("#errors-search").fill("l" * 5000)  # which is in the title
        playwright.expect(page.locator("#errors tbody tr:visible").first).to_be_visible()
    page = Visit(browser, file, width=718).page
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") == 718
    playwright.expect(page.locator("#threshold-label")).to_be_visible()


def test_matrix_of_twenty_labels_fits_on_paper(browser: "playwright.Browser", tmp_path: Path) -> None:
    names = tuple(f"label_of_some_length_{code}" for code in range(20))
    page = Visit(browser, write_report(write_run(tmp_path / "run", SingleLabel(names), rows=30_000)), width=718).page
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") == 718
    cell = page.locator("#matrix button").first
    assert cell.evaluate("one => getComputedStyle(one).printColorAdjust") == "exact"


@pytest.mark.parametrize("target", [SingleLabel(LONG), MultiLabel(LONG, separator=";")], ids=["one", "several"])
def test_names_turn_nothing_around(target: Target, browser: "playwright.Browser", tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", target, texts=["\u202eturned, too"])
    page = Visit(browser, write_report(folder)).page
    for button in page.locator("button[data-cell]").all()[:9]:
        button.click()
        row = page.locator("#cell li").first
        assert not {"\u202e"} & set(page.locator("#cell strong, #cell small").all_inner_texts()[0])
        assert row.locator("> bdi").count() == 1 and row.locator("small bdi").count() == 2


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing(kind: str, scheme: Any, width: int, browser: "playwright.Browser", tmp_path: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    file = write_report(write_run(tmp_path / "run", TARGETS[kind]))
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True, bypass_csp=True
    )
    page = context.new_page()
    page.goto(file.as_uri())
    if (button := page.locator("button[data-cell]").first).count():
        button.click()
    violations = axe.Axe().run(page).response["violations"]
    assert [(of["id"], of["impact"], of["nodes"][0]["html"]) for of in violations] == []
    context.close()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """An unfinished run, and the address of its live report."""
    folder = write_run(tmp_path / "run", TARGETS["single_label"], finished=False)
    server = make_server(LiveReport(folder, with_texts=True), 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def read(address: str, **headers: str) -> str:
    with urlopen(Request(address, headers=headers), timeout=60) as response:
        text: str = response.read().decode()
    return text


def test_live_report_follows_the_run(live: tuple[Path, str]) -> None:
    folder, address = live
    assert "200 steps have been logged" in read(address)
    with (folder / "metrics.jsonl").open("a") as log:
        log.write('{"event": "train", "epoch": 2, "step": 210, "rate": 0.001, "loss": 0.1, "rows_per_second": 9.0}\n')
    assert "210 steps have been logged" in read(address)
    assert read(address) == read(address), "it is not rendered again"
    with urlopen(Request(address, method="HEAD"), timeout=60) as response:
        assert (response.status, response.read()) == (200, b"")
        assert int(response.headers["Content-Length"]) == len(read(address).encode())


def test_live_report_is_for_this_machine(live: tuple[Path, str]) -> None:
    """Neither other paths and methods, nor names by which another site's page could reach it."""
    _, address = live
    for path, options in (("/config.yaml", {}), ("/..", {}), ("/", {"Host": "evil.example"})):
        with pytest.raises(HTTPError) as refused:
            read(address + path, **options)
        assert refused.value.code in (403, 404)
        refused.value.close()
    with pytest.raises(HTTPError) as refused:
        urlopen(Request(address, data=b"x", method="POST"), timeout=60)
    assert refused.value.code == 501
    refused.value.close()
    with pytest.raises(ConfigError, match="port"):
        make_server(LiveReport(Path("x"), with_texts=True), int(address.rpartition(":")[2]))


def test_live_page_reloads_itself(
    live: tuple[Path, str], browser: "playwright.Browser", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accel_clf.reports.html.report.RELOAD_SECONDS", 1)
    folder, address = live
    page = browser.new_page()
    page.goto(address)
    playwright.expect(page.get_by_text("200 steps have been logged")).to_be_visible()
    shutil.rmtree(folder)
    write_run(folder, TARGETS["single_label"])
    playwright.expect(page.get_by_role("heading", name="Confusion matrix")).to_be_visible(timeout=20_000)
    assert page.evaluate("document.body.dataset.reload") is None, "the run is finished"
    page.close()
