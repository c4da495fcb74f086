"""Which kernels a model gets, when and why: the one place that decides.

`model.kernels: off` switches all of them off: the model then runs transformers' own code, padded.

| kernel | on when | gain (benchmarks/LOG.md) | alone off by |
|---|---|---|---|
| `packed`, with `attention` and `first_token` | the layout is packed (`batch.layout: auto` takes it on a CPU), the family is known (BERT's, or one of the next rows), and the encoder is not tiny | no padding: IMDB trains 2.2 to 3.4 times as fast as by the HF Trainer | `batch.layout: padded` |
| `gated_layer`, with `rotary_attention` and `pointwise` | packed batches on a CPU, ModernBERT, EuroBERT, Llama or Qwen3 | norms, rotary positions, windows and gates in few passes over memory: a file is predicted 2.7 times as fast as in padded batches of 32 | `batch.layout: padded` |
| `relative_attention`, `relative_layers` | the same for DeBERTa-v2, v3 and MPNet, on a CPU | steps of DeBERTa-v3's form take 0.35 of the processor time of padded ones by length, `predict` in fp32 0.18 of the pipeline's | `batch.layout: padded` |
| `repeated_layers` | the same for ALBERT, on a CPU | its last repetition answers at first tokens only; steps take 0.38 of the processor time of padded ones by length | `batch.layout: padded` |
| `varlen` | the same on a GPU, BERT's family | no padding; half the launches a step (counted; not measured) | `batch.layout: padded` |
| `dropout` | training on a CPU | a step with dropout does not wait for torch's sequential generator | a model without dropout |
| `embedding_grad` | training by one process on a CPU, without fp16's scaler, embeddings of 2^20 elements or more | 1.01 times as fast for 30,000 words, 1.10 for 250,000 | `training.precision: fp16` |
| `fused_inference` | packed inference on a CPU by fp32 or bf16 with oneDNN; with AVX2 only in a server | an answer takes 0.8 of the time | `serve --precision int8` |
"""  # noqa: E501 - a table

from typing import Any

import torch
from torch import nn

from accel_clf.core.errors import ConfigError
from accel_clf.models.checkpointing import compute_replaced_layers_again
from accel_clf.models.families.registry import FAMILIES, family_of
from accel_clf.models.kernels.dropout import replace_dropout
from accel_clf.models.kernels.embedding_grad import SparseEmbeddingGrad
from accel_clf.models.kernels.fused_inference import can_fuse, faster_for_long_inputs, fuse
from accel_clf.models.lora import adapted, has_dropout
from accel_clf.models.packed import PACKED, VARLEN, pack_model

# Device -> its packed layout. Others have no kernel for attention within documents.
PACKED_LAYOUTS = {"cpu": PACKED, "cuda": VARLEN}
# Columns. Without dropout, going from group to group of documents costs more than packing saves the demo's 48.
NARROW = 64


def apply_layout(
    model: nn.Module, layout: str, *, is_requested: bool = False, kernels: str = "auto"
) -> tuple[str, str]:
    """Make a model take batches of a layout, in place.

    Args:
        model: an encoder with a head.
        layout: the preferred one: "packed", "varlen", "padded" or "bucketed".
        is_requested: whether the user has asked for it; otherwise packing must pay.
        kernels: the setting model.kernels.

    Returns:
        The layout that it takes, which is padded where packed is impossible or does not pay, and why.

    Raises:
        ConfigError: packed is requested, and kernels are off.
    """
    config: Any = model.config
    if layout not in (PACKED, VARLEN):
        return layout, "as set" if is_requested else "what suits the device"
    if kernels == "off":
        if is_requested:
            raise ConfigError(
                "batch.layout is packed, and model.kernels is off",
                "one or the other: packing is a kernel",
                "--batch.layout padded, or --model.kernels auto",
            )
        return "padded", "model.kernels is off"
    family = family_of(model)
    if family is None:
        return "padded", f"{config.model_type} is none of {', '.join(FAMILIES)}, which can be packed"
    if layout not in family.layouts:
        return "padded", f"no kernels for {config.model_type} in the {layout} layout"
    if obstacle := family.obstacle(config):
        return "padded", f"{config.model_type} with {obstacle}"
    if has_dropout(model):
        if is_requested:
            raise ConfigError(
                "batch.layout is packed, and model.lora.dropout, of inputs that packed layers never make",
                "one or the other",
                "--batch.layout padded, or --model.lora.dropout 0",
            )
        return "padded", "model.lora.dropout is of inputs that packed layers never make"
    if not is_requested and config.hidden_size < NARROW and not _has_attention_dropout(config):
        return "padded", "too small an encoder to gain by packing"
    pack_model(model, family, layout)
    if layout == VARLEN:
        compute_replaced_layers_again(model)
    return layout, "as set" if is_requested else "no padding"


def _has_attention_dropout(config: Any) -> bool:
    """Whether attention has dropout, for which torch has no kernel on a CPU."""
    return bool(getattr(config, "attention_probs_dropout_prob", 0) or getattr(config, "attention_dropout", 0))


def optimize_for_training(
    model: nn.Module, device: torch.device, *, sparse_gradients: bool, kernels: str
) -> SparseEmbeddingGrad | None:
    """Replace a model's operations by faster ones, in place.

    Args:
        model: on any device.
        device: where it will be trained.
        sparse_gradients: whether the optimizer's step may take gradients from tables of ours: one process, no scaler.
        kernels: the setting model.kernels.

    Returns:
        What the step must fill and clear around clipping and the optimizer; None where gradients are torch's own.
    """
    if kernels == "off" or device.type != "cpu":
        return None
    replace_dropout(model)
    return SparseEmbeddingGrad(model) if sparse_gradients else None


def optimize_for_inference(
    model: nn.Module, layout: str, device: torch.device, precision: str, *, low_latency: bool
) -> None:
    """Fuse a packed model's operations, in place, where that is faster; it cannot be trained afterwards.

    Args:
        model: as `apply_layout` has left it.
        layout: that it takes.
        device: where it will run.
        precision: of matrix products.
        low_latency: whether inputs will be a few short texts rather than a file.
    """
    if adapted(model):
        return  # whose products are beside those of the layers
    if layout == PACKED and can_fuse(device, precision) and (low_latency or faster_for_long_inputs()):
        family = family_of(model)
        assert family, "packed models are of a known family"
        fuse(model, family)
