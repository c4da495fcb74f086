"""Tiny encoders, as the families differ in how they read pairs of texts, and a file of pairs."""

import random
from pathlib import Path
from typing import Any

from tests.conftest import write_csv

LENGTH = 24  # positions for tokens: some pairs are longer
WORDS = ("man", "dog", "sleeps", "runs", "nobody", "is", "here", "now", "an", "animal", "moves", "two", "cats", "rest")
HEADER = ("first", "second", "label")
SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
# Family -> its configuration; weights so large that every token, position and type matters.
FORMS: dict[str, dict[str, Any]] = {
    "bert": {**SHAPE, "initializer_range": 0.15, "pad_token_id": 0},
    "electra": {**SHAPE, "initializer_range": 0.15, "pad_token_id": 0, "embedding_size": 16},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "initializer_range": 0.15},
    "roberta": {**SHAPE, "initializer_range": 0.15, "pad_token_id": 1, "type_vocab_size": 1},
    "deberta-v2": {
        **SHAPE, "initializer_range": 0.15, "pad_token_id": 0, "type_vocab_size": 0, "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"], "position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True,
    },
}  # fmt: skip
WITH_TYPES = ("bert", "electra")


def random_pairs(count: int, seed: int = 0, longest: int = 12) -> list[tuple[str, str]]:
    """Pairs of one to so many words a side."""
    rng = random.Random(seed)
    return [(_words(rng, longest), _words(rng, longest)) for _ in range(count)]


def _words(rng: random.Random, longest: int) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(1, longest)))


def write_pairs(path: Path, count: int = 90) -> Path:
    """Write random pairs; they are labelled by whether their first words are the same."""
    pairs = [(first, first if number % 2 else second) for number, (first, second) in enumerate(random_pairs(count))]
    rows = [(*pair, "same" if pair[0].split()[0] == pair[1].split()[0] else "other") for pair in pairs]
    return write_csv(path, rows, HEADER)


def make_tokenizer(family: str) -> Any:
    """A tokenizer of the family's own class, of words, letters or bytes."""
    import transformers

    letters = sorted({*"".join(WORDS)})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters), *WORDS]
    word_pieces = {piece: code for code, piece in enumerate(pieces)}
    if family == "roberta":
        from tokenizers import pre_tokenizers

        symbols = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
        return transformers.RobertaTokenizer(vocab={symbol: code for code, symbol in enumerate(symbols)}, merges=[])
    if family == "deberta-v2":
        special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
        pieces = [*special, *(f"▁{word}" for word in WORDS), "▁", *letters]
        return transformers.DebertaV2Tokenizer(vocab=[(piece, 0.0 if piece in special else -3.0) for piece in pieces])
    return {
        "bert": transformers.BertTokenizer,
        "electra": transformers.ElectraTokenizer,
        "distilbert": transformers.DistilBertTokenizer,
    }[family](vocab=word_pieces)


def make_encoder(folder: Path, family: str, **options: Any) -> Path:
    """Make an encoder's folder in the Hub's format, with fixed random weights and without dropout."""
    import torch
    import transformers

    tokenizer = make_tokenizer(family)
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    if family == "distilbert":
        no_dropout = {"dropout": 0.0, "attention_dropout": 0.0}
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(
        family, vocab_size=len(tokenizer), max_position_embeddings=LENGTH + 2, **FORMS[family], **no_dropout, **options
    )
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def settings(folder: Path, encoder: Path | str, pairs: Path, **data: Any) -> dict[str, Any]:
    """Settings of a run on pairs, of seconds."""
    return {
        "model": {"name": str(encoder)},
        "data": {"train": str(pairs), "text": "first", "pair": "second", "max_length": LENGTH, **data},
        "batch": {"size": 8},
        "training": {"learning_rate": 1e-3, "precision": "fp32"},
        "evaluation": {"baseline": False},
        "output": str(folder / "run"),
    }


def pipeline_scores(model: Path, pairs: list[tuple[str, str]]) -> list[dict[str, float]]:
    """Each label's score by transformers' own pipeline, in the labels' alphabetical order."""
    import transformers

    classifier: Any = transformers.pipeline("text-classification", model=str(model), top_k=None, device="cpu")
    inputs = [{"text": text, "text_pair": pair} for text, pair in pairs]
    answers = [classifier(each, truncation=True, max_length=LENGTH) for each in inputs]
    return [dict(sorted((item["label"], item["score"]) for item in answer)) for answer in answers]
