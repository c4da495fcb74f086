"""Encoders with weights that get no gradient: two processes freeze them, and end as one does that skips them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from accel_clf.config.load import load
from accel_clf.config.schema import DataConfig, ModelConfig
from accel_clf.data.sources import read_dataset
from accel_clf.models.loading import load_tokenizer
from accel_clf.training.run import train
from tests.conftest import write_csv
from tests.faults.harness import LaunchedRun
from tests.models.test_unused import make_encoder
from tests.strategies.test_fsdp import ShardedRun

ROWS_PER_STEP = 16
TwoProcesses = partial(LaunchedRun, processes=2)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 rows of 11 tokens: XLNet reads the last position of a row, which no padding may fill."""
    words = ["the", "soup", "was", "never", "dull", "but", "my", "aunt", "found", "it", "tedious", "and", "awful"]
    rows = [(" ".join(words[(row * step) % len(words)] for step in range(9)), "ab"[row % 2]) for row in range(90)]
    return write_csv(tmp_path_factory.mktemp("texts") / "texts.csv", rows)


def save_encoder(family: str, texts: Path, folder: Path) -> Path:
    """Save a random encoder in the Hub's format, and a tokenizer trained on `texts`."""
    tokenizer = load_tokenizer(ModelConfig(name="demo"), read_dataset(str(texts), DataConfig(), split="train"), 64)
    torch.manual_seed(0)
    make_encoder(family, len(tokenizer)).base_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def settings(encoder: Path, texts: Path, **sections: Any) -> dict[str, Any]:
    """Two epochs of six steps, the last of each with ten rows."""
    training = {"epochs": 2, "learning_rate": 1e-3, "lr_scaling": "none", "precision": "fp32", "weight_decay": 0.5}
    data = {"train": str(texts), "max_length": 64}
    checkpoint = {"every": 4, "keep": 9}
    return {"model": {"name": str(encoder)}, "data": data, "training": training, "checkpoint": checkpoint, **sections}


def train_one(flags: dict[str, Any], output: Path) -> Path:
    train(load(None, flags | {"output": str(output), "batch": {"size": ROWS_PER_STEP}}))
    return output


def train_two(
    flags: dict[str, Any], output: Path, batch: dict[str, int], launch: Callable[..., LaunchedRun] = TwoProcesses
) -> tuple[Path, LaunchedRun]:
    args: list[object] = []
    for section, values in (flags | {"batch": batch}).items():
        for name, value in values.items() if isinstance(values, dict) else [("", values)]:
            args += [f"--{section}.{name}".rstrip("."), value]
    job = launch(args, output)
    assert job.start().wait() == [0, 0], job.output() + job.output(1)
    return output, job


def largest_difference(run: Path, other: Path) -> float:
    one, two = (load_file(folder / "model" / "model.safetensors") for folder in (run, other))
    assert one.keys() == two.keys()
    return max(float((one[name] - two[name]).abs().max()) for name in one)


@pytest.mark.parametrize(
    ("family", "batch"),
    [("xlnet", {"size": 8}), ("big_bird", {"size": 2, "accumulate": 4}), ("esm", {"size": 8})],
)
def test_two_processes_end_as_one(family: str, batch: dict[str, int], texts: Path, tmp_path: Path) -> None:
    """By weight decay, too: what is frozen stays as it was, as what AdamW skips."""
    flags = settings(save_encoder(family, texts, tmp_path / "encoder"), texts)
    one = train_one(flags, tmp_path / "one")
    two, job = train_two(flags, tmp_path / "two", batch)
    assert job.output().count("frozen, for they get no gradient: ") == 1
    assert "frozen" not in job.output(1)
    assert largest_difference(one, two) < 1e-5


def test_two_processes_that_share_the_weights_end_as_one(texts: Path, tmp_path: Path) -> None:
    """FSDP2."""
    flags = settings(save_encoder("esm", texts, tmp_path / "encoder"), texts)
    one = train_one(flags, tmp_path / "one")
    two, job = train_two(flags, tmp_path / "two", {"size": 8}, ShardedRun)
    assert "frozen, for they get no gradient: " in job.output()
    assert largest_difference(one, two) < 1e-5


def test_run_resumes_on_another_number_of_processes(texts: Path, tmp_path: Path) -> None:
    flags = settings(save_encoder("xlnet", texts, tmp_path / "encoder"), texts)
    one = train_one(flags, tmp_path / "one")
    two, _ = train_two(flags, tmp_path / "two", {"size": 8})

    def resumed(run: Path) -> dict[str, Any]:
        return flags | {"resume": str(run / "checkpoints" / "step-00000004")}

    from_two = train_one(resumed(two), tmp_path / "from-two")
    from_one, job = train_two(resumed(one), tmp_path / "from-one", {"size": 8})
    assert "resuming after step 4" in job.output()
    assert largest_difference(one, from_two) < 1e-5
    assert largest_difference(one, from_one) < 1e-5


def test_layers_that_are_dropped_at_random_train(texts: Path, tmp_path: Path) -> None:
    """LayerDrop, by each process for itself: some weights have a gradient on one of the two, or on none."""
    from transformers import FlaubertConfig, FlaubertModel

    encoder = save_encoder("xlnet", texts, tmp_path / "encoder")
    config = FlaubertConfig(
        vocab_size=300, emb_dim=32, n_layers=3, n_heads=2, max_position_embeddings=96, pad_index=0, layerdrop=0.5
    )
    FlaubertModel(config).save_pretrained(encoder)
    train_two(settings(encoder, texts), tmp_path / "two", {"size": 4, "accumulate": 2})
