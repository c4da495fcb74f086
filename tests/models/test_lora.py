"""LoRA: which weights are trained, packed as padded, merged as peft merges, and reloaded bit for bit."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from peft import AutoPeftModelForSequenceClassification, PeftModel
from safetensors.torch import load_file
from torch import nn

from accel_clf.config.load import load
from accel_clf.config.schema import LoraConfig, ModelConfig, merge
from accel_clf.core.errors import ConfigError
from accel_clf.data.collate import pack, pad
from accel_clf.models import head, lora
from accel_clf.models.families.registry import FAMILIES, encoder_layers
from accel_clf.models.kernel_selection import apply_layout
from accel_clf.training.checkpoint import newest
from accel_clf.training.run import train
from tests.models.test_packed import PAD, make_model, random_rows

# Of peft 0.21, which uses a name that transformers has given up.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
OTHERS = ("albert", "mpnet", "deberta-v2", "modernbert", "bart", "xlnet")  # families without kernels here
SPECIAL = {
    "bart": {
        "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
    },
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64},
}  # fmt: skip
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
LORA = LoraConfig(rank=4)
EOS = 0  # which random rows do not have


def make(family: str) -> nn.Module:
    config = transformers.AutoConfig.for_model(
        family, vocab_size=50, pad_token_id=PAD, num_labels=3, **SPECIAL.get(family, SMALL),
        bos_token_id=2, cls_token_id=2, eos_token_id=EOS, sep_token_id=EOS, decoder_start_token_id=EOS,
    )  # fmt: skip
    model: nn.Module = transformers.AutoModelForSequenceClassification.from_config(config)
    return model


def batch(lengths: list[int]) -> dict[str, torch.Tensor]:
    """Rows that end, as encoder-decoders want it, padded."""
    return pad([np.append(row, EOS) for row in random_rows(lengths)], PAD)


def with_adapters(model: nn.Module, settings: LoraConfig = LORA) -> nn.Module:
    """Put adapters into a copy of a model, as if they had been trained."""
    adapted = copy.deepcopy(model)
    lora.add_adapters(adapted, settings, seed=0)
    torch.manual_seed(1)
    for name, parameter in adapted.named_parameters():
        if ".lora_B." in name:
            nn.init.normal_(parameter, std=0.1)
    return adapted.eval()


@pytest.mark.parametrize("family", [*OTHERS, *FAMILIES])
def test_adapters_and_the_head_are_trained_and_nothing_else(family: str) -> None:
    model = make(family) if family in OTHERS else make_model(family)
    before = {name: head.contains(model, name) for name, _ in model.named_parameters()}
    plain = copy.deepcopy(model).eval()
    lora.add_adapters(model, LORA, seed=0)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    heads = {name for name, is_head in before.items() if is_head}
    assert heads and trained == heads | {name for name in dict(model.named_parameters()) if ".lora_" in name}
    adapted = lora.adapted(model)
    assert adapted and not any(head.contains(plain, f"{name}.weight") for name in adapted)
    of_layers = {
        module for layer in encoder_layers(plain) for module in layer.modules() if isinstance(module, nn.Linear)
    }
    assert set(adapted) == {name for name, module in plain.named_modules() if module in of_layers}
    rows = batch([7, 3, 9])
    assert torch.equal(model.eval()(**rows).logits, plain(**rows).logits), "an adapter adds nothing before training"
    modules = lora.head_modules(plain)
    covered = {name for name in before if any(name.startswith(f"{module}.") for module in modules)}
    assert covered == heads


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        (("key",), {"key"}),
        (("query", "dense"), {"query", "dense"}),
        (("attention.output.dense",), {"dense"}),
        (("layer.1.attention.self.value",), {"value"}),
    ],
)
def test_modules_are_found_by_the_ends_of_their_names(modules: Sequence[str], expected: set[str]) -> None:
    model = make_model("bert")
    names = lora.targets(model, modules)
    assert {name.rpartition(".")[2] for name in names} == expected
    assert not any(head.contains(model, name) for name in names), "the head is trained itself"
    assert all(f".{name}".endswith(tuple(f".{module}" for module in modules)) for name in names)


@pytest.mark.parametrize("module", ["querry", "classifier", "pooler.dense", "uery", ""])
def test_modules_that_are_not_there_are_refused(module: str) -> None:
    with pytest.raises(ConfigError, match="no linear layer of that name") as error:
        lora.targets(make_model("bert"), ["value", module])
    assert "query, key, value" in error.value.expected


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("all_layers", [True, False])
def test_packed_equals_padded(family: str, all_layers: bool) -> None:
    """Logits and gradients, where the last layer's projections are read rather than called."""
    plain = make_model(family)
    ends = dict.fromkeys(name.rpartition(".")[2] for name in lora.targets(plain, None))
    modules = None if all_layers else tuple(ends)[:3:2]  # such as query and value
    padded = with_adapters(plain, LoraConfig(rank=4, modules=modules))
    packed = copy.deepcopy(padded)
    assert apply_layout(packed, "packed", is_requested=True)[0] == "packed"
    rows, labels = random_rows([5, 40, 40, 1, 17]), torch.arange(5) % 3
    results = []
    for model, batch in ((padded, pad(rows, PAD)), (packed, pack(rows))):
        logits = model(**batch).logits
        nn.functional.cross_entropy(logits, labels).backward()
        results.append((logits.detach(), {name: weight.grad for name, weight in model.named_parameters()}))
    (logits, gradients), (packed_logits, packed_gradients) = results
    torch.testing.assert_close(packed_logits, logits, rtol=0, atol=1e-5)
    assert not torch.allclose(plain.eval()(**pad(rows, PAD)).logits, logits, atol=1e-2), "adapters matter here"
    for name, gradient in gradients.items():
        if ".lora_" in name:
            assert gradient is not None and packed_gradients[name] is not None
            torch.testing.assert_close(packed_gradients[name], gradient, rtol=0, atol=1e-4)
        elif not head.contains(padded, name):
            assert gradient is None and packed_gradients[name] is None


def test_dropout_of_adapters_is_not_packed() -> None:
    model = with_adapters(make_model("bert"), LoraConfig(rank=4, dropout=0.1))
    layout, reason = apply_layout(model, "packed")
    assert layout == "padded" and "model.lora.dropout" in reason
    with pytest.raises(ConfigError, match=r"packed, and model\.lora\.dropout"):
        apply_layout(model, "packed", is_requested=True)


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "xlnet", "bart"])
def test_a_hundred_adapters_come_back_bit_for_bit(family: str, tmp_path: Path) -> None:
    """By peft alone, beside the same base; and merged, as peft merges. Some heads' names are none that peft knows."""
    base = make(family) if family in OTHERS else make_model(family)
    settings = ModelConfig(name="base", lora=LoraConfig(rank=3, alpha=5.0))
    rows = batch([7, 3, 12])
    equal = 0
    for number in range(20):
        model = with_adapters(base, settings.lora)
        torch.manual_seed(number)
        for parameter in model.parameters():
            if parameter.requires_grad:
                nn.init.normal_(parameter, std=0.2)
        weights = model.state_dict()
        lora.save_adapter(tmp_path / "adapter", model, lora.adapter_of(model, weights), settings, "digest")
        torch.manual_seed(1000 + number)
        other = copy.deepcopy(base)
        for name, parameter in other.named_parameters():
            if head.contains(other, name):  # a head made anew, as in peft's usual complaint
                nn.init.normal_(parameter)
        loaded = PeftModel.from_pretrained(other, tmp_path / "adapter").eval()
        equal += torch.equal(loaded(**rows).logits, model(**rows).logits)
        merged, ours = loaded.merge_and_unload().state_dict(), lora.merged(weights, settings.lora)
        assert merged.keys() == ours.keys()
        assert all(torch.equal(merged[name], ours[name]) for name in ours)
        assert lora.read_adapter(tmp_path / "adapter").keys() == lora.adapter_of(model, weights).keys()
    assert equal == 20


def test_adapter_files_have_the_same_bytes_each_time(tmp_path: Path) -> None:
    model, settings = with_adapters(make_model("bert")), ModelConfig(name="base", lora=LORA)
    contents = []
    for _ in range(2):  # the second replaces the first
        lora.save_adapter(tmp_path / "a", model, lora.adapter_of(model, model.state_dict()), settings, "digest")
        contents.append({path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()})
    assert contents[0] == contents[1]
    config = json.loads(contents[0][lora.CONFIG])
    assert config["target_modules"] == sorted(config["target_modules"])
    assert config["modules_to_save"] == ["bert.pooler", "classifier"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_cannot_be_is_refused() -> None:
    for values, message in (
        ({"lora": {"rank": 0}}, "lora.rank"),
        ({"lora": {"rank": 4}, "freeze": 2}, "exclude each other"),
        ({"lora": {"rank": 4}, "name": "demo"}, "from scratch"),
        ({"lora": {"rank": 4, "modules": []}}, "modules"),
        ({"lora": {"dropout": 1.0}}, "dropout"),
        ({"lora": {"alpha": 0}}, "alpha"),
    ):
        with pytest.raises(ConfigError, match=message):
            load(None, {"model": values})


def test_peft_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora, "is_installed", lambda: False)
    with pytest.raises(ConfigError, match="peft is not installed") as error:
        lora.add_adapters(make_model("bert"), LORA, seed=0)
    assert "accel_clf[lora]" in error.value.fix


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, reviews: Path, tiny_bert: Path) -> Path:
    """A run with adapters."""
    folder = tmp_path_factory.mktemp("lora") / "run"
    train(load(None, run_settings(tiny_bert, reviews, folder)))
    return folder


def run_settings(model: Path, data: Path, output: Path, **changes: Any) -> dict[str, Any]:
    columns = changes.pop("columns", {})
    settings = {
        "model": {"name": str(model), "lora": {"rank": 4}},
        "data": {"train": str(data), "validation": 0.25, "test": str(data), "max_length": 64, **columns},
        "training": {"epochs": 2, "learning_rate": 1e-2},
        "output": str(output),
    }
    return merge(settings, changes)


def test_checkpoints_hold_what_is_trained(run: Path) -> None:
    saved, _ = newest(run / "checkpoints")
    assert saved
    weights, optimizer = saved.weights(), saved.optimizer_state()
    assert len([name for name in weights if ".lora_" in name]) == 2 * 6 * 2, "layers, their linear layers, A and B"
    assert {name for name in weights if ".lora_" not in name} == {
        "bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias",
    }  # fmt: skip
    assert {name.rpartition(".")[0] for name in optimizer} == set(weights)


def test_run_has_a_plain_model_and_an_adapter_for_peft_alone(run: Path, tiny_bert: Path) -> None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(run / "model").eval()
    assert not lora.adapted(model)
    files = load_file(run / "model" / "model.safetensors"), load_file(tiny_bert / "model.safetensors")
    trained, base = files[0], {f"bert.{name}": tensor for name, tensor in files[1].items()}
    changed = {name for name in base if not torch.equal(base[name], trained[name])}
    assert {".".join(name.split(".")[-2:]) for name in changed} == {
        "query.weight", "key.weight", "value.weight", "dense.weight", "dense.bias",
    }  # fmt: skip
    assert {name for name in changed if name.endswith("bias")} == {"bert.pooler.dense.bias"}
    by_peft = AutoPeftModelForSequenceClassification.from_pretrained(run / "adapter").eval()
    assert by_peft.peft_config["default"].base_model_name_or_path == str(tiny_bert)
    rows = batch([7, 3, 12])
    torch.testing.assert_close(by_peft(**rows).logits, model(**rows).logits, rtol=0, atol=1e-6)
    assert torch.equal(by_peft.merge_and_unload()(**rows).logits, model(**rows).logits)


def test_base_must_be_what_the_run_began_with(tmp_path: Path, reviews: Path, tiny_bert: Path) -> None:
    base = tmp_path / "base"
    transformers.AutoModel.from_pretrained(tiny_bert).save_pretrained(base)
    for file in tiny_bert.glob("tokenizer*"):
        (base / file.name).write_bytes(file.read_bytes())
    settings = run_settings(base, reviews, tmp_path / "run", checkpoint={"every": 5, "keep": 10})
    train(load(None, settings))
    (tmp_path / "run" / "metrics.json").unlink()
    other = transformers.AutoModel.from_pretrained(base)
    with torch.no_grad():
        other.encoder.layer[0].output.dense.weight[0, 0] += 1
    other.save_pretrained(base)
    with pytest.raises(ConfigError, match="other weights of"):
        train(load(None, settings))


@pytest.mark.parametrize("target", [{"calibration": "temperature"}, {"type": "regression"}])
def test_adapter_has_what_is_fitted_to_the_validation_rows(
    target: dict[str, str], tmp_path: Path, table: Path, tiny_bert: Path
) -> None:
    """And the unit of a number: the adapter answers what the merged model answers."""
    label = "stars" if target.get("type") else "grade"
    train(load(None, run_settings(tiny_bert, table, tmp_path / "run", target=target, columns={"label": label})))
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "model").eval()
    base = transformers.AutoModelForSequenceClassification.from_pretrained(
        tiny_bert, num_labels=model.config.num_labels
    )
    by_peft = PeftModel.from_pretrained(base, tmp_path / "run" / "adapter").eval()
    rows = batch([7, 3, 12])
    torch.testing.assert_close(by_peft(**rows).logits, model(**rows).logits, rtol=1e-5, atol=1e-5)


def test_merged_model_answers_as_the_one_in_training_did(run: Path) -> None:
    """Validation was with adapters beside the layers, the test of the merged model read back."""
    results = json.loads((run / "metrics.json").read_text())
    assert results["validation"]["accuracy"] > 0.5
    assert results["test"]["rows"] == 403


def test_learning_rate_is_that_of_adapters(tmp_path: Path, reviews: Path, tiny_bert: Path) -> None:
    settings = run_settings(tiny_bert, reviews, tmp_path / "run", training={"epochs": 1, "learning_rate": None})
    train(load(None, settings))
    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert 2e-4 < max(line["rate"] for line in log if line["event"] == "train") <= 5e-4
    assert np.isfinite([line["loss"] for line in log if line["event"] == "train"]).all()
