"""Whole runs on eight virtual cores, by both strategies, beside one process with the same global batches."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.conftest import REPOSITORY, make_bert, write_csv
from tests.forked import command, run_forked


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """203 training rows of four widths, and 1,003 to measure on: numbers that nothing divides."""
    from accel_clf.data.demo_corpus import reviews

    found = list(reviews(1206))
    long = [(" ".join([text] * (1 + 2 * (place % 4) ** 2)), label) for place, (text, label) in enumerate(found)]
    folder = tmp_path_factory.mktemp("rows")
    return write_csv(folder / "train.csv", long[:203]), write_csv(folder / "test.csv", long[203:])


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory, rows: tuple[Path, Path]) -> Path:
    """One layer, so that its many programs compile soon; no dropout."""
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    without_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return make_bert(tmp_path_factory.mktemp("encoder"), rows[0], 128, **shape, **without_dropout)


def train(output: Path, flags: list[str]) -> str:
    """What was said."""
    done = run_forked(command(["train", *flags, "--output", output]), output.parent, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def flags(rows: tuple[Path, Path], encoder: Path) -> list[str]:
    """Three epochs of 26 micro-batches, in steps of three: the last of each epoch has two."""
    return [
        "--model.name", str(encoder), "--data.train", str(rows[0]), "--data.validation", "null",
        "--data.test", str(rows[1]), "--data.max_length", "128", "--training.epochs", "3",
        "--training.learning_rate", "1e-3", "--training.lr_scaling", "none", "--batch.accumulate", "3",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, flags: list[str]) -> Path:
    """An interpreter of its own: the forks here are ready for XLA."""
    output = tmp_path_factory.mktemp("one") / "run"
    flags = [*flags, "--batch.size", "8", "--training.precision", "fp32", "--output", str(output)]  # as virtual cores
    subprocess.run([sys.executable, "-m", "accel_clf.cli", "train", *flags], check=True, timeout=600, cwd=REPOSITORY)
    return output


@pytest.fixture(scope="module", params=["xla", "accelerate"])
def eight(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, flags: list[str]
) -> tuple[Path, str]:
    """The run folder, and what was said."""
    output = tmp_path_factory.mktemp(request.param) / "run"
    cores = ["--strategy", request.param, "--virtual_cores", "8", "--batch.size", "1"]
    return output, train(output, [*flags, *cores])


def metrics(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return found


def test_eight_cores_end_alike(eight: tuple[Path, str]) -> None:
    run, said = eight
    assert "8 virtual XLA cores" in said
    assert f"all 8 ended with the same weights ({metrics(run)['training']['weights_at_the_end']})" in said
    assert json.loads((run / "environment.json").read_text())["processes"] == 8


def test_eight_cores_follow_one_process(eight: tuple[Path, str], one: Path) -> None:
    mine, others = (load_file(run / "model" / "model.safetensors") for run in (eight[0], one))
    assert max(float((mine[name] - others[name]).abs().max()) for name in others) < 1e-4


def test_no_accumulation_tail_is_lost(eight: tuple[Path, str]) -> None:
    """203 rows in batches of 8 are 26, and these 9 steps an epoch; each step reduces once."""
    hardware = metrics(eight[0])["hardware"]
    assert hardware["optimizer_steps"] == metrics(eight[0])["training"]["steps"] == 27
    assert hardware["gradient_reductions"] == 27


def test_every_row_is_measured_once(eight: tuple[Path, str], one: Path) -> None:
    measured, right = (metrics(run)["test"] for run in (eight[0], one))
    assert measured["rows"] == 1003
    assert measured["log_loss"] == pytest.approx(right["log_loss"], abs=1e-4)
    with (eight[0] / "predictions.csv").open() as file, (one / "predictions.csv").open() as other:
        mine, others = list(csv.DictReader(file)), list(csv.DictReader(other))
    assert [int(row["row"]) for row in mine] == list(range(1003))
    assert sum(a["predicted"] != b["predicted"] for a, b in zip(mine, others, strict=True)) <= 1  # a tie, in fp32
    assert max(abs(float(a["score"]) - float(b["score"])) for a, b in zip(mine, others, strict=True)) < 1e-4


def test_as_many_programs_as_announced(eight: tuple[Path, str]) -> None:
    run, said = eight
    hardware = metrics(run)["hardware"]
    assert f"{hardware['programs_announced']} graphs, " in said
    assert hardware["programs_compiled"] <= hardware["programs_announced"]
    assert "warning" not in said


@pytest.mark.parametrize("strategy", ["xla", "accelerate"])
def test_bf16_is_autocast_over_float32_weights(
    tmp_path: Path, rows: tuple[Path, Path], encoder: Path, strategy: str
) -> None:
    flags = ["--model.name", str(encoder), "--data.train", str(rows[0]), "--data.max_length", "16"]
    flags += ["--data.validation", "null", "--strategy", strategy, "--virtual_cores", "2", "--batch.size", "8"]
    ends = {}
    for precision in ("fp32", "bf16"):
        output = tmp_path / precision
        said = train(output, [*flags, "--training.precision", precision])
        assert f", {precision} (as set)" in said
        assert "all 2 ended with the same weights" in said
        ends[precision] = load_file(output / "model" / "model.safetensors")
    largest = max(float((ends["bf16"][name] - ends["fp32"][name]).abs().max()) for name in ends["fp32"])
    assert 0 < largest < 1e-3
    assert {str(tensor.dtype) for tensor in ends["bf16"].values()} == {"torch.float32"}


def test_cores_end_when_nobody_listens(tmp_path: Path, rows: tuple[Path, Path], encoder: Path) -> None:
    """The one that speaks fails at its next line; the others would wait for it."""
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
