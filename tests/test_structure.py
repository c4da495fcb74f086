"""The house: imports go upward only, nothing heavy is imported early, every file of settings parses."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from accel_clf.config import load, settings
from tests.conftest import REPOSITORY

# Top to bottom, as README's architecture section lists them: each may import those above it.
HOUSE = [
    "process", "errors", "config", "arguments", "console", "interruption", "hub",
    "data.demo", "data.files", "data.sources", "data.splits", "data.parts", "data.tokens", "data.order", "data.layouts",
    "dropout", "embeddings", "model", "packing", "optim",
    "strategies.base", "strategies.accelerate", "strategies.virtual_xla", "strategies.cores", "strategies.xla",
    "strategies.accelerate_xla", "strategies.launch",
    "metrics", "evaluate_module", "evaluation", "loop", "job", "programs", "baseline", "checkpoint",
    "folder", "answers", "resume", "report", "run", "calibration", "out_of_fold", "crossval",
    "parity", "serving.fused", "serving.predictor", "serving.worker", "serving.batcher", "serving.service",
    "serving.observed", "serving.schema", "serving.table", "serving.occlusion", "serving.app", "serving.server",
    "doctor", "train", "cv", "cli",
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
    listed = [re.search(rf"^ *{name.split('.')[-1]}\.py ", readme, re.MULTILINE) for name in HOUSE]
    places = [found.start() for found in listed if found]
    assert len(places) == len(HOUSE), "README leaves files out"
    assert places == sorted(places), "README lists the files in another order"


@pytest.mark.parametrize("name", HOUSE)
def test_imports_go_upward(name: str) -> None:
    above = set(HOUSE[: HOUSE.index(name)])
    assert imported(name) <= above, f"{name} imports {sorted(imported(name) - above)} from below"


def test_torch_xla_is_imported_where_it_is_selected() -> None:
    """At their tops only by the files of its strategies, which others import inside functions only."""
    own = {"cores", "xla", "accelerate_xla"}
    for path in PACKAGE.rglob("*.py"):
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {getattr(node, "module", None) or "" for node in top} | {a.name for node in top for a in node.names}
        wanted = {name for name in names if name.split(".")[0] == "torch_xla" or name.split(".")[-1] in own}
        assert not wanted or path.stem in own, f"{path} imports {wanted}"


@pytest.mark.parametrize("command", [[], ["train"], ["evaluate"], ["predict"], ["serve"], ["doctor"]])
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
