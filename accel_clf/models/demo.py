"""The demo's tiny encoder, trained from scratch, and its tokenizer."""

from collections.abc import Iterator
from typing import Any

from accel_clf.core.cache import cache_folder, cache_lock
from accel_clf.core.files import atomic_dir
from accel_clf.data.dataset import Dataset

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


def _demo_tokenizer(rows: Dataset, max_length: int) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    folder = cache_folder() / "tokenizers" / f"{rows.fingerprint()[:32]}-words-{DEMO_VOCABULARY}-{max_length}"
    with cache_lock(folder):
        if not (folder / "tokenizer_config.json").is_file():
            special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
            with atomic_dir(folder) as unfinished:
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
