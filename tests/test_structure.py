"""The house: imports go upward only, nothing heavy is imported early, every file of settings parses."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from accel_clf.config import load, settings
from tests.conftest import REPOSITORY

# Top to bottom, as README's architecture section lists them: each may import those above it.
HOUSE = [
    "errors", "config", "arguments", "console", "hub",
    "data.demo", "data.files", "data.sources", "data.splits", "data.parts", "data.tokens", "data.order", "data.layouts",
    "model", "optim", "strategies.base", "strategies.accelerate",
    "metrics", "evaluate_module", "evaluation", "loop", "baseline", "folder", "report", "run",
    "serving.predictor", "doctor", "train", "cli",
]  # fmt: skip
PACKAGE = REPOSITORY / "accel_clf"


def modules() -> list[str]:
    found = [path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".") for path in PACKAGE.rglob("*.py")]
    return sorted(name for name in found if not name.endswith("__init__"))


def imported(name: str) -> set[str]:
    """Modules of this package that a module imports, anywhere in it."""
    tree = ast.parse((PACKAGE / f"{name.replace('.', '/')}.py").read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "accel_clf":
            base = (node.module or "").removeprefix("accel_clf").removeprefix(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".removeprefix(".")
                found.add(inner if inner in HOUSE else base)
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("accel_clf.") for alias in node.names if "accel_clf." in alias.name}
    return found - {""}


def test_the_house_is_complete() -> None:
    assert modules() == sorted(HOUSE)
    readme = (REPOSITORY / "README.md").read_text().partition("## Architecture")[2]
    places = [readme.index(f"{name.split('.')[-1]}.py ") for name in HOUSE]
    assert places == sorted(places), "README lists the files in another order"


@pytest.mark.parametrize("name", HOUSE)
def test_imports_go_upward(name: str) -> None:
    above = set(HOUSE[: HOUSE.index(name)])
    assert imported(name) <= above, f"{name} imports {sorted(imported(name) - above)} from below"


def test_nobody_imports_torch_xla() -> None:
    for path in PACKAGE.rglob("*.py"):
        names = {getattr(node, "module", None) or "" for node in ast.walk(ast.parse(path.read_text()))}
        names |= {a.name for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Import) for a in n.names}
        assert not any(name.startswith("torch_xla") for name in names), path


@pytest.mark.parametrize("command", [[], ["train"], ["evaluate"], ["predict"], ["doctor"]])
def test_help_needs_no_torch(command: list[str]) -> None:
    code = f"""
import sys
from accel_clf.cli import main
try:
    main({[*command, "--help"]})
finally:
    sys.stdout.flush()
    assert not {{"torch", "transformers", "datasets", "sklearn", "numpy"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "usage: accel-clf" in done.stdout
    if command == ["train"]:
        for name, field in settings():
            assert f"--{name}" in done.stdout
            assert " ".join((field.description or "").split()[:3]) in " ".join(done.stdout.split())


@pytest.mark.parametrize("path", sorted((REPOSITORY / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_configs_parse(path: Path) -> None:
    assert load(path, {}).output.startswith("runs/")


@pytest.mark.parametrize("path", sorted((REPOSITORY / "accelerate_configs").glob("*.yaml")), ids=lambda path: path.name)
def test_accelerate_configs_parse(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    assert config.num_processes == yaml.safe_load(path.read_text())["num_processes"]
