"""A Hub encoder with a classification head, or the demo's tiny one; loaded from and saved in the Hub's format."""

import logging
import os
import shutil
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from accel_clf.config.schema import ModelConfig
from accel_clf.core import hub_errors
from accel_clf.core.errors import ConfigError
from accel_clf.core.files import disk_errors
from accel_clf.data.dataset import Dataset
from accel_clf.models.demo import DEMO_SHAPE, _demo_tokenizer


def load_tokenizer(settings: ModelConfig, rows: Dataset, max_length: int) -> Any:
    """The model's tokenizer; for the demo's encoder one trained on the texts of `rows` (once, then kept in the cache).

    Raises:
        ConfigError: the model is not to be had, or must not be loaded as it is.
    """
    if settings.name == "demo":
        return _demo_tokenizer(rows, max_length)
    from transformers import AutoTokenizer

    with _mended(settings, "tokenizer"):
        return AutoTokenizer.from_pretrained(settings.name, trust_remote_code=settings.allow_code)


def load_model(
    settings: ModelConfig, label_names: Sequence[str], tokenizer: Any, max_length: int, seed: int
) -> nn.Module:
    """The encoder with a head of one output a label, in float32 on the host.

    The head's weights, and all of the demo's, are drawn by `seed`.

    Raises:
        ConfigError: the model is not to be had, or must not be loaded as it is.
    """
    from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

    names: dict[str, Any] = {
        "id2label": dict(enumerate(label_names)),
        "label2id": {name: code for code, name in enumerate(label_names)},
    }
    torch.manual_seed(seed)
    if settings.name == "demo":
        shape = BertConfig(
            vocab_size=len(tokenizer),
            max_position_embeddings=max_length,
            pad_token_id=tokenizer.pad_token_id,
            **DEMO_SHAPE,
            **names,
        )
        demo: nn.Module = BertForSequenceClassification(shape)
        return demo
    with _mended(settings, "model"):
        model, report = AutoModelForSequenceClassification.from_pretrained(
            settings.name,
            trust_remote_code=settings.allow_code,
            use_safetensors=None if settings.allow_pickle else True,
            ignore_mismatched_sizes=True,  # a head for other labels is made anew
            output_loading_info=True,
            problem_type="single_label_classification",
            dtype=torch.float32,
            **names,
        )
    encoder = f"{model.base_model_prefix}."
    # Poolers belong to the head: they are missing from encoders that were trained without one.
    made = [*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])]
    lost = sorted(name for name in made if name.startswith(encoder) and "pooler" not in name)
    if lost:
        raise ConfigError(
            f"model {settings.name}: its weights do not fit its config.json ({len(lost)} of them, {lost[0]} first)",
            "weights for every part of the encoder",
            "check that config.json and the weights belong together",
        )
    loaded: nn.Module = model
    return loaded


def trained_labels(settings: ModelConfig) -> tuple[str, ...] | None:
    """The label names, in order, of a model that has been a classifier before; None where it has none of its own."""
    if settings.name == "demo":
        return None
    from transformers import AutoConfig

    with _mended(settings, "configuration"):
        config = AutoConfig.from_pretrained(settings.name, trust_remote_code=settings.allow_code)
    names: dict[int, str] = config.id2label or {}
    ordered = tuple(names[code] for code in sorted(names))
    return None if all(name.startswith("LABEL_") for name in ordered) else ordered


def save(folder: Path, model: nn.Module, state: dict[str, torch.Tensor], tokenizer: Any) -> None:
    """Write model, label names and tokenizer in the Hub's format, weights as safetensors.

    What was there before goes when the new is whole.

    Args:
        folder: replaced as a whole.
        model: the bare module, for its configuration.
        state: its weights, on the host.
        tokenizer: saved beside it.
    """
    _silence()
    unfinished, former = folder.with_name(f".{folder.name}-new"), folder.with_name(f".{folder.name}-former")
    for leftover in (unfinished, former):  # of a process that was killed here
        shutil.rmtree(leftover, ignore_errors=True)
    with disk_errors(unfinished):
        model.save_pretrained(unfinished, state_dict=state)  # type: ignore[operator]
    # What the last call has left behind: a folder does not depend on whether the tokens were in the cache.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(unfinished)
    if folder.exists():
        folder.rename(former)
    unfinished.rename(folder)
    shutil.rmtree(former, ignore_errors=True)


def load_trained(folder: Path, settings: ModelConfig) -> tuple[nn.Module, Any]:
    """Model and tokenizer of a folder written by `save`; what the run's settings allowed is allowed again."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    with _mended(ModelConfig(name=str(folder)), "model"):
        options: dict[str, Any] = {"trust_remote_code": settings.allow_code}
        model: nn.Module = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True, **options)
        return model, AutoTokenizer.from_pretrained(folder, **options)


@contextmanager
def _mended(settings: ModelConfig, part: str) -> Any:
    """Turn what transformers raises into a ConfigError."""
    _silence()
    # Without this, a repository with pickled weights only makes transformers ask a service on the Hub to convert them.
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    try:
        yield
    except (OSError, ValueError, ImportError, KeyError, RuntimeError, SafetensorError) as error:
        raise _explain(error, settings, part) from error


def _silence() -> None:
    """Leave the screen to this program: no report on new heads, no bars for a file that is there in a moment."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()


def _explain(error: Exception, settings: ModelConfig, part: str) -> Exception:
    message, folder = str(error), Path(settings.name)
    if "trust_remote_code" in message:
        return ConfigError(
            f"model {settings.name}: its repository brings its own code",
            "a model that transformers knows",
            "read that code, then --model.allow_code true to run it",
        )
    pickled = sorted(path.name for path in folder.glob("*model*.bin")) if folder.is_dir() else []
    only_pickle = bool(pickled) and not any(folder.glob("*.safetensors"))
    hub_says_so = not folder.is_dir() and "safetensors" in message
    if part == "model" and not settings.allow_pickle and (only_pickle or hub_says_so):
        return ConfigError(
            f"model {settings.name}: no safetensors weights"
            + (f", only {pickled[0]}, a pickle, which can run code" if pickled else ""),
            "model.safetensors",
            "choose a revision with safetensors, or --model.allow_pickle true if you trust it",
        )
    if folder.is_dir():
        return ConfigError(
            f"model {settings.name}: {message.strip().splitlines()[0]}",
            "a folder with config.json, model.safetensors and the tokenizer's files",
        )
    if folder.exists() or settings.name.startswith((".", "/", "~")):
        return ConfigError(f"model {settings.name}: no such folder", "a model's folder or a Hub id")
    if isinstance(error, OSError):
        return hub_errors.explain(error, "model", settings.name, ConfigError)
    return ConfigError(
        f"model {settings.name}: {message.strip().splitlines()[0]}", "a text encoder that transformers knows"
    )
