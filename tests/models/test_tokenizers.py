"""Tokenizers: written in Python, of other folders, in files that need a package, and what a saved model keeps."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from accel_clf.config.schema import ModelConfig, WindowsConfig
from accel_clf.core.errors import ConfigError
from accel_clf.core.exit_codes import USAGE
from accel_clf.data.tokenization import tokenize_texts
from accel_clf.data.tokenizers import is_fast, tokenizer_digest
from accel_clf.models import loading
from tests.conftest import Cli
from tests.families.tiny import make_model, make_tokenizer

TRAINING = ("--data.max_length", 32, "--training.learning_rate", 1e-3, "--training.epochs", 1)


def test_digest_of_a_tokenizer_in_python_outlives_saving(tmp_path: Path) -> None:
    tokenizer = make_tokenizer("canine")
    assert not is_fast(tokenizer)
    tokenizer.model_max_length = 32
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer_digest(loaded) == tokenizer_digest(make_tokenizer("canine"))
    loaded.truncation_side = "left"
    assert tokenizer_digest(loaded) != tokenizer_digest(tokenizer)


def test_windows_need_a_fast_tokenizer() -> None:
    with pytest.raises(ConfigError, match="written in Python"):
        tokenize_texts(["good film"], make_tokenizer("canine"), 8, WindowsConfig(stride=2))


@pytest.mark.parametrize(
    ("file", "packages"),
    [("spm.model", "sentencepiece and protobuf"), ("spiece.model", "sentencepiece and protobuf"),
     ("tiktoken.model", "tiktoken")],
)  # fmt: skip
def test_message_names_the_packages_that_a_tokenizers_file_needs(
    file: str, packages: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / file).write_bytes(b"")
    monkeypatch.setattr(loading, "_is_installed", lambda package: False)
    error = loading._explain(ValueError("`tiktoken` is required"), ModelConfig(name=str(tmp_path)), "tokenizer")
    assert isinstance(error, ConfigError)
    assert f"needs {packages}, and has no tokenizer.json" in error.got
    assert error.fix == "pip install 'accel_clf[tokenizers]'"


def test_revision_of_a_local_folder_is_refused(tmp_path: Path, reviews: Path, refused: object) -> None:
    folder = make_model("bert", tmp_path / "model")
    message = refused(USAGE, "train", "--model.name", folder, "--model.revision", "main", "--data.train", reviews)  # type: ignore[operator]
    assert "model.name is a local folder" in message


def test_tokenizer_of_another_folder_and_saved_length(tmp_path: Path, reviews: Path, cli: Cli) -> None:
    folder, other = make_model("bert", tmp_path / "model"), tmp_path / "tokenizer"
    AutoTokenizer.from_pretrained(folder).save_pretrained(other)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    flags = ("--model.name", folder, "--model.tokenizer", other, "--data.train", reviews, *TRAINING)
    done = cli("train", *flags, "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    saved = json.loads((tmp_path / "run" / "model" / "tokenizer_config.json").read_text())
    assert saved["model_max_length"] == 32
