"""Models: misfits are detected before training, and code runs only where it is allowed; cases 21 and 23."""

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
from accel_clf.targets.single_label import SingleLabel

Refused = Callable[..., str]


@pytest.fixture
def model_copy(tiny_bert: Path, tmp_path: Path) -> Path:
    """A model folder that a test may change."""
    return Path(shutil.copytree(tiny_bert, tmp_path / "model"))


def test_more_tokens_than_positions_are_refused(
    tiny_bert: Path, reviews: Path, refused: Refused, tmp_path: Path
) -> None:
    """Case 21."""
    message = refused(USAGE, "train", "--model.name", tiny_bert, "--data.train", reviews, "--output", tmp_path / "run")
    assert "data.max_length is 256" in message
    assert "--data.max_length 64" in message
    assert not (tmp_path / "run").exists()


def test_tokens_beyond_the_vocabulary_are_refused(
    model_copy: Path, reviews: Path, refused: Refused, tmp_path: Path
) -> None:
    """Case 21: a tokenizer of another model."""
    tokenizer = json.loads((model_copy / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] = {word: 9000 + n if n > 200 else n for word, n in tokenizer["model"]["vocab"].items()}
    (model_copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    flags = ["--data.train", reviews, "--data.max_length", 64, "--output", tmp_path / "run"]
    message = refused(USAGE, "train", "--model.name", model_copy, *flags)
    assert "gives token 9" in message
    assert "its embeddings end at" in message


def test_pickled_weights_need_permission(model_copy: Path, reviews: Path, refused: Refused) -> None:
    """Case 23."""
    torch.save(load_file(model_copy / "model.safetensors"), model_copy / "pytorch_model.bin")
    (model_copy / "model.safetensors").unlink()
    message = refused(USAGE, "train", "--model.name", model_copy, "--data.train", reviews, "--data.max_length", 64)
    assert "pytorch_model.bin, a pickle" in message
    assert "--model.allow_pickle true" in message
    tokenizer = AutoTokenizer.from_pretrained(model_copy)
    load_model(ModelConfig(name=str(model_copy), allow_pickle=True), SingleLabel(("a", "b")), tokenizer, 64, 0)


def test_code_in_the_repository_needs_permission(model_copy: Path, reviews: Path, refused: Refused) -> None:
    """Case 23."""
    config = json.loads((model_copy / "config.json").read_text())
    config["model_type"] = "custom"
    classes = {"AutoConfig": "custom.CustomConfig", "AutoModelForSequenceClassification": "custom.CustomModel"}
    config["auto_map"] = classes
    (model_copy / "config.json").write_text(json.dumps(config))
    (model_copy / "custom.py").write_text("raise SystemExit('the code ran')")
    message = refused(USAGE, "train", "--model.name", model_copy, "--data.train", reviews)
    assert "its own code" in message
    assert "--model.allow_code true" in message
    with pytest.raises(SystemExit, match="the code ran"):
        load_model(ModelConfig(name=str(model_copy), allow_code=True), SingleLabel(("a", "b")), None, 64, 0)


def test_folder_without_a_model_is_refused(tmp_path: Path, reviews: Path, refused: Refused) -> None:
    message = refused(USAGE, "train", "--model.name", tmp_path, "--data.train", reviews)
    assert str(tmp_path) in message
    assert "no such folder" in refused(USAGE, "train", "--model.name", tmp_path / "no", "--data.train", reviews)


def test_seed_decides_the_heads_weights(tiny_bert: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    heads = [
        load_model(ModelConfig(name=str(tiny_bert)), SingleLabel(("a", "b", "c")), tokenizer, 64, seed).state_dict()[
            "classifier.weight"
        ]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert heads[0].shape[0] == 3


def test_round_trip(tiny_bert: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    model = load_model(ModelConfig(name=str(tiny_bert)), SingleLabel(("NA", "01")), tokenizer, 64, 0)
    for _ in range(2):  # the second save replaces the first
        save(tmp_path / "model", model, model.state_dict(), tokenizer)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "model.safetensors").is_file()
    loaded, _ = load_trained(tmp_path / "model", ModelConfig())
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True)
    )
    assert saved_label_names(ModelConfig(name=str(tmp_path / "model"))) == ("NA", "01")
    assert saved_label_names(ModelConfig(name=str(tiny_bert))) is None


def test_all_weights_of_a_real_encoder_are_loaded(minilm: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    loaded = load_model(ModelConfig(name=str(minilm)), SingleLabel(("a", "b", "c")), tokenizer, 128, 0)
    weights, pretrained = loaded.state_dict(), load_file(minilm / "model.safetensors")
    names = [name for name in pretrained if "position_ids" not in name]
    assert names
    assert all(torch.equal(weights[f"bert.{name}"], pretrained[name].float()) for name in names)
    assert max_positions(loaded) == 512


def test_weights_that_do_not_fit_the_config_are_refused(model_copy: Path, reviews: Path, refused: Refused) -> None:
    """Transformers would silently initialize them at random, and the user would train from scratch."""
    config = json.loads((model_copy / "config.json").read_text())
    (model_copy / "config.json").write_text(json.dumps({**config, "hidden_size": 16}))
    flags = ["--data.train", reviews, "--data.max_length", 64]
    assert "do not fit its config.json" in refused(USAGE, "train", "--model.name", model_copy, *flags)
    (model_copy / "config.json").write_text(json.dumps(config))
    weights = load_file(model_copy / "model.safetensors")
    save_file({f"other.{name}": tensor for name, tensor in weights.items()}, model_copy / "model.safetensors")
    assert "do not fit its config.json" in refused(USAGE, "train", "--model.name", model_copy, *flags)
    (model_copy / "model.safetensors").write_bytes(b"0" * 100)
    assert str(model_copy) in refused(USAGE, "train", "--model.name", model_copy, *flags)
    (model_copy / "config.json").write_text("{")
    assert str(model_copy) in refused(USAGE, "train", "--model.name", model_copy, *flags)


def test_save_replaces_the_remains_of_a_killed_save(tiny_bert: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    model = load_model(ModelConfig(name=str(tiny_bert)), SingleLabel(("a", "b")), tokenizer, 64, 0)
    for leftover in (".model-new", ".model-former", "model"):
        (tmp_path / leftover).mkdir()
        (tmp_path / leftover / "half").write_text("")
    save(tmp_path / "model", model, model.state_dict(), tokenizer)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert not (tmp_path / "model" / "half").exists()


def test_roberta_has_fewer_positions_than_its_table() -> None:
    from transformers import RobertaConfig, RobertaForSequenceClassification

    shape = {"vocab_size": 50, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    roberta = RobertaForSequenceClassification(
        RobertaConfig(**shape, intermediate_size=8, max_position_embeddings=34, pad_token_id=1)
    )
    assert max_positions(roberta) == 32
    roberta(input_ids=torch.full((1, 32), 5))  # as long as possible
    with pytest.raises(ConfigError, match="has 32 positions"):
        check_fits(roberta, "roberta", 0, 33)
    check_fits(roberta, "roberta", 49, 32)
