"""Macs and Windows, as far as Linux can show: what is imported there, and what GitHub's runners run."""

import re
import subprocess
import sys

import pytest
import yaml

from tests.conftest import REPOSITORY

WORKFLOW = REPOSITORY / ".github" / "workflows" / "tests.yml"

# What Windows has not. Third parties tell systems apart by themselves, and are imported before it is taken away.
AS_ON_WINDOWS = """
import importlib, multiprocessing, os, pkgutil, pytest, re, signal, sys
for name in sys.argv[1].split():
    importlib.import_module(name)

for module, names in {
    os: "O_DIRECTORY fork forkpty getegid geteuid getgid getpgid getuid killpg mkfifo nice setsid wait wait3 wait4",
    signal: "SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGSTOP SIGUSR1 SIGUSR2 alarm pause pthread_kill setitimer sigwait",
}.items():
    for name in names.split():
        delattr(module, name)
for name in ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None
start_process = multiprocessing.get_context
multiprocessing.get_all_start_methods = lambda: ["spawn"]
multiprocessing.get_context = lambda method=None: start_process({None: "spawn", "spawn": "spawn"}[method])

import accel_clf, tests

for package in (accel_clf, tests):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not re.search(r"\\.xla\\.|\\.__main__$|\\.preload$", module.name):
            try:
                importlib.import_module(module.name)
            except pytest.skip.Exception as reason:
                print(module.name, reason)
"""
THIRD_PARTIES = (
    "accelerate cleanlab.filter datasets evaluate filelock flask hypothesis pandas playwright.sync_api "
    "prometheus_client psutil pydantic_settings rich.progress sklearn.metrics spectree torch.distributed.checkpoint "
    "torch.distributed.run transformers.models.auto.modeling_auto waitress"
)


@pytest.mark.skipif(sys.platform != "linux", reason="the simulation takes away what Linux has")
def test_package_and_tests_import_where_windows_lacks_modules() -> None:
    command = [sys.executable, "-c", AS_ON_WINDOWS, THIRD_PARTIES]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]


def test_workflow_runs_the_makefiles_commands() -> None:
    """On three systems, with actions of a major version, and tests that exist."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    encoder = re.search(r"^ENCODER := (.*)$", makefile, re.MULTILINE)
    assert encoder
    recipes = [
        line.strip().replace("$(BIN)/", "").replace("$(ENCODER)", encoder[1])
        for line in makefile.splitlines()
        if line.startswith("\t")
    ]
    job = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["quick"]
    assert {name.split("-")[0] for name in job["strategy"]["matrix"]["os"]} == {"ubuntu", "macos", "windows"}
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]) for step in job["steps"] if "uses" in step)
    *installs, tests = [step["run"] for step in job["steps"] if "run" in step]
    assert set(installs) <= set(recipes)
    paths = [word for word in tests.split() if word.startswith("tests/")]
    assert all((REPOSITORY / path).exists() for path in paths)
    variables = " ".join(f"{name}={job['env'][name]}" for name in ("HF_HUB_OFFLINE", "OMP_NUM_THREADS"))
    assert f"{variables} {tests.removesuffix(' '.join(paths)).strip()}" in recipes
