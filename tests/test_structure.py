"""The house: imports go upward only, nothing heavy is imported early, every file of settings parses."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from accel_clf.config.schema import load, settings
from tests.conftest import REPOSITORY

# Top to bottom: each may import those above it.
HOUSE = [
    "core.process_env", "core.errors", "config.schema", "config.flags", "core.console", "core.signals",
    "core.hub_errors", "data.demo_corpus", "data.readers", "data.dataset", "data.splitting", "data.splits",
    "data.tokenization", "data.sampling", "data.collate", "models.kernels.dropout", "models.kernels.embedding_grad",
    "models.loading", "models.packed", "training.optim", "strategies.base", "strategies.accelerate",
    "strategies.xla.virtual", "strategies.xla.base", "strategies.xla.torch_xla", "strategies.xla.accelerate",
    "strategies.launch", "targets.metrics", "evaluate_module", "inference.evaluate", "training.loop",
    "training.prepare", "training.precompile", "training.baseline", "training.checkpoint", "run_folder.layout",
    "run_folder.predictions", "training.resume", "reports.text", "training.trainer", "targets.calibration",
    "cross_validation.aggregate", "cross_validation.run", "training.parity", "models.kernels.fused_inference",
    "inference.predictor", "serving.worker", "serving.batcher", "serving.service", "serving.prometheus",
    "serving.schema", "serving.file_upload", "serving.occlusion", "serving.app", "serving.server", "cli.doctor",
    "train", "cv", "cli.main", "cli.__main__",
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


@pytest.mark.parametrize("name", HOUSE)
def test_imports_go_upward(name: str) -> None:
    above = set(HOUSE[: HOUSE.index(name)])
    assert imported(name) <= above, f"{name} imports {sorted(imported(name) - above)} from below"


def test_torch_xla_is_imported_where_it_is_selected() -> None:
    """At their tops only by the files of its strategies, which others import inside functions only."""
    own = {
        "accel_clf/strategies/xla/base.py",
        "accel_clf/strategies/xla/torch_xla.py",
        "accel_clf/strategies/xla/accelerate.py",
    }
    for path in PACKAGE.rglob("*.py"):
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {getattr(node, "module", None) or "" for node in top} | {a.name for node in top for a in node.names}
        wanted = {
            name
            for name in names
            if name.split(".")[0] == "torch_xla" or name.startswith("accel_clf.strategies.xla.base")
        }
        assert not wanted or path.relative_to(REPOSITORY).as_posix() in own, f"{path} imports {wanted}"


@pytest.mark.parametrize("command", [[], ["train"], ["evaluate"], ["predict"], ["serve"], ["doctor"]])
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
