"""What the folder of a run or a cross-validation says, finished or not: all that a report shows comes from here."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.special import softmax

from accel_clf.config.load import load
from accel_clf.config.schema import Config
from accel_clf.core.errors import ConfigError, UserError
from accel_clf.core.files import read_json
from accel_clf.run_folder import layout
from accel_clf.run_folder.examples import read_examples
from accel_clf.run_folder.predictions import PREDICTION_FILES, SLICES, VALIDATION
from accel_clf.targets.base import Target
from accel_clf.targets.multi_label import MultiLabel
from accel_clf.targets.registry import of_model
from accel_clf.targets.single_label import SingleLabel

OUT_OF_FOLD = "out_of_fold"
BLOCK_SIZE = 2**26  # bytes of a table that are read at once: many rows, even of thousands of labels
FILES = {
    OUT_OF_FOLD: f"{OUT_OF_FOLD}.csv", "test": PREDICTION_FILES["test"], "held_out": PREDICTION_FILES["held_out"],
    "validation": VALIDATION,
}  # fmt: skip
SPLIT_NAMES = {
    OUT_OF_FOLD: "out-of-fold", "test": "test", "held_out": "held-out", "validation": "validation",
    "train": "training", "calibration": "calibration",
}  # fmt: skip


@dataclass(frozen=True)
class Predictions:
    """The predictions for labelled rows.

    Attributes:
        ids: int64 [rows].
        labels, decided: as the target encodes them.
        scores: float64 [rows, scores], of which metrics.json tells.
        before, after: the scores before and after a temperature, cross-fitted where it was fitted to these rows. Where
            there is none `after` is None.
        slices: of each row, object [rows]; None where there are none.
    """

    ids: np.ndarray
    labels: np.ndarray
    decided: np.ndarray
    scores: np.ndarray
    before: np.ndarray
    after: np.ndarray | None
    slices: np.ndarray | None


@dataclass(frozen=True)
class Evidence:
    """What a folder says.

    Attributes:
        folder: of the run or the cross-validation.
        config: its settings.
        metrics: of metrics.json; empty while it is not finished.
        logs: of metrics.jsonl: of the run, or of each fold by its name.
        environment: of environment.json; of a cross-validation that of its first fold.
        trainings: what metrics.json says of training: of the run, or of each finished fold by its name.
        facts: of rows.json; empty for runs of earlier versions.
        suspects: the rows of suspect_labels.csv.
        texts: (split, row) -> a text, or both of a pair.
    """

    folder: Path
    config: Config
    metrics: Mapping[str, Any]
    logs: Mapping[str, Sequence[Mapping[str, Any]]]
    environment: Mapping[str, Any]
    trainings: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, Any]
    suspects: Sequence[Mapping[str, str]]
    texts: Mapping[tuple[str, int], tuple[str, ...]]

    @property
    def is_cross_validation(self) -> bool:
        """Whether there are folds."""
        return layout.is_cross_validation(self.folder)

    @property
    def is_finished(self) -> bool:
        """Whether there are results."""
        return bool(self.metrics)

    @cached_property
    def split(self) -> str:
        """The rows that a report is about: those that say most; "" while there is none."""
        return next((name for name in FILES if name in self.metrics), "")

    @property
    def path(self) -> tuple[str, ...]:
        """Where metrics.json tells of the split."""
        return (self.split,)

    @property
    def results(self) -> Mapping[str, Any]:
        """What metrics.json says of the split."""
        results: Mapping[str, Any] = self.metrics[self.split]
        return results

    @cached_property
    def target(self) -> Target | None:
        """What is predicted, as the model's config.json has it; None where there is no model yet."""
        model = self.folder / (layout.fold_name(0) if self.is_cross_validation else ".") / "model" / "config.json"
        if not model.is_file():
            return None
        content = read_json(model)
        content["id2label"] = {int(code): name for code, name in content["id2label"].items()}
        target: Target = of_model(SimpleNamespace(**{"problem_type": None, **content}))
        return target.at_thresholds(self.metrics["thresholds"]) if self.metrics.get("thresholds") else target

    @cached_property
    def predictions(self) -> Predictions | None:
        """The predictions for the rows of the split; None where the folder does not have them."""
        path = self.folder / FILES[self.split] if self.split else None
        if path is None or not path.is_file() or self.target is None:
            return None
        return _read_predictions(self, path, self.target)


def read_evidence(folder: Path, with_texts: bool = True) -> Evidence:
    """Read the folder of a run or a cross-validation, finished or not.

    Args:
        folder: the folder.
        with_texts: whether to read texts.

    Raises:
        ConfigError: it is neither.
        UserError: a file in it cannot be read.
    """
    if not (folder / "config.yaml").is_file():
        raise ConfigError(
            f"{folder}: {'no run' if folder.is_dir() else 'no such folder'}",
            "the folder of a run or a cross-validation",
            "check the path, or train first",
        )
    if layout.is_cross_validation(folder):
        folds = [folder / layout.fold_name(fold) for fold in range(load(folder / "config.yaml", {}).folds)]
        folds = [fold for fold in folds if fold.is_dir()]
    else:
        folds = [folder]
    environments = [fold / "environment.json" for fold in folds]
    suspects = folder / "suspect_labels.csv"
    return Evidence(
        folder,
        load(folder / "config.yaml", {}),
        _read(folder / "metrics.json", read_json, {}),
        {fold.name: _read(fold / "metrics.jsonl", _read_log, []) for fold in folds},
        next((_read(path, read_json, {}) for path in environments if path.is_file()), {}),
        {
            fold.name: finished["training"]
            for fold in folds
            if (finished := _read(fold / "metrics.json", read_json, {}))
        },
        _read(folder / layout.DATA_FACTS, read_json, {}),
        _read(suspects, _read_table, []),
        read_examples(folder) if with_texts else {},
    )


def _read(path: Path, read: Callable[[Path], Any], default: Any) -> Any:
    if not path.is_file():
        return default
    try:
        return read(path)
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error})", "what training has written there") from None


def _read_log(path: Path) -> list[dict[str, Any]]:
    """Read the lines of metrics.jsonl but for an incomplete last one, which is still being written."""
    with path.open("rb") as file:
        return [json.loads(line) for line in file if line.endswith(b"\n")]


def _read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _read_predictions(evidence: Evidence, path: Path, target: Target) -> Predictions:
    calibration = evidence.metrics.get("calibration", {})
    with path.open(encoding="utf-8", newline="") as file:
        header = next(csv.reader(file))
    texts = [name for name in ("label", "predicted", "slice") if name in header]
    numbers = ["row", *(name for name in ("part", "fold") if name in header)]
    logit_columns = [f"logit:{name}" for name in target.output_names]
    score_columns = [f"score:{name}" for name in target.score_names] or logit_columns
    columns = [*numbers, *texts, *score_columns, *(logit_columns if calibration else [])]
    table = _read_columns(path, list(dict.fromkeys(columns)), texts)

    def matrix(names: Sequence[str]) -> np.ndarray:
        return np.stack([np.from_dlpack(table[name]) for name in names], axis=1).astype(np.float64)

    scores = matrix(score_columns)
    before, after = scores, None
    if calibration:
        logits = matrix(logit_columns)
        if evidence.split in (OUT_OF_FOLD, "validation"):
            by_part = _read(evidence.folder / layout.TEMPERATURES, read_json, {})
            parts = np.from_dlpack(table[numbers[-1]])
            if by_part:  # which runs of earlier versions have not kept
                after = np.empty_like(scores)
                for part, divisor in by_part.items():
                    after[parts == int(part)] = _scores(target, logits[parts == int(part)] / divisor)
                scores = after if evidence.split == "validation" else scores
        else:  # the saved model's logits are divided by the temperature already
            before, after = _scores(target, logits * calibration["temperature"]), scores
    slices = None
    if "slice" in texts:
        slices = np.array(table["slice"].to_pylist(), object)
    elif evidence.split == "test" and (evidence.folder / SLICES).is_file():
        by_row = {int(row["row"]): row["slice"] for row in _read_table(evidence.folder / SLICES)}
        slices = np.array([by_row.get(row) for row in table["row"].to_pylist()], object)
    labels, decided = (_decode(table[name], target, path) for name in ("label", "predicted"))
    return Predictions(np.from_dlpack(table["row"]), labels, decided, scores, before, after, slices)


def _read_columns(path: Path, columns: Sequence[str], texts: Sequence[str]) -> dict[str, Any]:
    """Read columns of a table of predictions: name -> an Arrow array."""
    from pyarrow import ArrowException, float64, int64, string
    from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, read_csv

    kinds = dict.fromkeys(columns, float64()) | dict.fromkeys(texts, string())
    kinds |= {name: int64() for name in ("row", "part", "fold") if name in columns}
    try:
        table = read_csv(
            path,
            read_options=ReadOptions(block_size=BLOCK_SIZE),
            parse_options=ParseOptions(newlines_in_values=True),
            convert_options=ConvertOptions(include_columns=columns, column_types=kinds),
        )
    except (ArrowException, KeyError) as error:
        raise UserError(f"{path} cannot be read ({error})", "the predictions that were written there") from None
    return {name: table[name].combine_chunks() for name in columns}


def _scores(target: Target, logits: np.ndarray) -> np.ndarray:
    """Compute scores; of one label without torch, to the last digits but one."""
    if isinstance(target, SingleLabel):
        probabilities: np.ndarray = softmax(logits, axis=1)
        return probabilities
    return target.scores(logits)


def _decode(column: Any, target: Target, path: Path) -> np.ndarray:
    """Encode labels of a table, each different one once."""
    encoded = column.dictionary_encode()
    cells: list[Any] = encoded.dictionary.to_pylist()
    if isinstance(target, MultiLabel):
        cells = [tuple(cell.split(target.separator)) if cell else () for cell in cells]
    codes = np.array([target.encode(cell, str(path)) for cell in cells], target.label_type)
    labels: np.ndarray = codes[np.from_dlpack(encoded.indices)]
    return labels


def without_texts(evidence: Evidence) -> Evidence:
    """Return what a folder says, but for texts."""
    hidden = {"text": "", "text_pair": ""}
    suspects = [{name: hidden.get(name, value) for name, value in row.items()} for row in evidence.suspects]
    return replace(evidence, texts={}, suspects=suspects)
