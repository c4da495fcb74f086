"""Settings of a small cross-validation."""

from pathlib import Path
from typing import Any

import pytest

from accel_clf.config.load import load
from accel_clf.config.schema import Config


def make_settings(model: Path, rows: Path, output: Path, **changes: Any) -> dict[str, Any]:
    return {
        "model": {"name": str(model)},
        "data": {"train": str(rows), "group": "id", "slice": "lang", "max_length": 48, "validation": 0.2},
        "training": {"epochs": 4, "learning_rate": 2e-3, "precision": "fp32"},  # predict's default
        "folds": 3,
        "output": str(output),
        **changes,
    }


@pytest.fixture(scope="module")
def settings(tiny_xlmr: Path, translations: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings of three folds with a test set."""
    base = make_settings(tiny_xlmr, translations, tmp_path_factory.mktemp("cv") / "whole")
    return {**base, "data": {**base["data"], "test": str(translations)}}


def config_for(settings: dict[str, Any], output: Path) -> Config:
    return load(None, {**settings, "output": str(output)})
