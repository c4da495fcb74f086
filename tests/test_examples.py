"""The scripts in examples/ run as they stand, offline, and print what they should."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, write_csv

EXAMPLES = REPOSITORY / "examples"
LONGEST_SCRIPT = 40  # lines
TIMEOUT = 400  # seconds, on a busy machine; each takes 5 to 20 on an idle one


def run_example(name: str, *args: object, launcher: tuple[str, ...] = ()) -> str:
    """Run a script from the repository's root; return what it prints on standard output."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launcher, str(EXAMPLES / name), *map(str, args)],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=TIMEOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def accuracies(output: str) -> list[float]:
    return [float(value) for value in re.findall(r"accuracy (\d\.\d{4})", output)]


def test_each_is_tested_here_and_short() -> None:
    scripts = {path.name: path.read_text() for path in EXAMPLES.iterdir() if path.is_file()}
    tested = set(re.findall(r'run_example\(\s*"(\w+\.py)"', Path(__file__).read_text()))
    assert set(scripts) == tested
    for name, text in scripts.items():
        assert len(text.splitlines()) <= LONGEST_SCRIPT, name
        docstring = text.split('"""')[1]
        assert f"examples/{name}" in docstring, f"{name} does not say how to run it"


def test_train_from_python(tmp_path: Path) -> None:
    output = run_example("train_from_python.py", tmp_path / "run")
    assert len(re.findall(r"^(?:positive|negative)  [01]\.\d{4}  \w", output, re.MULTILINE)) == 2
    assert accuracies(output)[0] > 0.7
    assert f"run folder: {tmp_path / 'run'}" in output
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


def test_own_csv(tmp_path: Path) -> None:
    """With files of its own, and with the user's."""
    output = run_example("own_csv.py", tmp_path / "run")
    validation, test = accuracies(output)
    assert validation > 0.6
    assert 0 <= test <= 1
    assert f"{tmp_path / 'new_reviews.csv'}: accuracy" in output
    rows = [(f"{word} {number}", stars) for number in range(20) for word, stars in (("good", "5"), ("bad", "1"))]
    mine = write_csv(tmp_path / "mine.csv", rows, ("body", "stars"))
    output = run_example("own_csv.py", tmp_path / "mine", "--train", mine, "--test", mine)
    assert f"{mine}: accuracy" in output


def test_cross_validation(tmp_path: Path) -> None:
    output = run_example("cross_validation.py", tmp_path / "cv")
    mean, out_of_fold = accuracies(output)
    assert mean == pytest.approx(out_of_fold, abs=1e-4)  # folds of the same size
    assert mean > 0.6
    assert re.search(r"^\d+ rows whose label is doubted", output, re.MULTILINE)
    assert re.search(r"^the three models together: (positive|negative) [01]\.\d{4}$", output, re.MULTILINE)
    assert (tmp_path / "cv" / "fold-2" / "metrics.json").is_file()


def test_serve_and_ask(tmp_path: Path) -> None:
    output = run_example("serve_and_ask.py", tmp_path / "run")
    assert len(re.findall(r"^(?:positive|negative)  [01]\.\d{4}  i ", output, re.MULTILINE)) == 2
    assert output.endswith("the server ended with exit code 0\n")


def test_several_processes(tmp_path: Path) -> None:
    """One process prints, and the result is that of both."""
    launcher = ("-m", "accelerate.commands.launch", "--config_file", "accelerate_configs/multi_cpu.yaml")
    output = run_example("several_processes.py", tmp_path / "run", launcher=launcher)
    assert re.fullmatch(r"2 processes: accuracy \d\.\d{4} on 1000 rows\nlabels: \w+, \w+\n", output)
    assert accuracies(output)[0] > 0.7
