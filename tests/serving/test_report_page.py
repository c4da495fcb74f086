"""GET /report: the run's report, where the user has made one, in an origin of its own."""

import shutil
from pathlib import Path

import pytest

from accel_clf.reports.html.report import write_report
from tests.serving.harness import serving


def test_report_is_served_once_it_is_there(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCEL_CLF_API_KEY", "key")
    folder = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    key = {"Authorization": "Bearer key"}
    with serving(folder, tmp_path) as server:
        missing = server.request("GET", "/report", headers=key)
        assert missing.status == 404 and "accel-clf report" in missing.json["error"]
        assert b'href="report"' not in server.request("GET", "/", headers=key).body
        report = write_report(folder)
        assert server.request("GET", "/report").status == 401, "it has texts of the run's rows"
        response = server.request("GET", "/report", headers=key)
        assert (response.status, response.body) == (200, report.read_bytes())
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        assert b'href="report"' in server.request("GET", "/", headers=key).body
        if chromium := next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None):
            playwright = pytest.importorskip("playwright.sync_api")
            with playwright.sync_playwright() as driver:
                browser = driver.chromium.launch(executable_path=chromium, args=["--headless", "--no-sandbox"])
                page = browser.new_page(extra_http_headers=key)
                errors: list[str] = []
                page.on("pageerror", lambda error: errors.append(str(error)))
                page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
                page.goto(f"http://127.0.0.1:{server.port}/report")
                assert page.locator("[data-of=precision]").inner_text() != "–", "its script runs"
                assert page.evaluate("origin") == "null"
                assert errors == []
                browser.close()
