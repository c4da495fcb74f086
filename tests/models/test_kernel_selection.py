"""model.kernels: off leaves transformers' own code, auto selects kernels by layout, device and precision."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from accel_clf.config.load import load
from accel_clf.core.errors import ConfigError
from accel_clf.data.tokenization import tokenize_texts
from accel_clf.inference.predictor import Predictor
from accel_clf.models import kernel_selection
from accel_clf.models.families.registry import FAMILIES
from accel_clf.models.kernel_selection import apply_layout, optimize_for_inference, optimize_for_training
from accel_clf.models.kernels import embedding_grad, fused_inference
from accel_clf.models.kernels.dropout import Dropout
from accel_clf.models.kernels.embedding_grad import SparseEmbeddingGrad
from accel_clf.training import trainer
from accel_clf.training.run import train
from tests.conftest import read_csv
from tests.models.test_packed import make_model

CPU, GPU = torch.device("cpu"), torch.device("cuda")
needs_onednn = pytest.mark.skipif(not fused_inference.can_fuse(CPU, "fp32"), reason="this torch has no oneDNN")


def module_types(model: nn.Module, base: type[nn.Module]) -> set[type]:
    return {type(module) for module in model.modules() if isinstance(module, base)}


def state_of_modules(model: nn.Module) -> list[tuple[str, type, bool]]:
    """Each module's name and class, and whether its forward is replaced."""
    return [(name, type(module), "forward" in vars(module)) for name, module in model.named_modules()]


@pytest.mark.parametrize("family", FAMILIES)
def test_kernels_off_pads(family: str) -> None:
    model = make_model(family)
    before, attention = state_of_modules(model), model.config._attn_implementation
    assert apply_layout(model, "packed", kernels="off") == ("padded", "model.kernels is off")
    assert apply_layout(model, "padded", kernels="off") == ("padded", "what suits the device")
    assert apply_layout(model, "bucketed", is_requested=True, kernels="off") == ("bucketed", "as set")
    assert state_of_modules(model) == before
    assert model.config._attn_implementation == attention


def test_kernels_off_refuses_requested_packing() -> None:
    model = make_model("bert")
    before = state_of_modules(model)
    with pytest.raises(ConfigError, match=r"batch\.layout is packed, and model\.kernels is off") as error:
        apply_layout(model, "packed", is_requested=True, kernels="off")
    assert error.value.fix == "--batch.layout padded, or --model.kernels auto"
    assert state_of_modules(model) == before


@pytest.mark.parametrize(("kernels", "device"), [("off", CPU), ("off", GPU), ("auto", GPU)])
def test_training_is_left_to_torch_without_kernels_or_on_a_gpu(
    kernels: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_grad, "LARGE", 0)
    model = make_model("bert")
    assert optimize_for_training(model, device, sparse_gradients=True, kernels=kernels) is None
    assert module_types(model, nn.Dropout) == {nn.Dropout}
    assert not any(module.sparse for module in model.modules() if isinstance(module, nn.Embedding))


@pytest.mark.parametrize("sparse_gradients", [True, False])
def test_training_on_a_cpu_gets_kernels(sparse_gradients: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_grad, "LARGE", 0)
    model = make_model("bert")
    gradients = optimize_for_training(model, CPU, sparse_gradients=sparse_gradients, kernels="auto")
    assert module_types(model, nn.Dropout) == {Dropout}
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    assert len(embeddings) == 3
    if sparse_gradients:
        assert isinstance(gradients, SparseEmbeddingGrad)
        assert gradients.tables.keys() == {embedding.weight for embedding in embeddings}
    else:
        assert gradients is None
    assert [embedding.sparse for embedding in embeddings] == [sparse_gradients] * 3


@needs_onednn
@pytest.mark.parametrize(
    ("layout", "device", "precision", "low_latency", "faster_for_long", "expected"),
    [
        ("packed", CPU, "fp32", True, False, True),
        ("packed", CPU, "fp32", False, True, True),
        ("packed", CPU, "fp32", False, False, False),
        ("padded", CPU, "fp32", True, True, False),
        ("packed", GPU, "fp32", True, True, False),
        ("packed", CPU, "int8", True, True, False),
    ],
)
def test_layers_are_fused_where_that_is_faster(
    layout: str,
    device: torch.device,
    precision: str,
    low_latency: bool,
    faster_for_long: bool,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernel_selection, "faster_for_long_inputs", lambda: faster_for_long)
    model = make_model("bert").eval()
    apply_layout(model, layout, is_requested=True)
    before = state_of_modules(model)
    optimize_for_inference(model, layout, device, precision, low_latency=low_latency)
    assert bool(module_types(model, fused_inference.Linear)) == expected
    assert bool(module_types(model, fused_inference._Layer)) == expected
    assert (state_of_modules(model) != before) == expected


@pytest.fixture(scope="module")
def run_without_kernels(tmp_path_factory: pytest.TempPathFactory, reviews: Path, tiny_bert: Path) -> Path:
    """A run by transformers' own code alone, without a kernel in the trained model."""
    output = tmp_path_factory.mktemp("kernels-off") / "run"
    config = load(
        None,
        {
            "model": {"name": str(tiny_bert), "kernels": "off"},
            "data": {"train": str(reviews), "validation": 0.25, "max_length": 64},
            "training": {"learning_rate": 1e-3, "precision": "fp32"},
            "output": str(output),
        },
    )
    trained: list[nn.Module] = []
    fit = trainer.fit

    def fit_and_record(model: nn.Module, *args: Any, **options: Any) -> None:
        trained.append(model)
        fit(model, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "fit", fit_and_record)
        results = train(config)
    assert results["training"]["steps"] == 19
    assert results["validation"]["rows"] == 101
    [model] = trained
    assert module_types(model, nn.Dropout) == {nn.Dropout}
    assert not any(is_replaced for _, _, is_replaced in state_of_modules(model))
    return output


@pytest.fixture(scope="module")
def texts(reviews: Path) -> list[str]:
    return [row["text"] for row in read_csv(reviews)][:40]


@pytest.mark.parametrize("low_latency", [False, True])
def test_run_without_kernels_predicts_as_plain_transformers(
    run_without_kernels: Path, texts: list[str], low_latency: bool
) -> None:
    predictor = Predictor(run_without_kernels, low_latency=low_latency)
    assert predictor.layout == "padded"
    [model] = predictor.models
    assert module_types(model, fused_inference.Linear) == set()
    assert not any(is_replaced for _, _, is_replaced in state_of_modules(model))

    tokenizer = AutoTokenizer.from_pretrained(run_without_kernels / "model")
    plain = AutoModelForSequenceClassification.from_pretrained(run_without_kernels / "model").eval()
    with torch.no_grad():
        inputs = [tokenizer(text, truncation=True, max_length=64, return_tensors="pt") for text in texts]
        expected = torch.cat([plain(**encoded).logits for encoded in inputs])
    tokens = tokenize_texts(texts, predictor.tokenizer, 64)
    [logits] = predictor.logits(tokens)
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=0, atol=1e-5)
    batch = predictor.logits_batch([tokens[row] for row in range(len(tokens))])
    torch.testing.assert_close(torch.from_numpy(batch[:, 0]), expected, rtol=0, atol=1e-5)


def test_run_without_kernels_predicts_as_the_hub_pipeline(run_without_kernels: Path, texts: list[str]) -> None:
    predictor = Predictor(run_without_kernels)
    classifier = pipeline("text-classification", model=str(run_without_kernels / "model"))
    expected = classifier(texts, top_k=None)
    for (text, scores), labels in zip(predictor.predict(texts), expected, strict=True):
        by_label = {entry["label"]: entry["score"] for entry in labels}
        assert scores == pytest.approx([by_label[label] for label in predictor.target.names], abs=1e-5), text
