"""The pictures of the documentation: the report, the comparison and the server's page, as they are today.

    python -m benchmarks.screenshots [--runs FOLDER]

Trains the demo's encoder twice on the demo's texts (minutes on a CPU; not again where FOLDER has the runs), and writes
docs/report.png, docs/compare.png and docs/page.png. Needs Chromium, playwright and Pillow.
"""

import argparse
import csv
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image

from accel_clf.data.demo_corpus import reviews

DOCS = Path(__file__).resolve().parents[1] / "docs"
ROWS, TEST_ROWS = 8000, 1000
WIDTH, PORT, COLOURS = 1000, 8099, 255
TEXT = "my aunt called the film superb, but i found the plot tedious."
NEGATIONS = {"not", "never"}


def main() -> None:
    """Train, render and photograph."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, help="where the runs are, or are to be (default: a temporary folder)")
    runs = parser.parse_args().runs
    if runs:
        runs.mkdir(parents=True, exist_ok=True)
        photograph(runs.resolve())
    else:
        with tempfile.TemporaryDirectory() as folder:
            photograph(Path(folder))


def photograph(folder: Path) -> None:
    """Write all pictures.

    Args:
        folder: for runs and pages; runs that it has are taken as they are.
    """
    write_rows(folder / "reviews.csv", 0, ROWS)
    write_rows(folder / "test.csv", ROWS, TEST_ROWS)
    for name, epochs in (("short", 2), ("long", 4)):
        settings = ["--data.test", "test.csv", "--data.slice", "negated", "--data.near_duplicates", "false"]
        command(folder, "train", "reviews.csv", "--model", "demo", "--epochs", epochs, *settings, "--output", name)
    command(folder, "report", "long", "--output", "report.html")
    command(folder, "compare", "short", "long", "--require", "accuracy not worse by 0.01", "--output", "compare.html")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        browser = driver.chromium.launch(executable_path=chromium, args=["--headless", "--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 1100}, color_scheme="light")
        for name in ("report", "compare"):
            page.goto((folder / f"{name}.html").as_uri())
            save(page, DOCS / f"{name}.png")
        photograph_server(folder, page)
        browser.close()


def photograph_server(folder: Path, page: Any) -> None:
    """Use the server's page as a person does, and photograph it."""
    words = [sys.executable, "-m", "accel_clf.cli", "serve", "long", "--port", str(PORT)]
    server = subprocess.Popen(words, cwd=folder)
    try:
        address = f"http://127.0.0.1:{PORT}"
        wait_for(f"{address}/health/ready")
        page.goto(address)
        page.fill("#text", TEXT)
        page.get_by_role("button", name="Label it").click()
        page.get_by_role("button", name="Which words matter?").click()
        page.locator("#parts span").first.wait_for()
        save(page, DOCS / "page.png")
    finally:
        server.terminate()
        server.wait()


def write_rows(path: Path, start: int, count: int) -> None:
    """Write reviews of the demo's corpus, with a column that says whether anything is negated in them."""
    rows = list(reviews(start + count))[start:]
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["text", "label", "negated"])
        for text, label in rows:
            lines.writerow([text, label, "yes" if NEGATIONS & set(text.split()) else "no"])


def command(folder: Path, *words: object) -> None:
    """Run `accel-clf` in a folder."""
    subprocess.run([sys.executable, "-m", "accel_clf.cli", *map(str, words)], cwd=folder, check=True)


def wait_for(address: str, seconds: float = 120.0) -> None:
    """Wait until an address answers."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def save(page: Any, path: Path) -> None:
    """Photograph what a window shows, in few colours, so that the file is small."""
    page.screenshot(path=str(path))
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(COLOURS)
    small.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1000} kB, {small.size[0]} x {small.size[1]}")


if __name__ == "__main__":
    main()
