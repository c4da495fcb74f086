"""Models: what does not fit is found before the device is, and nothing runs that was not asked for; cases 21 and 23."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from accel_clf.config.schema import ModelConfig
from accel_clf.core.errors import ConfigError
from accel_clf.core.exit_codes import USAGE
from accel_clf.models.checks import check_fits, max_positions
from accel_clf.models.loading import load_model, load_trained, save, saved_label_names

Refused = Callable[..., str]


@pytest.fixture
def copy(tiny_bert: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bert, tmp_path / "model"))


def test_more_tokens_than_positions(tiny_bert: Path, reviews: Path, refused: Refused, tmp_path: Path) -> None:
    """Case 21."""
    told = refused(USAGE, "train", "--model.name", tiny_bert, "--data.train", reviews, "--output", tmp_path / "run")
    assert "data.max_length is 256" in told
    assert "--data.max_length 64" in told
    assert not (tmp_path / "run").exists()


def test_tokens_beyond_the_vocabulary(copy: Path, reviews: Path, refused: Refused, tmp_path: Path) -> None:
    """Case 21: a tokenizer of another model."""
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] = {word: 9000 + n if n > 200 else n for word, n in tokenizer["model"]["vocab"].items()}
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    flags = ["--data.train", reviews, "--data.max_length", 64, "--output", tmp_path / "run"]
    told = refused(USAGE, "train", "--model.name", copy, *flags)
    assert "gives token 9" in told
    assert "its embeddings end at" in told


def test_pickled_weights_are_refused_unless_asked_for(copy: Path, reviews: Path, refused: Refused) -> None:
    """Case 23."""
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    told = refused(USAGE, "train", "--model.name", copy, "--data.train", reviews, "--data.max_length", 64)
    assert "pytorch_model.bin, a pickle" in told
    assert "--model.allow_pickle true" in told
    tokenizer = AutoTokenizer.from_pretrained(copy)
    load_model(ModelConfig(name=str(copy), allow_pickle=True), ("a", "b"), tokenizer, 64, 0)


def test_code_in_the_repository_is_refused_unless_asked_for(copy: Path, reviews: Path, refused: Refused) -> None:
    """Case 23."""
    config = json.loads((copy / "config.json").read_text())
    config["model_type"] = "own"
    config["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModelForSequenceClassification": "own.OwnModel"}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "own.py").write_text("raise SystemExit('the code ran')")
    told = refused(USAGE, "train", "--model.name", copy, "--data.train", reviews)
    assert "its own code" in told
    assert "--model.allow_code true" in told
    with pytest.raises(SystemExit, match="the code ran"):
        load_model(ModelConfig(name=str(copy), allow_code=True), ("a", "b"), None, 64, 0)


def test_a_folder_that_is_no_model(tmp_path: Path, reviews: Path, refused: Refused) -> None:
    told = refused(USAGE, "train", "--model.name", tmp_path, "--data.train", reviews)
    assert str(tmp_path) in told
    assert "no such folder" in refused(USAGE, "train", "--model.name", tmp_path / "no", "--data.train", reviews)


def test_the_head_is_drawn_by_the_seed(tiny_bert: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    heads = [
        load_model(ModelConfig(name=str(tiny_bert)), ("a", "b", "c"), tokenizer, 64, seed).state_dict()[
            "classifier.weight"
        ]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert heads[0].shape[0] == 3


def test_saved_and_loaded_again(tiny_bert: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    model = load_model(ModelConfig(name=str(tiny_bert)), ("NA", "01"), tokenizer, 64, 0)
    for _ in range(2):  # the second replaces the first
        save(tmp_path / "model", model, model.state_dict(), tokenizer)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "model.safetensors").is_file()
    loaded, _ = load_trained(tmp_path / "model", ModelConfig())
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True)
    )
    assert saved_label_names(ModelConfig(name=str(tmp_path / "model"))) == ("NA", "01")
    assert saved_label_names(ModelConfig(name=str(tiny_bert))) is None


def test_a_real_encoder_is_taken_whole(minilm: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    loaded = load_model(ModelConfig(name=str(minilm)), ("a", "b", "c"), tokenizer, 128, 0)
    weights, trained = loaded.state_dict(), load_file(minilm / "model.safetensors")
    encoder = [name for name in trained if "position_ids" not in name]
    assert encoder
    assert all(torch.equal(weights[f"bert.{name}"], trained[name].float()) for name in encoder)
    assert max_positions(loaded) == 512


def test_weights_that_do_not_fit_are_refused(copy: Path, reviews: Path, refused: Refused) -> None:
    """Transformers would draw them anew without a word, and the user would train from scratch."""
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "hidden_size": 16}))
    flags = ["--data.train", reviews, "--data.max_length", 64]
    assert "do not fit its config.json" in refused(USAGE, "train", "--model.name", copy, *flags)
    (copy / "config.json").write_text(json.dumps(config))
    weights = load_file(copy / "model.safetensors")
    save_file({f"other.{name}": tensor for name, tensor in weights.items()}, copy / "model.safetensors")
    assert "do not fit its config.json" in refused(USAGE, "train", "--model.name", copy, *flags)
    (copy / "model.safetensors").write_bytes(b"0" * 100)
    assert str(copy) in refused(USAGE, "train", "--model.name", copy, *flags)
    (copy / "config.json").write_text("{")
    assert str(copy) in refused(USAGE, "train", "--model.name", copy, *flags)


def test_a_save_after_one_that_was_killed(tiny_bert: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    model = load_model(ModelConfig(name=str(tiny_bert)), ("a", "b"), tokenizer, 64, 0)
    for leftover in (".model-new", ".model-former", "model"):
        (tmp_path / leftover).mkdir()
        (tmp_path / leftover / "half").write_text("")
    save(tmp_path / "model", model, model.state_dict(), tokenizer)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert not (tmp_path / "model" / "half").exists()


def test_positions_of_robertas_start_later() -> None:
    from transformers import RobertaConfig, RobertaForSequenceClassification

    shape = {"vocab_size": 50, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    roberta = RobertaForSequenceClassification(
        RobertaConfig(**shape, intermediate_size=8, max_position_embeddings=34, pad_token_id=1)
    )
    assert max_positions(roberta) == 32
    longest = torch.full((1, 32), 5)
    roberta(input_ids=longest)
    with pytest.raises(ConfigError, match="has 32 positions"):
        check_fits(roberta, "roberta", 0, 33)
    check_fits(roberta, "roberta", 49, 32)
