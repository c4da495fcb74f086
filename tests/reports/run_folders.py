"""Folders of runs and cross-validations as training leaves them, with answers that are drawn rather than trained."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.config.load import load
from accel_clf.core.files import write_json
from accel_clf.data.sources import read_dataset
from accel_clf.run_folder.layout import FOLDS, write_config
from accel_clf.run_folder.predictions import write_predictions
from accel_clf.targets.base import Target
from accel_clf.targets.multi_label import MultiLabel
from accel_clf.targets.registry import options_of
from accel_clf.targets.regression import Regression


def make_run(
    folder: Path, source: Path, noise: float, *, seed: int = 0, folds: int = 0, names: tuple[str, ...] = (), **data: Any
) -> Path:
    """Make the folder of a run, or of a cross-validation where there are folds.

    Args:
        folder: to make.
        source: of the test rows, or of those that folds hold out.
        noise: of the answers, beside what is right.
        seed: of the noise.
        folds: their number; 0 for a run.
        names: of the labels, in another order than that of the data.
        data: more settings of `data`, and `target`.
    """
    target_settings = data.pop("target", {})
    places = {"train": str(source)} if folds else {"train": "demo", "test": str(source)}
    settings = {"data": {**places, **data}, "target": target_settings, "output": str(folder)}
    config = load(None, settings | ({"folds": folds} if folds else {}))
    rows = read_dataset(str(source), config.data, config.target, split="train")
    target = replace(rows.target, names=names) if names else rows.target
    if names:
        rows = read_dataset(str(source), config.data, split="train", target=target)
    logits = logits_for(target, rows.labels, noise, seed)
    folder.mkdir(parents=True)
    write_config(folder, config)
    write_model(folder / ("fold-0" if folds else "."), target)
    if folds:
        of_row = np.arange(len(rows)) % folds
        write_predictions(folder / "out_of_fold.csv", rows, logits, {"fold": of_row.tolist()})
        held_out = [np.flatnonzero(of_row == fold).tolist() for fold in range(folds)]
        write_json(folder / FOLDS, {"folds": folds, "rows": rows.digest(), "held_out": held_out})
        write_json(folder / "metrics.json", {"folds": folds, "calibration": {"temperature": 1.0}})
    else:
        write_predictions(folder / "predictions.csv", rows, logits)
        write_json(folder / "metrics.json", {})
    return folder


def write_model(folder: Path, target: Target) -> None:
    """Write the config.json of a model with this target."""
    (folder / "model").mkdir(parents=True)
    content = {**target.hf_config(), "accel_clf": options_of(target)}
    (folder / "model" / "config.json").write_text(json.dumps(content))


def logits_for(target: Target, labels: np.ndarray, noise: float, seed: int) -> np.ndarray:
    """Draw logits that are right but for noise, which is shared for the most part by all that are drawn."""
    shared, of_model = np.random.default_rng(99), np.random.default_rng(seed)
    shape = (len(labels), len(target.output_names))
    if isinstance(target, Regression):
        right = labels[:, None]
    elif isinstance(target, MultiLabel):
        right = 2.0 * labels - 1.0
    elif target.kind == "ordinal":
        right = np.where(labels[:, None] > np.arange(shape[1]), 1.0, -1.0)
    else:
        right = np.eye(shape[1])[labels]
    return (2 * right + shared.normal(size=shape) + noise * of_model.normal(size=shape)).astype(np.float32)
