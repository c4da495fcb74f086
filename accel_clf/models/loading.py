"""A Hub encoder with a classification head, or the demo's tiny one; loaded from and saved in the Hub's format."""

import importlib.util
import logging
import os
import shutil
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from accel_clf.config.schema import ModelConfig
from accel_clf.core import hub_errors
from accel_clf.core.errors import ConfigError
from accel_clf.core.files import disk_errors
from accel_clf.data.dataset import Dataset
from accel_clf.data.tokenizers import is_fast
from accel_clf.models import head
from accel_clf.models.checks import check_reads_texts
from accel_clf.models.demo import load_demo_tokenizer, make_demo_model
from accel_clf.models.equal_lengths import answer_equal_lengths, reads_padding
from accel_clf.models.mean_pooling import append_mean_layer
from accel_clf.models.padding import set_padding_token
from accel_clf.targets.base import Target
from accel_clf.targets.objective import NO_RESCALING, Objective, Rescaling
from accel_clf.targets.registry import OPTIONS, options_of

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


def load_tokenizer(settings: ModelConfig, rows: Dataset, max_length: int, *, only_local: bool = False) -> Any:
    """Load the model's tokenizer; the demo's is trained on the texts of `rows`, once, and kept in the cache.

    Args:
        settings: names the model.
        rows: the training rows.
        max_length: tokens per row.
        only_local: whether to look on this machine only.

    Raises:
        ConfigError: the model is not available, or must not be loaded as it is.
    """
    if settings.name == "demo":
        return load_demo_tokenizer(rows, max_length)
    from transformers import AutoTokenizer

    if settings.revision and Path(settings.name).is_dir():
        raise ConfigError(
            f"model.revision is {settings.revision}, and model.name is a local folder",
            "a model on the Hub, which has revisions",
            "--model.revision null",
        )
    source = settings if settings.tokenizer is None else settings.model_copy(update={"name": settings.tokenizer})
    with _user_errors(source, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(
            source.name,
            trust_remote_code=settings.allow_code,
            local_files_only=only_local,
            **({} if settings.tokenizer else _revision(settings)),
        )
    check_reads_texts(tokenizer, source.name)
    tokenizer.model_max_length = max_length  # where pipelines of the saved model cut
    return tokenizer


def _revision(settings: ModelConfig) -> dict[str, str]:
    return {} if settings.revision is None else {"revision": settings.revision}


def load_model(
    settings: ModelConfig,
    target: Target,
    tokenizer: Any,
    max_length: int,
    seed: int,
    objective: Objective | None = None,
    *,
    is_probed: bool = False,
) -> nn.Module:
    """Load the encoder with a head for its target, in float32 on the host.

    Args:
        settings: names the model.
        target: what the outputs are.
        tokenizer: see `load_tokenizer`.
        max_length: tokens per row.
        seed: draws the head's weights, and all of the demo's.
        objective: has where a new head begins.
        is_probed: whether a linear model is to be fitted to what the head reads: the mean of tokens, where it can.

    Raises:
        ConfigError: the model is not available, or must not be loaded as it is.
    """
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(seed)
    if settings.name == "demo":
        demo = make_demo_model(tokenizer, max_length, target.hf_config())
        return _with_target(demo, target, objective, is_new=True)
    with _user_errors(settings, "model"):
        model, report = AutoModelForSequenceClassification.from_pretrained(
            settings.name,
            trust_remote_code=settings.allow_code,
            use_safetensors=None if settings.allow_pickle else True,
            ignore_mismatched_sizes=True,  # a head for other labels is initialized from scratch
            output_loading_info=True,
            dtype=torch.float32,
            **_revision(settings),
            **target.hf_config(),
        )
    initialized = [*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])]
    misfits = sorted(name for name in initialized if not head.contains(model, name))
    if misfits:
        raise ConfigError(
            f"model {settings.name}: its weights do not fit its config.json "
            f"({len(misfits)} of them, {misfits[0]} first)",
            "weights for every part of the encoder",
            "check that config.json and the weights belong together",
        )
    set_padding_token(model, tokenizer, settings.name)
    _answer_texts(model, tokenizer)
    if is_probed and not initialized:
        raise ConfigError(
            f"training.method is lp_ft, and {settings.name} has a trained head for these labels",
            "an encoder without one, whose head begins as a linear model",
            "--training.method fine_tune, which trains it further",
        )
    if is_probed:
        append_mean_layer(model)
    return _with_target(model, target, objective, is_new=bool(initialized))


def _answer_texts(model: nn.Module, tokenizer: Any) -> None:
    """Make a model's answer for a row its own: no padding changes it, and none of it is kept for a text to go on."""
    config: Any = model.config
    if getattr(config, "use_cache", False):
        config.use_cache = False
    for module in model.modules():
        if getattr(module, "attention_type", None) == "block_sparse":  # it falls back for good at the first short text
            module.set_attention_type("original_full")  # type: ignore[operator]
            config.attention_type = "original_full"
    if reads_padding(model, tokenizer.padding_side):
        answer_equal_lengths(model)


def _with_target(model: nn.Module, target: Target, objective: Objective | None, is_new: bool) -> nn.Module:
    """Note the target in the model's configuration, and let its head begin where the objective has it."""
    config: Any = model.config
    if options := options_of(target):
        config.accel_clf = options
    elif hasattr(config, OPTIONS):
        del config.accel_clf
    if objective is None:
        return model
    if is_new and objective.bias is not None:
        head.start_bias(model, objective.bias)
    elif not is_new and objective.rescaling != NO_RESCALING:  # a trained head answers in the target's own unit
        trained = head.rescaled(model.state_dict(), head.last_linear(model), objective.rescaling.inverse())
        model.load_state_dict(trained or {}, strict=trained is not None)
    return model


def read_model_type(settings: ModelConfig) -> str:
    """Read the `model_type` in a model's config.json."""
    from transformers import AutoConfig

    if settings.name == "demo":
        return "bert"
    with _user_errors(settings, "configuration"):
        config = AutoConfig.from_pretrained(settings.name, trust_remote_code=settings.allow_code, **_revision(settings))
    return str(config.model_type)


def saved_label_names(settings: ModelConfig) -> tuple[str, ...] | None:
    """Read the label names, in order, of a model that is a classifier already; None where it has none."""
    if settings.name == "demo":
        return None
    from transformers import AutoConfig

    with _user_errors(settings, "configuration"):
        config = AutoConfig.from_pretrained(settings.name, trust_remote_code=settings.allow_code, **_revision(settings))
    names: dict[int, str] = config.id2label or {}
    ordered = tuple(names[code] for code in sorted(names))
    return None if all(name.startswith("LABEL_") for name in ordered) else ordered


def save(
    folder: Path,
    model: nn.Module,
    state: dict[str, torch.Tensor],
    tokenizer: Any,
    options: Mapping[str, Any] = NO_OPTIONS,
) -> None:
    """Write model, label names and tokenizer in the Hub's format, weights as safetensors.

    Args:
        folder: replaced once the new one is complete.
        model: the bare module, for its configuration.
        state: its weights, on the host.
        tokenizer: saved beside it.
        options: what `load_trained` needs to know that transformers has no key for.
    """
    _silence_transformers()
    unfinished, former = folder.with_name(f".{folder.name}-new"), folder.with_name(f".{folder.name}-former")
    for leftover in (unfinished, former):  # of a process that was killed here
        shutil.rmtree(leftover, ignore_errors=True)
    if options:
        model.config.accel_clf = dict(options)  # type: ignore[union-attr]
    with disk_errors(unfinished):
        model.save_pretrained(unfinished, state_dict=state)  # type: ignore[operator]
    # State of its last call: the folder must not depend on whether the tokens came from the cache.
    if is_fast(tokenizer):
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(unfinished)
    if folder.exists():
        folder.rename(former)
    unfinished.rename(folder)
    shutil.rmtree(former, ignore_errors=True)


def load_trained(folder: Path, settings: ModelConfig) -> tuple[nn.Module, Any]:
    """Load model and tokenizer of a folder written by `save`; what the run's settings allowed is allowed again."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    with _user_errors(ModelConfig(name=str(folder)), "model"):
        options: dict[str, Any] = {"trust_remote_code": settings.allow_code}
        model: Any = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True, **options)
        if beside := (getattr(model.config, OPTIONS, None) or {}).get(head.KEPT_BESIDE):
            head.rescale_outputs(model, Rescaling(*beside))
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        _answer_texts(model, tokenizer)
        return model, tokenizer


@contextmanager
def _user_errors(settings: ModelConfig, part: str) -> Any:
    """Turn what transformers raises into a ConfigError."""
    _silence_transformers()
    # Otherwise transformers asks a service on the Hub to convert the weights of a repository with pickled ones only.
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    try:
        yield
    except (OSError, ValueError, ImportError, KeyError, RuntimeError, SafetensorError) as error:
        raise _explain(error, settings, part) from error


def _silence_transformers() -> None:
    """Leave the screen to this program: no report on new heads, no progress bars for small files."""
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
    if part == "tokenizer" and (missing := _missing_packages(message, folder)):
        return ConfigError(
            f"model {settings.name}: its tokenizer needs {missing}, and has no tokenizer.json, which would not",
            "a tokenizer.json, or the packages that read what the tokenizer is in",
            "pip install 'accel_clf[tokenizers]'",
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


def _missing_packages(message: str, folder: Path) -> str:
    """Name the packages that a tokenizer's files need and that are not installed; empty where this is not it.

    Transformers' message names one of them, and not always the right one: it takes a SentencePiece file that it cannot
    read for one of tiktoken.
    """
    files = [path.name for path in folder.glob("*.model")] if folder.is_dir() else []
    of_sentencepiece = [name for name in files if name != "tiktoken.model"] or "sentencepiece" in message.lower()
    if not of_sentencepiece and not any(name in message.lower() for name in ("tiktoken", "protobuf")):
        return ""
    needed = ("sentencepiece", "google.protobuf") if of_sentencepiece else ("tiktoken",)
    missing = [name.removeprefix("google.") for name in needed if not _is_installed(name)]
    return " and ".join(missing)


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the package that it is in
        return False
