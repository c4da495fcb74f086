"""What a model card tells of a run or a cross-validation: read from its folder, nothing is computed again."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.config.schema import Config
from accel_clf.core.errors import ConfigError
from accel_clf.core.files import read_json
from accel_clf.models.head import KEPT_BESIDE
from accel_clf.reports.hub.card_intervals import Decisions, metric_intervals
from accel_clf.reports.hub.card_metrics import metric_words
from accel_clf.reports.intervals import Interval
from accel_clf.run_folder.answers import answer_files
from accel_clf.run_folder.layout import DATA_FACTS, FOLDS, fold_name, is_cross_validation, model_folder, read_config
from accel_clf.run_folder.predictions import PREDICTION_FILES
from accel_clf.targets.base import Target
from accel_clf.targets.metrics import MeanAndSpread, Metrics
from accel_clf.targets.registry import OPTIONS, of_model


@dataclass(frozen=True)
class MeasuredSplit:
    """The rows of a split, and how well the model does on them.

    Attributes:
        title: of the rows, for people.
        note: what they were used for, in a sentence.
        hub_split: the split that the Hub's metadata name where the rows have no other name.
        metrics: of these rows.
        target: what is predicted.
        predictions: the file with what was answered for these rows, if there is one.
        folds: of each fold's model by itself; None for a run.
    """

    title: str
    note: str
    hub_split: str
    metrics: Metrics
    target: Target
    predictions: Path | None
    folds: MeanAndSpread | None = None

    @cached_property
    def _decisions(self) -> Decisions | None:
        return Decisions.read(self.predictions, self.target) if self.predictions else None

    @property
    def labels(self) -> np.ndarray | None:
        """The right answers, as the target encodes them, in any order; None where they were not kept."""
        if self._decisions:
            return self._decisions.labels
        if self.target.kind not in ("single_label", "ordinal") or not self.metrics.per_class:
            return None
        counts = [of.rows for of in self.metrics.per_class.values()]
        return np.repeat(np.arange(len(counts)), counts)

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """The 95% intervals of those metrics that have one."""
        return metric_intervals(self.metrics, self.target, self._decisions)

    def intervals_of(self, name: str) -> dict[str, Interval]:
        """Compute the 95% intervals of a slice's metrics."""
        decisions = self._decisions.of_slice(name) if self._decisions else None
        return metric_intervals(self.metrics.slices[name], self.target, decisions)


@dataclass(frozen=True)
class Facts:
    """What is known of a trained run, or a finished cross-validation.

    Attributes:
        repo_id: OWNER/NAME, where it goes.
        run: its folder.
        config: its settings.
        results: the contents of its metrics.json.
        target: what it predicts; with fitted thresholds, where it has them.
        options: what its model's config.json has of ours.
        environment: the contents of its environment.json; empty where there is none.
    """

    repo_id: str
    run: Path
    config: Config
    results: Mapping[str, Any]
    target: Target
    options: Mapping[str, Any]
    environment: Mapping[str, Any]

    @classmethod
    def read(cls, run: Path, repo_id: str) -> "Facts":
        """Read a run's folder.

        Raises:
            ConfigError: it is not that of a finished run.
        """
        config = read_config(run)
        if not (run / "metrics.json").is_file():
            raise ConfigError(f"{run}: an unfinished run", "a finished one", "`accel-clf train` again")
        results = read_json(run / "metrics.json")
        first = run / fold_name(0) if is_cross_validation(run) else run
        from transformers import AutoConfig

        model = AutoConfig.from_pretrained(model_folder(first), trust_remote_code=config.model.allow_code)
        target = (
            of_model(model).at_thresholds(results.get("thresholds", {})) if "thresholds" in results else of_model(model)
        )
        environment = first / "environment.json"
        return cls(
            repo_id=repo_id,
            run=run,
            config=config,
            results=results,
            target=target,
            options=getattr(model, OPTIONS, None) or {},
            environment=read_json(environment) if environment.is_file() else {},
        )

    @property
    def name(self) -> str:
        """The last part of the repository's id."""
        return self.repo_id.rpartition("/")[2]

    @property
    def folds(self) -> int:
        """How many models answer together; 0 for a run."""
        return int(self.results["folds"]) if is_cross_validation(self.run) else 0

    @property
    def temperature(self) -> float:
        """What logits are to be divided by; a run's is in its weights already."""
        return float(self.results["calibration"]["temperature"]) if self.folds else 1.0

    @property
    def rescaling(self) -> tuple[float, float] | None:
        """What outputs are multiplied by, and what is added, where the weights do not have it."""
        beside = self.options.get(KEPT_BESIDE)
        return (float(beside[0]), float(beside[1])) if beside else None

    @cached_property
    def splits(self) -> list[MeasuredSplit]:
        """All rows that were measured on, those first that say most about new texts."""
        results, run = self.results, self.run
        unseen = "Nothing was learned from them, or chosen by them."
        if not self.folds:
            splits = {
                "test": ("Test rows", unseen, "test"),
                "held_out": ("Rows held out", unseen, "train"),
                "validation": ("Validation rows", self._validation_note(), "validation"),
            }
            files = answer_files(run)
            return [
                MeasuredSplit(*texts, Metrics.from_json(results[split]), self.target, files.get(split))
                for split, texts in splits.items()
                if split in results
            ]
        models, metrics = MeanAndSpread(results["mean"], results["spread"]), Metrics.from_json(results["out_of_fold"])
        out_of_fold = MeasuredSplit(
            "Rows out of fold",
            self._out_of_fold_note(),
            "train",
            metrics,
            self.target,
            run / "out_of_fold.csv",
            self._comparable(models),
        )
        if "test" not in results:
            return [out_of_fold]
        note = f"The {self.folds} models together, on rows that none of them has seen."
        models = MeanAndSpread(results["test"]["mean"], results["test"]["spread"])
        metrics, path = Metrics.from_json(results["test"]["ensemble"]), run / PREDICTION_FILES["test"]
        test = MeasuredSplit("Test rows", note, "test", metrics, self.target, path, self._comparable(models))
        return [test, out_of_fold]

    def _comparable(self, models: MeanAndSpread) -> MeanAndSpread | None:
        """Leave out what each model does alone where all together decide by thresholds that are theirs only."""
        return None if self.target.thresholds_by_name() else models

    def _out_of_fold_note(self) -> str:
        note = (
            f"Every training row once, answered by the one of {self.folds} models that has not seen it. What is "
            "pushed answers by all of them together, which is usually a little better."
        )
        if self.target.thresholds_by_name():
            note += " Labels are decided by thresholds that were fitted to the other folds."
        if (after := self.calibrated_error) is not None:
            note += (
                " The scores are those before the temperature, by which accel_clf divides the outputs: with it, fitted "
                f"to the other folds, the {metric_words('ece', self.target)} is {after:.4f}."
            )
        return note

    @property
    def baseline_rows(self) -> str:
        """The rows that a baseline was measured on, if there is one."""
        return "rows out of fold" if self.folds else "validation rows"

    @property
    def calibrated_error(self) -> float | None:
        """The calibration error out of fold with the temperature, which the metrics of these rows are without."""
        errors = self.results.get("calibration", {}).get("expected_calibration_error", {}) if self.folds else {}
        return errors.get("after")

    def _validation_note(self) -> str:
        flattered = "They chose the best checkpoint, which flatters it."
        fitted = ["temperature"] * ("calibration" in self.results and self.config.target.calibration != "none")
        fitted += ["thresholds"] * bool(self.target.thresholds_by_name())
        if not fitted:
            return flattered
        verb = "is" if fitted == ["temperature"] else "are"
        return f"{flattered} The {' and the '.join(fitted)} fitted to them {verb} measured by cross-fitting."

    @property
    def reported(self) -> list[MeasuredSplit]:
        """Those that go into the Hub's metadata: validation rows only where there are no others."""
        return (
            self.splits[:1]
            if self.splits and self.splits[0].title == "Validation rows"
            else [split for split in self.splits if split.title != "Validation rows"]
        )

    @cached_property
    def rows(self) -> dict[str, tuple[int, str]]:
        """The rows of each split: their number, and their digest, "" where that was not kept."""
        path = self.run / DATA_FACTS
        splits = read_json(path)["splits"] if path.is_file() else {}
        known = {split: (facts["rows"], facts["digest"]) for split, facts in splits.items()}
        if not self.folds:
            measured = {"train": "training", "validation": "validation", "test": "test", "held_out": "held_out"}
            return known or {
                split: (self.results[key]["rows"], "") for split, key in measured.items() if key in self.results
            }
        rows = {"out of fold": (self.results["out_of_fold"]["rows"], str(read_json(self.run / FOLDS)["rows"]))}
        if "test" in self.results:
            rows["test"] = known.get("test", (self.results["test"]["ensemble"]["rows"], ""))
        if "calibration" in known:
            rows["calibration"] = known["calibration"]
        elif (calibration := self.run / PREDICTION_FILES["calibration"]).is_file():
            with calibration.open(encoding="utf-8", newline="") as file:
                rows["calibration"] = (sum(1 for _ in csv.reader(file)) - 1, "")
        return rows
