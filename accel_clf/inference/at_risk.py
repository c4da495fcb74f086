"""A target that abstains, by the rows that a run has kept for this."""

from pathlib import Path

from accel_clf.core.console import log
from accel_clf.core.errors import ConfigError
from accel_clf.run_folder.layout import is_cross_validation
from accel_clf.run_folder.predictions import PREDICTION_FILES, read_labelled_logits
from accel_clf.targets import abstention
from accel_clf.targets.abstaining import ABSTAIN, Abstaining
from accel_clf.targets.abstention import Abstention
from accel_clf.targets.base import Target
from accel_clf.targets.single_label import SingleLabel


def at_risk(target: Target, run: Path, risk: float, temperature: float) -> Abstaining:
    """Let a run's target abstain where a label cannot be given at a risk, and say what that rests on.

    Args:
        target: the run's.
        run: the folder.
        risk: the share of wrong answers among those given.
        temperature: what the run divides logits by.

    Raises:
        ConfigError: a text may have several labels or none, or the run has kept no rows.
    """
    if not 0 < risk < 1:
        raise ConfigError(f"--risk {risk}", "a share between 0 and 1, such as 0.05")
    if not isinstance(target, SingleLabel):
        raise ConfigError(f"--risk, and the run is {target.kind}", "a run whose texts have one label each")
    if ABSTAIN in target.names:
        raise ConfigError(
            f"--risk, and a label is called {ABSTAIN!r}, as the answer would be", "a label of another name"
        )
    kept, out_of_fold = run / PREDICTION_FILES["calibration"], run / "out_of_fold.csv"
    if kept.is_file():
        logits, labels = read_labelled_logits(kept, target)
        scores, origin = target.scores(logits), "calibration rows"
    elif is_cross_validation(run) and out_of_fold.is_file():
        logits, labels = read_labelled_logits(out_of_fold, target)
        scores = target.scores(logits / temperature)
        origin = "out-of-fold answers (of single models, so that for their mean this is an estimate)"
    else:
        raise ConfigError(
            f"--risk, and {run} has kept no rows for it",
            "a cross-validation, or a run that was trained with data.calibration",
            "train with --data.calibration 0.2, or on a file of rows that nothing else uses",
        )
    rule = abstention.fit(scores, labels, risk)
    log(_describe(rule, origin))
    return Abstaining(target.names, rule=rule)


def _describe(rule: Abstention, origin: str) -> str:
    """Say what a rule does, and which rows it comes from."""
    pooled = len(rule.pooled_labels)
    answered = (
        f"{rule.answered_share:.1%} of them are answered, at most {rule.error_bound:.1%} of these wrongly, at a "
        f"confidence of {rule.confidence:.0%}; the others' sets hold"
        if rule.answered_share
        else "no text can be given a label at that risk, by this model or so few rows; all sets hold"
    )
    return f"risk {rule.risk:g}, by {rule.rows} {origin}: {answered} the right label at 1 - risk" + (
        f", {pooled} rare labels taken together" if pooled else ""
    )
