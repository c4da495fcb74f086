"""All rows of a cross-validation, tokenized once, and the runs that share them."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from accel_clf.config.schema import Config
from accel_clf.core.console import log
from accel_clf.core.process_env import is_main_process
from accel_clf.cross_validation import assignment
from accel_clf.data import splits
from accel_clf.data.splits import Splits
from accel_clf.run_folder import layout
from accel_clf.training.data_facts import write_data_facts
from accel_clf.training.prepare import PreparedRun, prepare_run


def fold_config(config: Config, fold: int) -> Config:
    """Return a fold's settings: a folder and a seed of its own, whichever others are trained beside it."""
    seed = int(np.random.SeedSequence((config.training.seed, fold)).generate_state(1)[0])
    return config.model_copy(
        update={
            "output": str(Path(config.output) / layout.fold_name(fold)),
            "training": config.training.model_copy(update={"seed": seed}),
            "resume": "auto",
        }
    )


class Folds:
    """All rows of a cross-validation, tokenized once, and the runs that share them.

    Args:
        config: the settings, by `with_given_folds`.

    Attributes:
        all_rows: the run that all rows would make.
        assignment: int64 [rows], the fold that holds each row out.
        names: of the folds, where a column gives them.

    Raises:
        UserError: whatever the user can fix, in any of the folds.
    """

    def __init__(self, config: Config) -> None:
        rows, self.assignment = assignment.assign_folds(config)
        self.names = assignment.fold_names(rows.train)
        self.all_rows, _ = prepare_run(config, rows)  # each fold loads the model again, with a head of its own
        self.config = self.all_rows.config
        for fold in range(config.folds):
            self.prepare(fold)  # whose rows may not be enough for a share to validate on
        self.warnings: list[str] = []
        if is_main_process():
            self.warnings = assignment.warnings(rows.train, self.assignment, config)
            for warning in self.warnings:
                log(f"warning: {warning}")

    def describe(self, fold: int) -> str:
        """Name a fold: its number and, where a column gives it, its value there."""
        return f"fold {fold}" + (f" ({self.config.data.fold} {self.names[fold]!r})" if self.names else "")

    def prepare(self, fold: int) -> PreparedRun:
        """Prepare a fold's run. Its held-out rows do not influence which of its models is the best."""
        config, rows, tokens = fold_config(self.config, fold), self.all_rows.splits, self.all_rows.tokens
        learned, held_out = np.flatnonzero(self.assignment != fold), np.flatnonzero(self.assignment == fold)
        fold_tokens = {split: part for split, part in tokens.items() if split != "train"}
        validation = rows.validation
        if isinstance(config.data.validation, float):
            kept, validated = splits.share(rows.train.take(learned), config.data.validation, config.training.seed)
            validation = rows.train.take(learned[validated])
            fold_tokens["validation"] = tokens["train"].take(learned[validated])
            learned = learned[kept]
        fold_tokens |= {"train": tokens["train"].take(learned), "held_out": tokens["train"].take(held_out)}
        held_out_rows = rows.train.take(held_out)
        fold_rows = Splits(rows.train.take(learned), validation, rows.test, held_out_rows, rows.calibration)
        return replace(self.all_rows, config=config, splits=fold_rows, tokens=fold_tokens)

    def write(self) -> None:
        """Write folds.json, config.yaml and rows.json into the cross-validation's folder."""
        output = Path(self.config.output)
        assignment.write_folds(self.config, self.all_rows.splits.train, self.assignment)
        layout.write_config(output, self.config)
        write_data_facts(output, self.all_rows, self.warnings)
