"""The demo's tiny encoder, trained from scratch, and its tokenizer."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from torch import nn

from accel_clf.core.cache import cache_folder, cache_lock
from accel_clf.core.files import atomic_dir
from accel_clf.data.dataset import Dataset
from accel_clf.data.texts import sides

VOCABULARY_SIZE = 4000
# BERT's own initializer_range, 0.02, makes the tiny encoder, which starts from nothing, learn half as fast.
SHAPE: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 96,
    "initializer_range": 0.12,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def make_demo_model(tokenizer: Any, max_length: int, outputs: Mapping[str, Any]) -> nn.Module:
    """Make the encoder with its head, its weights drawn from torch's generator.

    Args:
        tokenizer: see `load_demo_tokenizer`.
        max_length: positions.
        outputs: the target's part of the configuration.
    """
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=max_length,
        pad_token_id=tokenizer.pad_token_id,
        **SHAPE,
        **outputs,
    )
    model: nn.Module = BertForSequenceClassification(config)
    return model


def load_demo_tokenizer(rows: Dataset, max_length: int) -> Any:
    """Load the tokenizer trained on the texts of `rows`; the first call trains it and keeps it in the cache."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    folder = cache_folder() / "tokenizers" / f"{rows.fingerprint()[:32]}-words-{VOCABULARY_SIZE}-{max_length}"
    with cache_lock(folder):
        if not (folder / "tokenizer_config.json").is_file():
            special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
            with atomic_dir(folder) as unfinished:
                PreTrainedTokenizerFast(
                    tokenizer_object=_train_word_piece(
                        chain.from_iterable(map(sides, rows.texts())), list(special.values()), rows.has_pairs
                    ),
                    model_max_length=max_length,
                    **{f"{name}_token": token for name, token in special.items()},
                ).save_pretrained(unfinished)
    return AutoTokenizer.from_pretrained(folder)


def _train_word_piece(texts: Iterator[str], special: list[str], has_pairs: bool) -> Any:
    """Make a WordPiece tokenizer of the most frequent words, and of letters for all others.

    The library's own trainer of word pieces breaks ties at random, which would give other ids, and another model, each
    time. Its counting of words breaks them alphabetically.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    def tokenizer_of(model: Any) -> Any:
        tokenizer = Tokenizer(model)
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return tokenizer

    counted = tokenizer_of(models.WordLevel(unk_token="[UNK]"))
    counted.train_from_iterator(texts, trainers.WordLevelTrainer(vocab_size=VOCABULARY_SIZE, show_progress=False))
    words = sorted(counted.get_vocab(), key=counted.get_vocab().__getitem__)
    letters = sorted({*map(chr, range(33, 127)), *"".join(words)})
    pieces = dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), *words])
    vocabulary = {piece: code for code, piece in enumerate(pieces)}
    tokenizer = tokenizer_of(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1" if has_pairs else None,
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer
