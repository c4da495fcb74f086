"""The README's table of settings is config.py's; `python -m tests.test_readme` (make readme) writes it."""

import re
import subprocess
import sys

from accel_clf.config import settings, settings_table
from tests.conftest import REPOSITORY

README = REPOSITORY / "README.md"
CLI = [sys.executable, "-m", "accel_clf.cli", "--help"]
TABLE = re.compile(r"(<!-- settings: .*? -->\n).*?(<!-- end of settings -->)", re.DOTALL)


def with_table(text: str) -> str:
    return TABLE.sub(lambda found: f"{found[1]}\n{settings_table()}\n\n{found[2]}", text)


def test_every_setting_is_in_the_readme() -> None:
    text = README.read_text()
    assert with_table(text) == text, "run `make readme`"
    assert all(f"`{name}`" in text for name, _ in settings())


def test_every_command_in_the_readme_exists() -> None:
    shown = set(re.findall(r"^(?:cat .* \| )?accel-clf +(\w+)", README.read_text(), re.MULTILINE))
    commands = set(re.findall(r"^ {2,4}(\w+) ", subprocess.check_output(CLI, text=True), re.MULTILINE))
    assert {"train", "cv", "evaluate", "predict"} <= shown <= commands


if __name__ == "__main__":
    README.write_text(with_table(README.read_text()))
