"""One kind of model for each way in which they differ: trained, asked, served, and equal to the pipeline."""

import inspect
import re
from pathlib import Path

import pytest
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

from accel_clf.core.errors import ConfigError
from accel_clf.models import traits
from tests.families.sweep import HEADER, PAGE, try_family
from tests.families.tiny import FAMILIES

QUICK = (
    "albert", "bart", "bert", "canine", "deberta", "deberta-v2", "distilbert", "fnet", "gpt2", "llama", "modernbert",
    "mpnet", "qwen3", "t5", "xlnet",
)  # fmt: skip


@pytest.mark.parametrize("family", QUICK)
def test_family_is_what_the_page_says(family: str, tmp_path: Path) -> None:
    """Scores alone, in a batch, of the server and of the pipeline are equal."""
    assert try_family(family, tmp_path).row(family) in PAGE.read_text().splitlines()


def test_page_has_every_family() -> None:
    _, table = PAGE.read_text().split(HEADER)
    assert re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE) == list(FAMILIES)
    assert PAGE.read_text().count("| refused: ") <= 5


def test_refusal_comes_before_training_and_names_the_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"kind reformer .* rows of one length only"):
        try_family("reformer", tmp_path)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_every_head_that_counts_ends_is_known() -> None:
    """By transformers' own code, so that a new one is noticed."""
    counting = {
        family for family in FAMILIES if "same number of <eos> tokens" in inspect.getsource(model_class(family).forward)
    }
    assert counting == traits.COUNTS_EOS


def test_traits_are_of_kinds_that_there_are() -> None:
    named = (traits.READS_PADDING, traits.ONLY_FP32, traits.TYPES_OF_SINGLE_TEXTS, traits.SHORTEST_ROW, traits.REFUSED)
    assert set().union(*named, traits.LIMITS_WITHOUT_A_TABLE) <= set(FAMILIES)


def model_class(family: str) -> type:
    return MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[CONFIG_MAPPING[family]]
