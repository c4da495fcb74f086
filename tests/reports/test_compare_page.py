"""The page of `accel-clf compare` in Chromium: complete, accessible, on its own, and deaf to what texts say."""

import re
from pathlib import Path

import pytest

from accel_clf.cli.main import main
from tests.conftest import write_csv
from tests.reports.run_folders import make_run

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
pytest.importorskip("matplotlib")

SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"></table></section>"
SLICES = (f"de {SCRIPT}", "en & fr", f"de {SCRIPT}", "en & fr", "")
LABELS = ("good", f"bad {SCRIPT}", "$x^{")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs, a cross-validation twice, and their pages; texts, labels and slices are scripts."""
    folder = tmp_path_factory.mktemp("page")
    lines = [(f"{SCRIPT} {'x' * 3000} row {number}", LABELS[number % 3], SLICES[number % 5]) for number in range(240)]
    rows = write_csv(folder / "rows.csv", lines, ("text", "label", "lang"))
    for name, noise in (("a", 0.1), ("b", 0.2), ("c", 3.0)):
        make_run(folder / name, rows, noise, slice="lang")
        make_run(folder / f"cv-{name}", rows, noise, folds=4, slice="lang")
    runs = [str(folder / name) for name in "abc"]
    claims = ["--require", "accuracy not worse by 0.05", "--require", "lang=en & fr: macro_f1 better by 0"]
    assert main(["compare", *runs, *claims, "--output", str(folder / "compare.html")]) == 3
    assert main(["compare", *runs[:2], "--texts", "none", "--output", str(folder / "none.html")]) == 0
    folds = [str(folder / name) for name in ("cv-a", "cv-c")]
    assert main(["compare", *folds, "--output", str(folder / "folds.html")]) == 0
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["compare", "none", "folds"])
def test_page(name: str, scheme: str, folder: Path, browser: "playwright.Browser") -> None:
    """On a phone: nothing runs, nothing is asked for, nothing is too wide, and axe-core has no complaint."""
    page = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme=scheme).new_page()
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((folder / f"{name}.html").as_uri())
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    assert page.title() != "owned"
    assert requests == [(folder / f"{name}.html").as_uri()]
    assert errors == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator("script, img").count() == 0
    violations = axe.Axe().run(page).response["violations"]
    assert [(item["id"], item["nodes"][0]["html"]) for item in violations] == []
    page.context.close()


def test_content(folder: Path, browser: "playwright.Browser") -> None:
    page = browser.new_page()
    page.goto((folder / "compare.html").as_uri())
    headings = page.locator("h2").all_inner_texts()
    assert headings[:2] == ["Requirements", "All runs"]
    assert [heading.split(" beside ")[0] for heading in headings[2:4]] == [str(folder / name) for name in "bc"]
    assert "NOT MET" in page.locator("#requirements").inner_text()
    rows = page.locator("#run-2 td.text").all_text_contents()
    assert rows
    assert all(row.startswith(SCRIPT) and len(row) <= 301 for row in rows)
    assert page.locator("#run-2 svg[role=img]").count() == 2
    assert page.locator("#run-2").get_by_text(LABELS[2]).count() > 0
    assert (folder / "compare.html").stat().st_size < 300_000
    page.close()


def test_what_is_seen_on_a_phone(folder: Path, browser: "playwright.Browser") -> None:
    """Each claim's outcome and how many rows are listed, without scrolling to the side."""
    page = browser.new_page(viewport={"width": 390, "height": 740})
    page.goto((folder / "compare.html").as_uri())
    for cell in page.locator("#requirements td:nth-child(-n+3), #requirements th:nth-child(-n+3)").all():
        box = cell.bounding_box()
        assert box
        assert box["x"] + box["width"] <= 390
    counts = page.get_by_text(re.compile(r"^\d+ of \d+ rows: ")).all()
    assert counts
    for line in counts:
        assert line.evaluate("of => of.closest('.scroll')") is None
    page.close()


def test_an_empty_slice_has_a_name(folder: Path, browser: "playwright.Browser") -> None:
    page = browser.new_page()
    page.goto((folder / "folds.html").as_uri())
    names = page.locator("#run-1 th[scope=row]").all_text_contents()
    assert "(empty)" in names
    assert all(names)
    assert page.locator("#run-1 svg").get_by_text("(empty)").count() == 1
    page.close()


def test_texts_stay_at_home(folder: Path) -> None:
    assert "xxxx" in (folder / "compare.html").read_text()
    assert "xxxx" not in (folder / "none.html").read_text()


def test_same_runs_same_page(folder: Path) -> None:
    before = (folder / "folds.html").read_bytes()
    runs = [str(folder / name) for name in ("cv-a", "cv-c")]
    assert main(["compare", *runs, "--output", str(folder / "folds.html")]) == 0
    assert (folder / "folds.html").read_bytes() == before
    assert re.search(r"corrected resampled t-test", before.decode())
