"""The README lists all settings, and commands that exist; `python -m tests.test_readme` (make readme) writes it."""

import re
import subprocess
import sys

from accel_clf.config.flags import settings_table
from accel_clf.config.schema import Config, ServeConfig, settings
from tests.conftest import REPOSITORY

README = REPOSITORY / "README.md"
CLI = [sys.executable, "-m", "accel_clf.cli", "--help"]
TABLE = re.compile(r"(<!-- (settings|serving): .*? -->\n).*?(<!-- end of \2 -->)", re.DOTALL)
MODELS = {"settings": Config, "serving": ServeConfig}


def with_tables(text: str) -> str:
    return TABLE.sub(lambda match: f"{match[1]}\n{settings_table(MODELS[match[2]])}\n\n{match[3]}", text)


def test_readme_lists_every_setting() -> None:
    text = README.read_text()
    assert with_tables(text) == text, "run `make readme`"
    assert all(f"`{name}`" in text for model in MODELS.values() for name, _ in settings(model))


def test_commands_in_the_readme_exist() -> None:
    in_readme = set(re.findall(r"^(?:cat .* \| )?accel-clf +(\w+)", README.read_text(), re.MULTILINE))
    commands = set(re.findall(r"^ {2,4}(\w+) ", subprocess.check_output(CLI, text=True), re.MULTILINE))
    assert {"train", "cv", "evaluate", "predict", "serve"} <= in_readme <= commands


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))
