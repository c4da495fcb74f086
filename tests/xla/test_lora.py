"""Adapters on two virtual cores, by both strategies, end as those of one process with the same global batches."""

import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.conftest import REPOSITORY, make_bert
from tests.forked import command, run_forked

pytest.importorskip("peft")


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory, reviews: Path) -> list[str]:
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    without_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    encoder = make_bert(tmp_path_factory.mktemp("encoder"), reviews, 32, **shape, **without_dropout)
    return [
        "--model.name", str(encoder), "--data.train", str(reviews), "--data.validation", "null",
        "--data.max_length", "32", "--training.learning_rate", "1e-2", "--training.lr_scaling", "none",
        "--model.lora.rank", "4", "--data.near_duplicates", "false",
    ]  # fmt: skip


@pytest.mark.parametrize("strategy", ["xla", "accelerate"])
def test_adapters_agree_with_one_process(strategy: str, flags: list[str], tmp_path: Path) -> None:
    alone = [*flags, "--batch.size", "16", "--training.precision", "fp32", "--output", str(tmp_path / "one")]
    subprocess.run([sys.executable, "-m", "accel_clf.cli", "train", *alone], check=True, timeout=600, cwd=REPOSITORY)
    on_cores = ["--strategy", strategy, "--virtual_cores", "2", "--batch.size", "8", "--output", str(tmp_path / "two")]
    process = run_forked(command(["train", *flags, *on_cores]), tmp_path, timeout=600)
    assert process.returncode == 0, process.stderr
    for file in ("adapter/adapter_model.safetensors", "model/model.safetensors"):
        weights, expected = (load_file(tmp_path / run / file) for run in ("two", "one"))
        assert weights.keys() == expected.keys()
        assert max(float((weights[name] - expected[name]).abs().max()) for name in expected) < 1e-4
