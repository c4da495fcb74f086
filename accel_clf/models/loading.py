"""A Hub encoder with a classification head, or the demo's tiny one; loaded from and saved in the Hub's format."""

import errno
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from accel_clf.config.schema import Model
from accel_clf.core import hub_errors
from accel_clf.core.errors import ConfigError
from accel_clf.data.dataset import Rows
from accel_clf.data.tokenization import alone, cache_folder, made_aside

# Large enough a start for weights that nothing has trained: BERT's own 0.02 makes the tiny encoder learn half as fast.
DEMO_SHAPE: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 96,
    "initializer_range": 0.12,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
DEMO_VOCABULARY = 4000


def load_tokenizer(settings: Model, rows: Rows, max_length: int) -> Any:
    """The model's tokenizer; for the demo's encoder one trained on the texts of `rows` (once, then kept in the cache).

    Raises:
        ConfigError: the model is not to be had, or must not be loaded as it is.
    """
    if settings.name == "demo":
        return _demo_tokenizer(rows, max_length)
    from transformers import AutoTokenizer

    with _mended(settings, "tokenizer"):
        return AutoTokenizer.from_pretrained(settings.name, trust_remote_code=settings.allow_code)


def load_model(settings: Model, label_names: Sequence[str], tokenizer: Any, max_length: int, seed: int) -> nn.Module:
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


def trained_labels(settings: Model) -> tuple[str, ...] | None:
    """The label names, in order, of a model that has been a classifier before; None where it has none of its own."""
    if settings.name == "demo":
        return None
    from transformers import AutoConfig

    with _mended(settings, "configuration"):
        config = AutoConfig.from_pretrained(settings.name, trust_remote_code=settings.allow_code)
    names: dict[int, str] = config.id2label or {}
    ordered = tuple(names[code] for code in sorted(names))
    return None if all(name.startswith("LABEL_") for name in ordered) else ordered


def check_fits(model: nn.Module, name: str, largest_token: int, max_length: int) -> None:
    """Find what would fail on the device, as an index out of range, before anything is there.

    Raises:
        ConfigError: a token id beyond the vocabulary, or texts longer than the model has positions.
    """
    vocabulary = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    if largest_token >= vocabulary:
        raise ConfigError(
            f"{name}: its tokenizer gives token {largest_token}, its embeddings end at {vocabulary - 1}",
            "a tokenizer and a model that belong together",
            "check that the folder's tokenizer files are this model's",
        )
    positions = max_positions(model)
    if positions is not None and max_length > positions:
        raise ConfigError(
            f"data.max_length is {max_length}, but {name} has {positions} positions",
            f"at most {positions}",
            f"--data.max_length {positions}",
        )


def max_positions(model: nn.Module) -> int | None:
    """Tokens that a model's learned positions allow; None where positions are relative and have no such end."""
    positions = _positions(model)
    return None if positions is None else positions.num_embeddings - first_position(model)


def first_position(model: nn.Module) -> int:
    """What a text's first token has for its position: 0, but RoBERTa and its kin count from padding_idx + 1."""
    positions = _positions(model)
    return 0 if positions is None or positions.padding_idx is None else positions.padding_idx + 1


def _positions(model: nn.Module) -> nn.Embedding | None:
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module
    return None


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


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn safetensors' own kind of OSError into one."""
    try:
        yield
    except SafetensorError as error:
        found = re.search(r"os error (\d+)", str(error))
        code = int(found[1]) if found else errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from error


def load_trained(folder: Path, settings: Model) -> tuple[nn.Module, Any]:
    """Model and tokenizer of a folder written by `save`; what the run's settings allowed is allowed again."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    with _mended(Model(name=str(folder)), "model"):
        options: dict[str, Any] = {"trust_remote_code": settings.allow_code}
        model: nn.Module = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True, **options)
        return model, AutoTokenizer.from_pretrained(folder, **options)


@contextmanager
def _mended(settings: Model, part: str) -> Any:
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


def _explain(error: Exception, settings: Model, part: str) -> Exception:
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


def _demo_tokenizer(rows: Rows, max_length: int) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    folder = cache_folder() / "tokenizers" / f"{rows.fingerprint()[:32]}-words-{DEMO_VOCABULARY}-{max_length}"
    with alone(folder):
        if not (folder / "tokenizer_config.json").is_file():
            special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
            with made_aside(folder) as unfinished:
                PreTrainedTokenizerFast(
                    tokenizer_object=_words_and_letters(rows.texts(), list(special.values())),
                    model_max_length=max_length,
                    **{f"{name}_token": token for name, token in special.items()},
                ).save_pretrained(unfinished)
    return AutoTokenizer.from_pretrained(folder)


def _words_and_letters(texts: Iterator[str], special: list[str]) -> Any:
    """A WordPiece tokenizer of the most frequent words, and of letters for all others.

    The library's own trainer of word pieces breaks ties at random: each time other ids, another model. Its counting of
    words breaks them by the alphabet.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    def tokenizer(model: Any) -> Any:
        made = Tokenizer(model)
        made.normalizer = normalizers.BertNormalizer(lowercase=True)
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return made

    counted = tokenizer(models.WordLevel(unk_token="[UNK]"))
    counted.train_from_iterator(texts, trainers.WordLevelTrainer(vocab_size=DEMO_VOCABULARY, show_progress=False))
    words = sorted(counted.get_vocab(), key=counted.get_vocab().__getitem__)
    letters = sorted({*map(chr, range(33, 127)), *"".join(words)})
    pieces = dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), *words])
    made = tokenizer(models.WordPiece({piece: code for code, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(token, made.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    )
    return made
