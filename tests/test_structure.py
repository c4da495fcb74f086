"""The house: packages in order, imports upward only, nothing heavy imported early, all settings files parse."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from accel_clf.config.load import load
from accel_clf.config.schema import settings
from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "accel_clf"
LONGEST_FILE = 330  # lines


def in_order(folder: Path) -> list[Path]:
    """A package's files in the order of the list in its docstring, sub-packages unfolded."""
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    files = []
    for name in re.findall(r"^(\w+) +\S", docstring.partition("\n\n")[2], re.MULTILINE):
        if (folder / name / "__init__.py").is_file():
            files += in_order(folder / name)
        elif (folder / f"{name}.py").is_file():
            files.append(folder / f"{name}.py")
    return files


HOUSE = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in in_order(PACKAGE)}


def imported_by(name: str) -> set[str]:
    """Modules of this package that a module imports, anywhere in it."""
    modules = set()
    for node in ast.walk(ast.parse(HOUSE[name].read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "accel_clf":
            base = (node.module or "").removeprefix("accel_clf").removeprefix(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".removeprefix(".")
                modules.add(inner if inner in HOUSE else base)
        elif isinstance(node, ast.Import):
            modules |= {alias.name.removeprefix("accel_clf.") for alias in node.names if "accel_clf." in alias.name}
    return modules - {""}


def test_every_file_is_listed_in_its_package() -> None:
    files = {path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}
    assert files == set(HOUSE.values())
    assert len([path for path in files if path.parent == PACKAGE]) < 6, "the root holds packages, not modules"


@pytest.mark.parametrize("name", HOUSE)
def test_imports_go_upward(name: str) -> None:
    """From files listed above only, so there is no circle."""
    above = set(list(HOUSE)[: list(HOUSE).index(name)])
    assert imported_by(name) <= above, f"{name} imports {sorted(imported_by(name) - above)} from below"


@pytest.mark.parametrize("name", HOUSE)
def test_files_are_short(name: str) -> None:
    assert len(HOUSE[name].read_text().splitlines()) <= LONGEST_FILE


def test_torch_xla_is_imported_where_it_is_selected() -> None:
    """At their tops only by files of strategies/xla, which others import inside functions only."""
    xla = [path for path in HOUSE.values() if path.parent.name == "xla"]
    heavy = {path for path in xla if re.search(r"^(import|from) torch_xla", path.read_text(), re.MULTILINE)}
    names = {name for name, path in HOUSE.items() if path in heavy}
    assert names == {f"strategies.xla.{name}" for name in ("spawn", "graphs", "base", "torch_xla", "accelerate")}
    for path in set(HOUSE.values()) - heavy:
        for node in ast.parse(path.read_text()).body:
            text = ast.unparse(node) if isinstance(node, ast.Import | ast.ImportFrom) else ""
            assert not re.match("(import|from) torch_xla", text), f"{path}: {text}"
            assert not any(f"accel_clf.{name} " in f"{text} " for name in names), f"{path}: {text}"


@pytest.mark.parametrize(
    "command", [[], ["train"], ["evaluate"], ["predict"], ["report"], ["compare"], ["serve"], ["doctor"]]
)
def test_help_needs_no_torch(command: list[str]) -> None:
    code = f"""
import sys
from accel_clf.cli.main import main
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


def test_the_process_that_speaks_http_needs_no_torch() -> None:
    """It would be 190 MB beside those of the model's process."""
    code = "import sys, accel_clf.serving.server; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_configs_parse(path: Path) -> None:
    assert load(path, {}).output.startswith("runs/")


@pytest.mark.parametrize("path", sorted((REPOSITORY / "accelerate_configs").glob("*.yaml")), ids=lambda path: path.name)
def test_accelerate_configs_parse(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    assert config.num_processes == yaml.safe_load(path.read_text())["num_processes"]
