"""Layers for GPUs, on a CPU: with plain attention in place of the GPU's, and on meta tensors with the real one.

tests/models/test_cuda.py and benchmarks/gpu.py compare the operations themselves, on a GPU.
"""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from accel_clf.data.collate import Batch, pack_varlen, pad
from accel_clf.models.families.registry import FAMILIES
from accel_clf.models.kernel_selection import apply_layout
from accel_clf.models.kernels import varlen
from accel_clf.models.kernels.varlen import CopyWeights, Documents, varlen_attention
from accel_clf.training.optim import make_optimizer
from tests.models.test_packed import LONGEST, PAD, make_model, random_rows, varlen_copy, with_types

FAMILIES_ON_GPUS = [name for name, family in FAMILIES.items() if "varlen" in family.layouts]
BASE = {"vocab_size": 30522, "num_labels": 2}  # BERT-base


def plain_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    queries: Documents,
    keys: Documents,
    scaling: float,
    dropout: float,
) -> torch.Tensor:
    """Compute `varlen_attention` document by document."""
    outputs = []
    for document in range(len(keys.starts) - 1):
        q, k, v = (
            tensor[slice(*documents.starts[document : document + 2].tolist())].transpose(0, 1)
            for tensor, documents in ((query, queries), (key, keys), (value, keys))
        )
        outputs.append(scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling).transpose(0, 1))
    return torch.cat(outputs)


@pytest.fixture(autouse=True)
def attention(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the GPU's operations, unless a test is marked to run on meta tensors."""
    if "on_meta" not in request.fixturenames:
        monkeypatch.setattr(varlen, "varlen_attention", plain_attention)


@pytest.fixture
def on_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute in bf16 on meta tensors, for which torch has no autocast."""
    monkeypatch.setattr(varlen, "compute_dtype", lambda hidden: torch.bfloat16)


@pytest.mark.parametrize("family", ["bert", "electra"])
def test_token_types_belong_to_their_document(family: str) -> None:
    rows = with_types(random_rows([7, 7, 3, 64, 2]))
    plain = make_model(family).eval()
    batch = pack_varlen(rows, PAD, LONGEST)
    assert batch["token_type_ids"].shape == batch["input_ids"].shape
    logits = varlen_copy(plain)(**batch).logits[: len(rows)]
    torch.testing.assert_close(logits, plain(**pad(rows, PAD)).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES_ON_GPUS)
@settings(max_examples=8, deadline=None)
@given(lengths=st.lists(st.integers(1, 60) | st.integers(1, LONGEST), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_varlen_model_equals_padded_model(family: str, lengths: list[int], seed: int) -> None:
    """The filler changes nothing, although it is a document, too."""
    rows, labels = random_rows(lengths, seed), torch.arange(len(lengths)) % 3
    plain = make_model(family).eval()
    results = []
    for model, batch in ((plain, pad(rows, PAD)), (varlen_copy(plain), pack_varlen(rows, PAD, LONGEST))):
        logits = model(**batch).logits[: len(rows)]
        cross_entropy(logits, labels).backward()
        results.append((logits.detach(), {name: weight.grad for name, weight in model.named_parameters()}))
    (logits, gradients), (varlen_logits, varlen_gradients) = results
    torch.testing.assert_close(varlen_logits, logits, rtol=0, atol=1e-5)
    assert varlen_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            varlen_gradients[name], gradient, rtol=0, atol=1e-4, msg=lambda message, name=name: f"{name}: {message}"
        )


@pytest.mark.parametrize("family", FAMILIES_ON_GPUS)
def test_numbers_are_those_of_autocast(family: str) -> None:
    """In bf16 the logits are as far from transformers' own under autocast as those are from float32's."""
    rows = random_rows([9, 200, 1, 40])
    plain = make_model(family).eval()
    packed, batch = varlen_copy(plain), pack_varlen(rows, PAD, LONGEST)
    with torch.no_grad():
        exact = plain(**pad(rows, PAD)).logits
        with torch.autocast("cpu", torch.bfloat16):
            expected, logits = plain(**pad(rows, PAD)).logits, packed(**batch).logits[: len(rows)]
    assert expected.dtype == logits.dtype == torch.bfloat16
    assert (logits.float() - expected).square().mean() <= 4 * (expected - exact).square().mean()


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=5),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.integers(0, 99),
)
def test_copied_weights_and_gradients_are_the_casts(sizes: list[int], dtype: torch.dtype, seed: int) -> None:
    torch.manual_seed(seed)
    weights = [torch.randn(int(torch.randint(1, 5, ())), 3, requires_grad=True) for _ in range(sum(sizes))]
    copies = CopyWeights.apply(dtype, tuple(sizes), *weights)
    groups = [torch.cat(group).to(dtype) for group in _split(weights, sizes)]
    assert all(torch.equal(copy, group) for copy, group in zip(copies, groups, strict=True))
    factors = [torch.randn_like(group) for group in groups]
    results = [
        torch.autograd.grad(
            sum((tensor * factor).sum() for tensor, factor in zip(tensors, factors, strict=True)), weights
        )
        for tensors in (copies, groups)
    ]
    assert all(torch.equal(gradient, expected) for gradient, expected in zip(*results, strict=True))


def _split(weights: list[torch.Tensor], sizes: list[int]) -> list[list[torch.Tensor]]:
    ends = np.cumsum(sizes).tolist()
    return [weights[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def meta_batch(lengths: list[int]) -> Batch:
    """A batch of BERT-base's, of 512 tokens a row at most."""
    batch = pack_varlen([np.zeros(length, np.int64) for length in lengths], 0, 512)
    return {name: value.to("meta") if isinstance(value, torch.Tensor) else value for name, value in batch.items()}


def imdb_lengths(rng: np.random.Generator, rows: int = 32) -> list[int]:
    """Draw numbers of tokens like those of IMDB's reviews, cut at 512: 260 on average."""
    lengths: list[int] = np.minimum(np.exp(rng.normal(5.45, 0.65, rows)) + 10, 512).astype(int).tolist()
    return lengths


def make_base(**options: Any) -> nn.Module:
    model: nn.Module = transformers.BertForSequenceClassification(transformers.BertConfig(**BASE | options))
    assert apply_layout(model, "varlen", is_requested=True)[0] == "varlen"
    return model.train()


class CountOperations(TorchDispatchMode):
    """Counts operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.inputs: dict[str, list[Any]] = {}

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = operation.name().removeprefix("aten::").partition(".")[0]
        self.calls[name] += 1
        if "attention" in name:  # not of all: autograd copies a gradient that somebody else holds
            self.inputs[name] = [*args, *(kwargs or {}).values()]
        return operation(*args, **(kwargs or {}))

    def launches(self) -> int:
        """Count those that a GPU runs: neither views nor allocations."""
        return sum(count for name, count in self.calls.items() if name not in VIEWS | ALLOCATIONS)


VIEWS = {
    "_unsafe_view", "alias", "detach", "expand", "select", "slice", "split", "split_with_sizes", "squeeze", "t",
    "transpose", "unbind", "unsqueeze", "view",
}  # fmt: skip
ALLOCATIONS = {"empty", "empty_like", "new_empty"}
SYNCHRONIZING = {"_local_scalar_dense", "equal", "is_nonzero", "item", "masked_select", "nonzero", "repeat_interleave"}


class CudaSemantics(TorchFunctionMode):
    """Makes meta tensors take CUDA's dropout, which is one operation, and its autocast outside our layers."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is nn.functional.dropout:
            return torch.native_dropout(*args, kwargs["p"], kwargs["training"])[0]
        if function is nn.functional.linear:
            args = tuple(tensor.to(torch.bfloat16) for tensor in args)
        return function(*args, **(kwargs or {}))


@pytest.mark.usefixtures("on_meta")
def test_step_of_bert_base_has_half_the_launches() -> None:
    """Of the 1,200 that it had with nested tensors and autocast's casts; clipping and AdamW included."""
    with torch.device("meta"):
        model, labels = make_base(), torch.zeros(33, dtype=torch.long)
    batch = meta_batch(imdb_lengths(np.random.default_rng(0)))
    with CountOperations() as count:
        with CudaSemantics():
            loss = cross_entropy(model(**batch).logits.float(), labels, reduction="sum")
        loss.backward()
    assert count.calls["_flash_attention_forward"] == count.calls["_flash_attention_backward"] == 12
    assert count.calls["_foreach_copy_"] == 24
    assert not count.calls.keys() & SYNCHRONIZING
    assert count.launches() + launches_of_update() <= 600


def launches_of_update() -> int:
    """Count the launches of clipping and of the fused optimizer, which take no meta tensors; they depend on no size."""
    model = make_base(vocab_size=10, hidden_size=12, intermediate_size=4)
    optimizer = make_optimizer(model, 0.01)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    with CountOperations() as count:
        nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
    return count.launches()


@pytest.mark.usefixtures("on_meta")
@pytest.mark.parametrize("size", [26, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_heads_of_any_size_take_the_fast_operations(size: int, dtype: torch.dtype) -> None:
    """Their sizes are multiples of 8 there, the scaling that of the unpadded heads, and its place the kernel."""
    with torch.device("meta"):
        query, key, value = (torch.empty(tokens, 12, size, dtype=dtype, requires_grad=True) for tokens in (3, 70, 70))
        queries, keys = (Documents(torch.empty(4, dtype=torch.int32), longest) for longest in (1, 40))
    with CountOperations() as count:
        attended = varlen_attention(query, key, value, queries, keys, size**-0.5, 0.1)
    assert attended.shape == query.shape
    assert attended.dtype == dtype
    name = f"_{'efficient' if dtype == torch.float32 else 'flash'}_attention_forward"
    tensors = [value for value in count.inputs[name] if isinstance(value, torch.Tensor) and value.ndim > 1]
    assert {tensor.shape[-1] for tensor in tensors} == {-(-size // 8) * 8}
    assert count.inputs[name][-1] == size**-0.5
    assert count.calls["mul"] == 0


@pytest.mark.usefixtures("on_meta")
def test_heads_too_large_for_flash_attention_take_the_other_operation() -> None:
    heads = [torch.empty(7, 2, 264, dtype=torch.bfloat16, device="meta") for _ in range(3)]
    documents = Documents(torch.empty(3, dtype=torch.int32, device="meta"), 7)
    with CountOperations() as count:
        varlen_attention(*heads, documents, documents, 0.1, 0.0)
    assert count.calls["_efficient_attention_forward"] == 1


@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.*should not be instantiated")  # torch's own compiler
@pytest.mark.usefixtures("on_meta")
@pytest.mark.parametrize("family", FAMILIES_ON_GPUS)
def test_compiler_makes_two_graphs_of_fifty_batches(family: str) -> None:
    """One for the first number of tokens, one for all others; nothing in the model breaks a graph in two."""
    graphs = []

    def count_graph(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    model = varlen_copy(make_model(family).to("meta"))
    compiled = torch.compile(model, backend=count_graph)
    rng = np.random.default_rng(0)
    batches = [meta_batch(imdb_lengths(rng)) for _ in range(50)]
    for batch in batches:
        compiled(**batch).logits.sum().backward()
    assert len(graphs) == 2
    assert len({batch["input_ids"].shape for batch in batches}) <= 20
    assert len({(batch["cu_seqlens"].shape, batch["max_seqlen"]) for batch in batches}) == 1
