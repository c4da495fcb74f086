"""Padding tokens, sides, ends of rows, and models that padding would change."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from accel_clf.config.schema import ModelConfig
from accel_clf.core.errors import ConfigError
from accel_clf.data.collate import Padding, make_inputs, pad, padding_row
from accel_clf.data.tokenization import describe_nothing, tokenize_texts
from accel_clf.data.tokenizers import token_for_nothing
from accel_clf.models.checks import check_fits, max_positions, trained_positions
from accel_clf.models.equal_lengths import check_hardware
from accel_clf.models.loading import load_model, load_trained, save
from accel_clf.models.padding import padding_of
from accel_clf.models.precision import precision_for
from accel_clf.targets.single_label import SingleLabel
from tests.families.tiny import BOS, EOS, PAD, POSITIONS, make_model, make_tokenizer

ROWS = [np.array([5, 6, 7]), np.array([8, 9, 10, 11, 12, 13, 14])]


def load(family: str, folder: Path, **changes: str) -> tuple[torch.nn.Module, object]:
    """A tiny model of a family with its tokenizer, as training loads them."""
    make_model(family, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, **changes)
    return load_model(ModelConfig(name=str(folder)), SingleLabel(("a", "b")), tokenizer, 40, 0), tokenizer


def test_padding_stands_on_its_side() -> None:
    right, left = pad(ROWS, PAD), pad(ROWS, PAD, side="left")
    assert right["input_ids"][0].tolist() == [5, 6, 7, *[PAD] * 4]
    assert left["input_ids"][0].tolist() == [*[PAD] * 4, 5, 6, 7]
    assert left["attention_mask"][0].tolist() == [0, 0, 0, 0, 1, 1, 1]
    typed = pad([np.stack([row, row % 2], axis=1) for row in ROWS], PAD, side="left")
    assert typed["token_type_ids"][0].tolist() == [0, 0, 0, 0, 1, 0, 1]


@pytest.mark.parametrize("length", [1, 2, 5])
def test_rows_that_stand_for_none_end_as_all_do(length: int) -> None:
    assert padding_row(Padding(PAD), length, ROWS[0]).tolist() == [PAD] * length
    ended = padding_row(Padding(PAD, ending=(EOS, EOS)), length, ROWS[0])
    assert ended.tolist() == [PAD] * (length - 2) + [EOS, EOS]


@pytest.mark.parametrize("family", ["gpt2", "qwen3", "llama", "bloom"])
def test_missing_padding_token_is_set_in_model_and_tokenizer(family: str, tmp_path: Path) -> None:
    make_model(family, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"pad_token_id": None}))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.pad_token is None
    model = load_model(ModelConfig(name=str(tmp_path)), SingleLabel(("a", "b")), tokenizer, 40, 0)
    assert (model.config.pad_token_id, tokenizer.pad_token) == (EOS, "</s>")
    save(tmp_path / "saved", model, model.state_dict(), tokenizer)
    loaded, saved_tokenizer = load_trained(tmp_path / "saved", ModelConfig())
    assert padding_of(loaded, saved_tokenizer, with_pairs=False) == Padding(EOS, "right")


def test_padding_token_beyond_the_embeddings_is_replaced(tmp_path: Path) -> None:
    make_model("llama", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"pad_token_id": -1}))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    model = load_model(ModelConfig(name=str(tmp_path)), SingleLabel(("a", "b")), tokenizer, 40, 0)
    assert (model.config.pad_token_id, tokenizer.pad_token_id) == (EOS, EOS)


def test_pairs_end_in_as_many_ends_as_their_tokenizer_adds(tmp_path: Path) -> None:
    model, tokenizer = load("bart", tmp_path)
    assert padding_of(model, tokenizer, with_pairs=False).ending == (EOS,)
    assert len(padding_of(model, tokenizer, with_pairs=True).ending) == tokenizer("a", "b")["input_ids"].count(EOS)


def test_head_that_counts_ends_wants_a_tokenizer_that_adds_one(tmp_path: Path) -> None:
    make_model("bart", tmp_path)
    make_tokenizer("gpt2").save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="its tokenizer adds none"):
        load_model(ModelConfig(name=str(tmp_path)), SingleLabel(("a", "b")), tokenizer, 40, 0)


@pytest.mark.parametrize("family", ["bart", "t5"])
def test_ends_in_a_text_are_plain_text_only_where_a_head_counts_them(family: str, tmp_path: Path) -> None:
    _, tokenizer = load(family, tmp_path / family)
    assert tokenize_texts(["good </s> film"], tokenizer, 40)[0].tolist().count(EOS) == 1
    _, tokenizer = load("bert", tmp_path / "bert")
    assert tokenize_texts(["good </s> film"], tokenizer, 40)[0].tolist().count(EOS) == 2


@pytest.mark.parametrize(("family", "side"), [("fnet", "right"), ("xlnet", "left"), ("gpt2", "left")])
def test_rows_of_each_length_are_answered_by_themselves(family: str, side: str, tmp_path: Path) -> None:
    model, tokenizer = load(family, tmp_path, padding_side=side)
    model.train(False)
    padding = padding_of(model, tokenizer, with_pairs=False)
    together = make_inputs([*ROWS, ROWS[0] + 1], "padded", padding, max_length=40)
    alone = [make_inputs([row], "padded", padding, max_length=40) for row in (*ROWS, ROWS[0] + 1)]
    logits = model(**together).logits
    torch.testing.assert_close(logits, torch.cat([model(**row).logits for row in alone]), rtol=0, atol=1e-6)
    logits.sum().backward()
    assert model.get_input_embeddings().weight.grad[ROWS[0]].abs().sum() > 0
    for name in ("is_compiled", "is_sharded"):
        with pytest.raises(ConfigError, match=f"{family} answers rows of each length by themselves"):
            check_hardware(model, "x", **{"is_compiled": False, "is_sharded": False, name: True})


@pytest.mark.parametrize(
    ("family", "hard", "trained"),
    [("bart", POSITIONS, None), ("gpt2", POSITIONS, None), ("roberta", POSITIONS - 2, None), ("opt", POSITIONS, None),
     ("t5", None, None), ("bloom", None, None), ("llama", None, POSITIONS), ("mpt", POSITIONS, None)],
)  # fmt: skip
def test_position_limits(family: str, hard: int | None, trained: int | None, tmp_path: Path) -> None:
    model, _ = load(family, tmp_path)
    assert (max_positions(model), trained_positions(model)) == (hard, trained)
    tokens = torch.full((1, POSITIONS if hard is None else hard), 5)
    tokens[0, -1] = EOS
    model(input_ids=tokens, attention_mask=torch.ones_like(tokens))  # as long as possible
    if hard:
        with pytest.raises(ConfigError, match=f"has {hard} positions"):
            check_fits(model, family, 0, hard + 1)


def test_text_without_tokens_has_one(tmp_path: Path) -> None:
    _, tokenizer = load("gpt2", tmp_path)
    tokens = tokenize_texts(["", "good film", ""], tokenizer, 40)
    assert tokens.lengths.tolist() == [1, 2, 1]
    assert tokens[0].tolist() == [token_for_nothing(tokenizer)] == [BOS]
    assert describe_nothing(tokens, tokenizer, "rows") == "2 of 3 rows have no token, and one stands for their text"
    assert describe_nothing(tokens.take(np.array([1])), tokenizer, "rows") is None


def test_kinds_that_fail_in_16_bits_compute_in_fp32(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ModelConfig(name=str(make_model("deberta", tmp_path / "deberta")))
    assert precision_for(settings, "auto") == "fp32"
    assert "the code of its kind, deberta, fails in 16 bits" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"training\.precision is bf16"):
        precision_for(settings, "bf16")
    assert precision_for(ModelConfig(name=str(make_model("bert", tmp_path / "bert"))), "auto") == "auto"
