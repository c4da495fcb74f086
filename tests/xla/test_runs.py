"""Runs on eight virtual cores, by both strategies, agree with one process that has the same global batches."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.conftest import REPOSITORY, make_bert, read_csv, write_csv
from tests.forked import command, run_forked


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """203 training rows of four widths, and 1,003 test rows: nothing divides these numbers."""
    from accel_clf.data.demo_corpus import reviews

    repeated = [
        (" ".join([text] * (1 + 2 * (index % 4) ** 2)), label) for index, (text, label) in enumerate(reviews(1206))
    ]
    folder = tmp_path_factory.mktemp("rows")
    return write_csv(folder / "train.csv", repeated[:203]), write_csv(folder / "test.csv", repeated[203:])


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory, rows: tuple[Path, Path]) -> Path:
    """One layer, so that its many graphs compile fast; no dropout."""
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    without_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return make_bert(tmp_path_factory.mktemp("encoder"), rows[0], 128, **shape, **without_dropout)


def train(output: Path, flags: list[str], variables: Mapping[str, str] = {}) -> str:
    """Train in a fork, with some more environment variables; return what it has logged."""
    work = command(["train", *flags, "--output", output])
    process = run_forked(work, output.parent, timeout=600, environment={**os.environ, **variables})
    assert process.returncode == 0, process.stderr
    return process.stderr


@pytest.fixture(scope="module")
def flags(rows: tuple[Path, Path], encoder: Path) -> list[str]:
    """Three epochs of 26 micro-batches, three per step: the last step of each epoch has two."""
    return [
        "--model.name", str(encoder), "--data.train", str(rows[0]), "--data.validation", "null",
        "--data.test", str(rows[1]), "--data.max_length", "128", "--training.epochs", "3",
        "--training.learning_rate", "1e-3", "--training.lr_scaling", "none", "--batch.accumulate", "3",
        "--data.near_duplicates", "false",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory, flags: list[str]) -> Path:
    """The run folder of one process, from a new interpreter: this environment's forks are set up for XLA."""
    output = tmp_path_factory.mktemp("one") / "run"
    flags = [*flags, "--batch.size", "8", "--training.precision", "fp32", "--output", str(output)]  # as virtual cores
    subprocess.run([sys.executable, "-m", "accel_clf.cli", "train", *flags], check=True, timeout=600, cwd=REPOSITORY)
    return output


@pytest.fixture(scope="module", params=["xla", "accelerate"])
def eight_cores(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, flags: list[str]
) -> tuple[Path, str]:
    """The run folder of eight cores, and what they have logged."""
    output = tmp_path_factory.mktemp(request.param) / "run"
    cores = ["--strategy", request.param, "--virtual_cores", "8", "--batch.size", "1"]
    return output, train(output, [*flags, *cores])


def metrics(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return content


def test_cores_end_with_the_same_weights(eight_cores: tuple[Path, str]) -> None:
    run, stderr = eight_cores
    assert "8 virtual XLA cores" in stderr
    assert f"all 8 ended with the same weights ({metrics(run)['training']['weights_at_the_end']})" in stderr
    assert json.loads((run / "environment.json").read_text())["processes"] == 8


def test_weights_agree_with_one_process(eight_cores: tuple[Path, str], one_process: Path) -> None:
    weights, expected = (load_file(run / "model" / "model.safetensors") for run in (eight_cores[0], one_process))
    assert max(float((weights[name] - expected[name]).abs().max()) for name in expected) < 1e-4


def test_last_step_with_fewer_micro_batches_is_not_lost(eight_cores: tuple[Path, str]) -> None:
    """203 rows are 26 batches of 8, which are 9 steps per epoch; each step reduces once."""
    results = metrics(eight_cores[0])
    hardware = results["hardware"]
    assert hardware["optimizer_steps"] == results["training"]["steps"] == 27
    assert hardware["gradient_reductions"] == 27


def test_every_row_is_evaluated_once(eight_cores: tuple[Path, str], one_process: Path) -> None:
    test_metrics, expected = (metrics(run)["test"] for run in (eight_cores[0], one_process))
    assert test_metrics["rows"] == 1003
    assert test_metrics["log_loss"] == pytest.approx(expected["log_loss"], abs=1e-4)
    rows, expected_rows = (read_csv(run / "predictions.csv") for run in (eight_cores[0], one_process))
    assert [int(row["row"]) for row in rows] == list(range(1003))
    pairs = list(zip(rows, expected_rows, strict=True))
    assert sum(row["predicted"] != expected["predicted"] for row, expected in pairs) <= 1  # a tie, in fp32
    assert max(abs(float(row["score"]) - float(expected["score"])) for row, expected in pairs) < 1e-4


def test_all_compiled_graphs_were_registered(eight_cores: tuple[Path, str]) -> None:
    run, stderr = eight_cores
    hardware = metrics(run)["hardware"]
    assert f"{hardware['programs_announced']} graphs, " in stderr
    assert hardware["programs_compiled"] <= hardware["programs_announced"]
    assert "warning" not in stderr


@pytest.fixture(scope="module", params=["xla", "accelerate"])
def two_precisions(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, rows: tuple[Path, Path], encoder: Path
) -> dict[str, Path]:
    """Folders of runs on two cores, in fp32 and in bf16, with `run` and the graphs that torch_xla has made."""
    flags = ["--model.name", str(encoder), "--data.train", str(rows[0]), "--data.max_length", "16"]
    flags += ["--data.validation", "0.1", "--strategy", request.param, "--virtual_cores", "2", "--batch.size", "8"]
    folders = {}
    for precision in ("fp32", "bf16"):
        folders[precision] = folder = tmp_path_factory.mktemp(f"{request.param}-{precision}")
        dump = f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={folder} --xla_dump_hlo_as_text"
        stderr = train(folder / "run", [*flags, "--training.precision", precision], {"XLA_FLAGS": dump})
        assert f", {precision} (as set)" in stderr
        assert "all 2 ended with the same weights" in stderr
    return folders


def instructions(folder: Path, name: str) -> list[str]:
    """The lines with an instruction of a name in all graphs, as torch_xla gives them to the compiler."""
    graphs = [path.read_text() for path in folder.glob("*.before_optimizations.txt")]
    return [line for graph in graphs for line in graph.splitlines() if f" {name}(" in line]


def test_bf16_is_autocast_over_float32_weights(two_precisions: dict[str, Path]) -> None:
    weights = {
        precision: load_file(folder / "run" / "model" / "model.safetensors")
        for precision, folder in two_precisions.items()
    }
    largest = max(float((weights["bf16"][name] - weights["fp32"][name]).abs().max()) for name in weights["fp32"])
    assert 0 < largest < 1e-3
    assert {str(tensor.dtype) for tensor in weights["bf16"].values()} == {"torch.float32"}


def test_fp32_multiplies_in_fp32_on_a_tpu(two_precisions: dict[str, Path]) -> None:
    products = {precision: instructions(folder, "dot") for precision, folder in two_precisions.items()}
    assert len(products["fp32"]) > 20
    assert all("operand_precision={highest,highest}" in line for line in products["fp32"])
    assert len(products["bf16"]) > 20
    assert not any("operand_precision" in line for line in products["bf16"])
    assert any("bf16[" in line for line in products["bf16"])


def test_collectives_have_32_bits(two_precisions: dict[str, Path]) -> None:
    """Of gradients, losses, logits, and of row ids, digests, steps and flags, which are int64 on the host."""
    for folder in two_precisions.values():
        reductions = instructions(folder, "all-reduce")
        types = {dtype for line in reductions for dtype in re.findall(r"(\w+)\[", line.partition(" all-reduce(")[0])}
        assert types == {"f32", "s32"}
        assert not instructions(folder, "all-gather")  # which torch_xla writes as a sum


def test_cores_end_when_standard_error_is_closed(tmp_path: Path, rows: tuple[Path, Path], encoder: Path) -> None:
    """Rank 0 then fails at its next line, and the other core must not wait for it."""
    flags = ["--model.name", str(encoder), "--data.train", str(rows[0]), "--data.max_length", "16"]
    flags += ["--strategy", "xla", "--virtual_cores", "2", "--output", str(tmp_path / "run")]
    program = [sys.executable, "-m", "accel_clf.cli", "train", *flags]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stderr
        assert any("virtual XLA cores" in line for line in process.stderr)
        process.stderr.close()
        try:
            assert process.wait(120) != 0
        finally:
            process.kill()


def test_process_that_has_trained_on_cores_refuses_to_predict(tmp_path: Path) -> None:
    """It says so: left to itself, it would wait for the other cores for ever."""
    script = """
import sys, accel_clf
flags = {"data": {"limit": 64}, "training": {"epochs": 1}, "evaluation": {"baseline": False}, "virtual_cores": 2}
run = accel_clf.train({**flags, "output": sys.argv[1]})
try:
    run.predict("a fine film")
except accel_clf.UserError as error:
    print(error.got)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("this process has trained on XLA cores")
