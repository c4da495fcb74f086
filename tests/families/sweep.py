"""Every sequence classifier that transformers has, tiny: trained, asked, served, and compared with its pipeline.

python -m tests.families.sweep [FAMILY ...] tries all of them, or those named, and writes the table of docs/families.md.
"""

import csv
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import nn
from transformers import pipeline

from accel_clf.config.load import load
from accel_clf.core.errors import UserError
from accel_clf.inference.predictor import Predictor
from accel_clf.models.equal_lengths import MARK
from accel_clf.models.families.registry import family_of
from accel_clf.models.traits import COUNTS_EOS, ONLY_FP32, READS_PADDING, REFUSED, SHORTEST_ROW
from accel_clf.serving.python_tokenizer import text_tokenizer
from accel_clf.serving.worker import describe
from accel_clf.training.run import train
from tests.conftest import REPOSITORY
from tests.families.tiny import FAMILIES, WORDS, make_model

PAGE = REPOSITORY / "docs" / "families.md"
HEADER = "| `model_type` | batches on a CPU | precision | what it cannot |\n|---|---|---|---|\n"
SPARSE = {"big_bird", "bigbird_pegasus"}
TOLERANCE = 1e-5
MAX_LENGTH = 40
TEXTS = [
    "good",
    "the film was fine and not bad",
    " ".join(WORDS * 2),
    "w1 w2 w3",
    "the plot was awful </s> and dull",
    "",
]


class Outcome(NamedTuple):
    """What a kind of model can do.

    Attributes:
        batches: how its rows are batched on a CPU.
        precision: of its matrix products.
        limits: what it cannot do, or is refused for.
    """

    batches: str
    precision: str
    limits: str

    def row(self, family: str) -> str:
        """Return its row of the table."""
        return f"| `{family}` | {self.batches} | {self.precision} | {self.limits} |"


def try_family(family: str, folder: Path) -> Outcome:
    """Train a tiny model of a family, ask it in all ways, and compare; AssertionError where answers differ."""
    model, rows = make_model(family, folder / "model"), _write_rows(folder / "rows.csv")
    precision = "auto" if family in ONLY_FP32 else "bf16"
    settings = {
        "model": {"name": str(model)},
        "data": {"train": str(rows), "max_length": MAX_LENGTH, "near_duplicates": False},
        "batch": {"size": 8},
        "training": {"epochs": 2, "learning_rate": 1e-3, "precision": precision},
        "output": str(folder / "run"),
    }
    train(load(None, settings))
    predictor = Predictor(folder / "run")
    together = _scores(predictor, TEXTS)
    alone = np.concatenate([_scores(predictor, [text]) for text in TEXTS])
    _assert_equal(alone, together, "a text's scores depend on its neighbors")
    _assert_equal(_served(predictor), together, "the server differs")
    # Of an empty text many pipelines make no answer, nor of one that is too short for its model.
    texts = {number: text for number, text in enumerate(TEXTS) if len(text.split()) + 2 >= SHORTEST_ROW.get(family, 3)}
    if family in COUNTS_EOS:  # which count one in a text, too, where we read its name as words
        texts = {number: text for number, text in texts.items() if "</s>" not in text}
    piped = _piped(folder / "run" / "model", list(texts.values()))
    _assert_equal(piped, together[list(texts)], "the pipeline differs")
    return Outcome(_batches(predictor.models[0]), "fp32" if family in ONLY_FP32 else "fp32, bf16", _limits(family))


def refused(family: str, message: str) -> Outcome:
    """Return the outcome of a kind of model that is refused before anything is trained."""
    return Outcome("none", "none", f"refused: {REFUSED.get(family) or message}")


def _batches(model: nn.Module) -> str:
    if getattr(model, MARK, False):
        return "padded, each length by itself"
    return "packed" if family_of(model) else "padded"


def _limits(family: str) -> str:
    limits = {
        "XLA and FSDP": family in READS_PADDING,
        "special tokens in texts, which are plain text": family in COUNTS_EOS,
        "sparse attention: it attends to all": family in SPARSE,
    }
    return "; ".join(limit for limit, is_one in limits.items() if is_one)


def _assert_equal(scores: np.ndarray, expected: np.ndarray, message: str) -> None:
    np.testing.assert_allclose(scores, expected, atol=TOLERANCE, rtol=0, err_msg=message)


def _write_rows(path: Path) -> Path:
    rng = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(27):
            filler = " ".join(f"w{word}" for word in rng.integers(0, 60, rng.integers(1, 30)))
            writer.writerow([f"{filler} {'good' if number % 2 else 'bad'} film", "pos" if number % 2 else "neg"])
    return path


def _scores(predictor: Predictor, texts: list[str]) -> np.ndarray:
    return np.stack([scores for _, scores in predictor.predict(texts)])


def _served(predictor: Predictor) -> np.ndarray:
    """The server's scores, of one batch."""
    predictor.warm_up(256)
    rows = [text.ids for text in text_tokenizer(describe(predictor), has_pairs=False).tokenize(TEXTS)]
    return predictor.ensemble_scores([predictor.logits_batch(rows)[:, 0]])


def _piped(folder: Path, texts: list[str]) -> np.ndarray:
    classifier = pipeline("text-classification", str(folder), top_k=None, device="cpu")
    answers = [
        {answer["label"]: answer["score"] for answer in classifier([text], truncation=True)[0]} for text in texts
    ]
    return np.array([[answer["neg"], answer["pos"]] for answer in answers])


def try_all(families: Iterable[str]) -> dict[str, Outcome]:
    """Try kinds of models one after another; print what differs or fails, which then has no outcome."""
    outcomes = {}
    for family in families:
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcomes[family] = try_family(family, Path(folder))
            except UserError as error:
                outcomes[family] = refused(family, str(error).splitlines()[0].replace(folder, "").partition(": ")[2])
            except ImportError:
                outcomes[family] = refused(family, "it needs detectron2, to read pictures")
            except Exception as error:
                print(f"{family}: {type(error).__name__}: {error}", flush=True)
            if family in outcomes:
                print(outcomes[family].row(family), flush=True)
    return outcomes


def with_table(page: str, rows: Iterable[str]) -> str:
    """Put the table's rows into the text of the page."""
    before, header, _ = page.partition(HEADER)
    return before + header + "".join(f"{row}\n" for row in rows)


def main(families: list[str]) -> int:
    outcomes = try_all(families or FAMILIES)
    if not families:
        page = PAGE.read_text()
        PAGE.write_text(with_table(page, (outcome.row(family) for family, outcome in outcomes.items())))
    return len(families or FAMILIES) - len(outcomes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
