"""Run folders as training leaves them, without training: what is predicted is drawn from a seed."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.config.load import load
from accel_clf.core.files import write_json
from accel_clf.data.collate import Padding
from accel_clf.data.dataset import Categorical, Dataset, digest
from accel_clf.data.splits import Splits
from accel_clf.data.tokenization import TokenizedDataset
from accel_clf.inference.evaluate import evaluate
from accel_clf.run_folder import layout
from accel_clf.run_folder.environment import describe_environment
from accel_clf.run_folder.examples import chosen_rows, write_examples
from accel_clf.run_folder.predictions import SLICES, write_predictions, write_slices
from accel_clf.targets.base import Target
from accel_clf.targets.multi_label import MultiLabel
from accel_clf.targets.ordinal import Ordinal
from accel_clf.targets.registry import OPTIONS, options_of
from accel_clf.targets.regression import Regression
from accel_clf.targets.single_label import SingleLabel
from accel_clf.training.data_facts import write_data_facts
from accel_clf.training.prepare import PreparedRun

NAMES = ("bad", "fair", "good")
TARGETS: dict[str, Target] = {
    "single_label": SingleLabel(NAMES),
    "multi_label": MultiLabel(("soup", "film", "staff"), thresholds=(0.5, 0.4037, 0.29989)),
    "ordinal": Ordinal(NAMES),
    "regression": Regression(("stars",)),
}


def write_run(
    folder: Path,
    target: Target,
    rows: int = 200,
    texts: Sequence[str] = (),
    slices: Sequence[str] = ("de", "en"),
    finished: bool = True,
) -> Path:
    """Write a run with a test set."""
    generator = np.random.default_rng(0)
    labels = _labels(target, rows, generator)
    logits = _logits(target, labels, generator)
    texts = [f"{texts[row % len(texts)] if texts else 'row'} {row}" for row in range(rows)]
    dataset = Dataset(
        "rows.csv",
        lambda: iter(texts),
        np.arange(rows),
        np.array([np.frombuffer(digest(text), np.uint8) for text in texts]),
        target,
        labels,
        slices=Categorical(tuple(slices), generator.integers(len(slices), size=rows).astype(np.int32)),
    )
    config = load(None, {
        "model": {"name": "demo"}, "data": {"train": "rows.csv", "slice": "lang"}, "target": {"type": target.kind},
        "evaluation": {"metric": target.default_metric}, "output": str(folder),
    })  # fmt: skip
    folder.mkdir(parents=True)
    layout.write_config(folder, config)
    write_json(folder / "environment.json", describe_environment("cpu", 1, 0, 200))
    scores = target.scores(logits)
    decided = target.decide(scores)
    metrics = evaluate(scores, dataset, config.evaluation, decided).metrics
    with (folder / "metrics.jsonl").open("w") as log:
        for step in range(10, 210, 10):
            line = {"event": "train", "epoch": 1, "step": step, "rate": 1e-3, "loss": 1 / step, "rows_per_second": 9.0}
            log.write(json.dumps(line) + "\n")
            if step % 50 == 0:
                log.write(json.dumps({"event": "validation", "step": step, **metrics.values}) + "\n")
    tokens = TokenizedDataset(np.zeros(9 * rows, np.int32), np.arange(rows) * 9, np.arange(rows) * 9 + 9, 0)
    prepared = PreparedRun(
        config,
        Splits(dataset, None, dataset),
        None,
        Padding(0),
        {"train": tokens, "test": tokens},
        ("a <b>warning</b>",),
    )
    write_data_facts(folder, prepared)
    if not finished:
        return folder
    model = {**target.hf_config(), **({OPTIONS: options} if (options := options_of(target)) else {})}
    write_json(folder / "model" / "config.json", model)
    write_predictions(folder / "predictions.csv", dataset, logits)
    write_slices(folder / SLICES, dataset)
    write_examples(folder, {"test": dataset.take(chosen_rows(target, labels, scores, decided))})
    training = {"rows": rows, "steps": 200, "best_step": 150, "seconds": 12.5, "stopped_early": False}
    write_json(
        folder / "metrics.json",
        {"training": training, "validation": replace(metrics, slices={}).to_json(), "test": metrics.to_json()},
    )
    return folder


def write_cross_validation(folder: Path, target: Target, rows: int = 200) -> Path:
    """Write a cross-validation of one fold, whose rows are those of `write_run`."""
    write_run(folder, target, rows)
    fold = folder / layout.fold_name(0)
    fold.mkdir()
    for name in ("environment.json", "metrics.jsonl", "model", "metrics.json"):
        (folder / name).rename(fold / name)
    shutil.copy(folder / "config.yaml", fold)
    write_json(folder / layout.FOLDS, {"folds": 1, "seed": 0, "rows": "digest", "held_out": [list(range(rows))]})
    header, *lines = (folder / "predictions.csv").read_text().splitlines()
    (folder / "predictions.csv").unlink()
    of_folds = [header.replace("row,", "row,fold,"), *(line.replace(",", ",0,", 1) for line in lines)]
    (folder / "out_of_fold.csv").write_text("\n".join(of_folds) + "\n")
    write_json(folder / layout.TEMPERATURES, {"0": 1.5})
    (folder / "suspect_labels.csv").write_text(
        "row,fold,label,predicted,probability_of_label,issue,text\n3,0,bad,good,0.125,true,row 3\n"
    )
    results = json.loads((fold / "metrics.json").read_text())["test"]
    averages = {"accuracy": results["accuracy"]}
    calibration = {"temperature": 1.5, "expected_calibration_error": {"before": 0.25, "after": 0.125}}
    of_all = {"out_of_fold": results, "calibration": calibration, "suspect_labels": {"listed": 1, "issues": 1}}
    each = [{"fold": 0, "rows": rows, **averages}]
    write_json(folder / "metrics.json", {"folds": 1, "mean": averages, "spread": averages, "each": each, **of_all})
    return folder


def _labels(target: Target, rows: int, generator: np.random.Generator) -> np.ndarray:
    if isinstance(target, Regression):
        return generator.normal(size=rows)
    if isinstance(target, MultiLabel):
        return (generator.random((rows, len(target.names))) < 0.4).astype(target.label_type)
    return generator.integers(len(target.names), size=rows).astype(target.label_type)


def _logits(target: Target, labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw outputs that are right more often than not."""
    outputs: Any
    if isinstance(target, Regression):
        outputs = labels[:, None]
    elif isinstance(target, MultiLabel):
        outputs = 2.0 * labels - 1
    elif isinstance(target, Ordinal):
        outputs = np.where(labels[:, None] > np.arange(len(target.output_names)), 1.0, -1.0)
    else:
        outputs = 2.0 * (labels[:, None] == np.arange(len(target.names)))
    return (outputs + generator.normal(size=(len(labels), len(target.output_names)))).astype(np.float32)
