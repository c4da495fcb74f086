"""What does not classify texts is refused by name, before anything is trained."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from accel_clf.config.schema import ModelConfig
from accel_clf.core.errors import ConfigError
from accel_clf.data.collate import Padding, make_inputs
from accel_clf.models.checks import check_answers, check_reads_texts
from accel_clf.models.loading import load_model
from accel_clf.targets.single_label import SingleLabel
from tests.families.tiny import make_model


def test_model_whose_forward_fails_is_refused(tmp_path: Path) -> None:
    """XMOD without a default language, which its own forward asks for."""
    make_model("xmod", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"default_language": None}))
    model = load_model(
        ModelConfig(name=str(tmp_path)), SingleLabel(("a", "b")), AutoTokenizer.from_pretrained(tmp_path), 40, 0
    )
    inputs = make_inputs([np.array([5, 6]), np.array([5])], "padded", Padding(1), max_length=40)
    with pytest.raises(ConfigError, match=r"x: a model of the kind xmod .* language unknown"):
        check_answers(model.train(), "x", inputs)
    assert model.training


class PageTokenizer:
    """Reads words with their places on a page."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        raise ValueError("boxes are needed")


def test_tokenizer_of_something_else_than_texts_is_refused() -> None:
    with pytest.raises(ConfigError, match="its tokenizer, PageTokenizer, does not read texts: boxes are needed"):
        check_reads_texts(PageTokenizer(), "x")
