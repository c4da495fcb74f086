"""Tokens on disk equal the output of the tokenizer, are made once, and are never incomplete."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from accel_clf.config.schema import DataConfig, ModelConfig
from accel_clf.core.errors import DataError
from accel_clf.data.dataset import Dataset, count_blank_texts, digest, shared_texts
from accel_clf.data.sources import read_dataset
from accel_clf.data.tokenization import tokenize, tokenize_texts, tokenizer_digest
from accel_clf.models.loading import load_tokenizer
from tests.conftest import write_csv
from tests.pair_forms import FORMS, HEADER, make_tokenizer, random_pairs, write_pairs

PAIRS = DataConfig(text="first", pair="second")


@pytest.fixture(scope="module")
def rows(reviews: Path) -> Dataset:
    return read_dataset(str(reviews), DataConfig(), split="train")


@pytest.fixture(scope="module")
def tokenizer(rows: Dataset) -> Any:
    return load_tokenizer(ModelConfig(name="demo"), rows, 32)


def test_tokens_equal_those_of_the_tokenizer(rows: Dataset, tokenizer: Any, tmp_path: Path) -> None:
    tokens = tokenize(rows, tokenizer, 16, tmp_path)
    expected = tokenizer(list(rows.texts()), truncation=True, max_length=16)["input_ids"]
    assert [row.tolist() for row in map(tokens.__getitem__, range(len(tokens)))] == expected
    assert tokens.lengths.tolist() == list(map(len, expected))
    assert tokens.largest == max(map(max, expected))
    assert tokens.ids.dtype == np.uint16
    assert isinstance(tokens.ids.base, np.memmap)
    in_memory = tokenize_texts(list(rows.texts()), tokenizer, 16)
    assert np.array_equal(in_memory.ids, tokens.ids)
    assert np.array_equal(in_memory.starts, tokens.starts)


def test_tokens_are_made_once(rows: Dataset, tokenizer: Any, tmp_path: Path) -> None:
    tokenize(rows, tokenizer, 16, tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("tokenized again")

    class IdentityOnly:
        """The same tokenizer, which can be identified but not called."""

        __call__ = fail

        def __getattr__(self, name: str) -> Any:
            return getattr(tokenizer, name)

        def __len__(self) -> int:
            return len(tokenizer)

    assert len(tokenize(rows, IdentityOnly(), 16, tmp_path)) == len(rows)
    with pytest.raises(AssertionError, match="tokenized again"):
        tokenize(rows, IdentityOnly(), 17, tmp_path)
    with pytest.raises(AssertionError, match="tokenized again"):
        tokenize(rows.take(np.arange(5)), IdentityOnly(), 16, tmp_path)


def test_calls_do_not_change_the_digest_of_a_tokenizer(tokenizer: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    before = tokenizer_digest(tokenizer)
    tokenizer(["a b c"], truncation=True, max_length=3, padding="max_length")
    assert tokenizer_digest(tokenizer) == before
    tokenizer.save_pretrained(tmp_path)
    loaded: Any = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer_digest(loaded) == before
    loaded.add_tokens(["moreover"])
    assert tokenizer_digest(loaded) != before


def test_damaged_cache_is_rebuilt(rows: Dataset, tokenizer: Any, tmp_path: Path) -> None:
    first = np.array(tokenize(rows, tokenizer, 16, tmp_path).ids)
    (ids,) = tmp_path.glob("tokens/*/ids")
    ids.write_bytes(ids.read_bytes()[:-1])
    assert np.array_equal(tokenize(rows, tokenizer, 16, tmp_path).ids, first)
    (meta,) = tmp_path.glob("tokens/*/meta.json")
    meta.write_text("{")
    assert np.array_equal(tokenize(rows, tokenizer, 16, tmp_path).ids, first)


def test_concurrent_calls_share_the_cache(rows: Dataset, tokenizer: Any, tmp_path: Path) -> None:
    """As when two runs start together: the first creates the folder, the others reuse it."""
    with ThreadPoolExecutor(4) as pool:
        token_ids = list(pool.map(lambda _: np.array(tokenize(rows, tokenizer, 16, tmp_path).ids), range(8)))
    assert all(np.array_equal(token_ids[0], others) for others in token_ids)
    assert len([path for path in (tmp_path / "tokens").iterdir() if path.is_dir()]) == 1


def test_interrupted_tokenization_leaves_nothing_behind(rows: Dataset, tokenizer: Any, tmp_path: Path) -> None:
    def interrupted_texts() -> Any:
        yield from list(rows.texts())[:5]
        raise KeyboardInterrupt

    from dataclasses import replace

    with pytest.raises(KeyboardInterrupt):
        tokenize(replace(rows, stream=interrupted_texts), tokenizer, 16, tmp_path)
    assert not any(path.is_dir() for path in (tmp_path / "tokens").iterdir())


def test_text_that_the_tokenizer_fails_on_is_shown(tmp_path: Path) -> None:
    """A vocabulary without a token for what it does not know, and a text with such a word among others."""
    words = Tokenizer(WordPiece({"a": 0, "dull": 1, "film": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    path = write_csv(tmp_path / "rows.csv", [("a dull film", "1"), ("a quetzal", "0"), ("a film", "1")])
    rows = read_dataset(str(path), DataConfig(), split="train")
    with pytest.raises(
        DataError, match=r"rows\.csv: the tokenizer fails on .* 'a quetzal' \(Exception: WordPiece error"
    ):
        tokenize(rows, PreTrainedTokenizerFast(tokenizer_object=words), 16, tmp_path)
    assert not any(path.is_dir() for path in (tmp_path / "tokens").iterdir())


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.csv")
    return read_dataset(str(path), PAIRS, split="train")


@pytest.mark.parametrize("family", FORMS)
def test_pairs_are_encoded_as_the_tokenizer_encodes_them(pairs: Dataset, family: str, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(family)
    first, second = zip(*pairs.texts(), strict=True)
    expected = tokenizer(list(first), list(second), truncation=True, max_length=16, return_token_type_ids=True)
    for folder in (tmp_path, tmp_path):  # made, and read from the cache
        tokens = tokenize(pairs, tokenizer, 16, folder)
        assert [tokens[row].tolist() for row in range(len(tokens))] == expected["input_ids"]
        typed = tokenize(pairs, tokenizer, 16, folder, with_types=True)
        assert [typed[row][:, 0].tolist() for row in range(len(typed))] == expected["input_ids"]
        assert [typed[row][:, 1].tolist() for row in range(len(typed))] == expected["token_type_ids"]
        assert typed.lengths.tolist() == tokens.lengths.tolist()
        assert typed.largest == tokens.largest == max(map(max, expected["input_ids"]))
    in_memory = tokenize_texts(list(pairs.texts()), tokenizer, 16, with_types=True)
    assert np.array_equal(in_memory.ids, typed.ids)


def test_cache_of_pairs_sees_both_sides(pairs: Dataset, tmp_path: Path) -> None:
    tokenizer = make_tokenizer("bert")
    swapped = read_dataset(pairs.origin, DataConfig(text="second", pair="first"), split="train")
    joined = read_dataset(pairs.origin, DataConfig(text=("first", "second")), split="train")
    folders = set()
    for rows, with_types in ((pairs, False), (pairs, True), (swapped, False), (joined, False)):
        tokenize(rows, tokenizer, 16, tmp_path, with_types=with_types)
        folders |= {path.name for path in (tmp_path / "tokens").iterdir() if path.is_dir()}
    assert len(folders) == 4
    assert len({rows.digest() for rows in (pairs, swapped, joined)}) == 3


@pytest.mark.parametrize("max_length", [5, 6, 16])
def test_no_side_of_a_pair_is_cut_to_nothing(max_length: int) -> None:
    """Of 10,000 pairs, most of them far longer on one side: whose tokens have the types 0 and 1, each with a [SEP]."""
    short, long = (random_pairs(5000, seed=longest, longest=longest) for longest in (2, 60))
    pairs = [(a, b) for (a, _), (_, b) in zip(short, long, strict=True)]
    pairs += [(b, a) for a, b in pairs]
    tokens = tokenize_texts(pairs, make_tokenizer("bert"), max_length, with_types=True)
    assert len(tokens) == 10_000
    of_second = np.add.reduceat(tokens.ids[:, 1], tokens.starts)
    assert (of_second >= 2).all()
    assert (tokens.lengths - of_second >= 3).all()
    assert (tokens.lengths <= max_length).all()


def test_digests_of_pairs(tmp_path: Path) -> None:
    """See both texts and their order; an empty one is counted."""
    texts: list[Any] = [("ab", "c"), ("a", "bc"), ("c", "ab"), "abc", ("", "a"), ("a", ""), ("", ""), ""]
    assert len({digest(text) for text in texts}) == len(texts)
    assert {len(digest(text)) for text in texts} == {16}
    rows = [("a", "", "x"), ("", "b", "y"), ("", "", "x"), ("a", "b", "y"), ("b", "a", "x"), ("a", "b", "x")]
    path = write_csv(tmp_path / "pairs.csv", rows, HEADER)
    dataset = read_dataset(str(path), PAIRS, split="train")
    assert count_blank_texts(dataset) == 3
    assert shared_texts(dataset.take(np.array([3])), dataset).sum() == 2
