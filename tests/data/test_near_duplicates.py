"""Texts that are nearly those of other rows, and what is said of suspicious rows."""

import random
from pathlib import Path

import numpy as np
import pytest

from accel_clf.config.schema import DataConfig
from accel_clf.data import near_duplicates, splits
from accel_clf.data.dataset import Dataset
from accel_clf.data.sources import read_dataset
from tests.conftest import write_csv

WORDS = [f"word{number}" for number in range(3000)]


def texts_of(count: int, seed: int, words: int = 30) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=words)) for _ in range(count)]


def rows_of(path: Path, texts: list[str]) -> Dataset:
    write_csv(path, [(text, "ab"[number % 2]) for number, text in enumerate(texts)])
    return read_dataset(str(path), DataConfig(), split="train")


@pytest.mark.parametrize("count", [1, 250])
def test_changed_texts_are_found_and_no_others(tmp_path: Path, count: int) -> None:
    """Case, punctuation and one word at the end; more than a chunk of them, among texts of the same words."""
    train = texts_of(2 * count, seed=0)
    changed = [f"{text.upper()}!" for text in train[:count]] + [
        " ".join([*text.split()[:-1], "other"]) for text in train[count:]
    ]
    held_out = [*texts_of(count, seed=1), *changed, *train]
    matches = near_duplicates.find(rows_of(tmp_path / "train.csv", train), rows_of(tmp_path / "dev.csv", held_out))
    assert matches.is_complete
    assert matches.others == {count + index: index for index in range(2 * count)}


def test_similarity_agrees_with_that_of_the_sets(tmp_path: Path) -> None:
    """Against exact Jaccard similarities, away from the threshold by more than the sketches err."""
    draw, train = random.Random(0), texts_of(300, seed=2, words=120)
    held_out, exact = [], []
    for text in train:
        words = text.split()
        for _ in range(draw.randrange(20)):
            words[draw.randrange(len(words))] = "new"
        held_out.append(" ".join(words))
        ours, theirs = (set(near_duplicates.triples(of)) for of in (text, held_out[-1]))
        exact.append(len(ours & theirs) / len(ours | theirs))
    matches = near_duplicates.find(
        rows_of(tmp_path / "train.csv", train), rows_of(tmp_path / "dev.csv", held_out)
    ).others
    sure = [index for index, share in enumerate(exact) if 0.92 < share < 1]
    assert len(sure) > 10
    assert set(sure) <= set(matches)
    assert all(exact[index] > 0.68 for index in matches)


def test_rows_among_themselves(tmp_path: Path) -> None:
    one, other = texts_of(2, seed=3)
    rows = rows_of(tmp_path / "rows.csv", [one, other, f"{one}.", f"{one}.", other])
    assert set(near_duplicates.find(rows, rows).others) == {0, 2, 3}


def test_rows_of_one_fold_are_not_apart(tmp_path: Path) -> None:
    texts = texts_of(2, seed=6)
    rows = rows_of(tmp_path / "rows.csv", [*texts, *(f"{text}." for text in texts)])
    fold = np.array([0, 1, 0, 2])
    assert near_duplicates.find(rows, rows, fold).others == {1: 3, 3: 1}
    [message] = near_duplicates.warnings(rows, rows, "rows", "a row in another fold", fold)
    assert message.startswith("2 of 4 rows have nearly the text of a row in another fold")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("The plot, was DULL!", ["the plot was", "plot was dull"]),
        ("ok", ["ok"]),
        ("很好的电影", ["很 好 的", "好 的 电", "的 电 影"]),
        ("?!", ["?!"]),
        (" ", [""]),
    ],
)
def test_texts_are_compared_by_triples_of_words(text: str, parts: list[str]) -> None:
    assert near_duplicates.triples(text) == parts


def test_search_in_texts_half_alike_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "MAX_COMPARISONS", 1000)
    texts = [f"your order {number} has shipped today and will arrive on monday morning" for number in range(1200)]
    rows = rows_of(tmp_path / "rows.csv", texts)
    assert not near_duplicates.find(rows, rows).is_complete


def warnings_of(path: Path, **settings: object) -> list[str]:
    data = DataConfig.model_validate({"train": str(path), "validation": None, **settings})
    return splits.warnings(splits.load(data, seed=0), data)


def test_near_duplicates_across_splits_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = texts_of(20, seed=4)
    path, dev = tmp_path / "train.csv", tmp_path / "dev.csv"
    rows_of(path, train)
    rows_of(dev, [*(f"{text}!" for text in train[:3]), *train[3:5], *texts_of(5, seed=5)])
    [twins, near] = warnings_of(path, validation=str(dev))
    assert twins.startswith("2 of 10 validation rows have the text of a training row")
    assert near.startswith("3 of 10 validation rows have nearly the text of a training row")
    assert warnings_of(path, validation=str(dev), near_duplicates=False) == [twins]
    monkeypatch.setattr(near_duplicates, "MAX_ROWS", 19)
    assert "--data.near_duplicates false" in warnings_of(path, validation=str(dev))[1]


def test_one_text_for_all_is_told(tmp_path: Path) -> None:
    rows_of(tmp_path / "rows.csv", ["the same"] * 10)
    assert "all 10 training rows have the same text" in warnings_of(tmp_path / "rows.csv")[0]


@pytest.mark.parametrize(
    ("header", "is_row"),
    [(("a fine film", "a"), True), (("text 1", "a"), True), (("body", "a"), False), (("a fine film", "mood"), False)],
)
def test_a_first_line_that_looks_like_a_row_is_told(tmp_path: Path, header: tuple[str, str], is_row: bool) -> None:
    path = write_csv(tmp_path / "rows.csv", [(f"text {number}", "ab"[number % 2]) for number in range(10)], header)
    messages = warnings_of(path, text=header[0], label=header[1])
    assert [f"{path} is read as the names of columns" in message for message in messages] == [True] * is_row
