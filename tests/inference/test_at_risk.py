"""A run abstains by the rows that it has kept for this; where it cannot, it says why."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from accel_clf.core.errors import ConfigError
from accel_clf.inference.at_risk import at_risk
from accel_clf.targets.abstaining import Abstaining
from accel_clf.targets.multi_label import MultiLabel
from accel_clf.targets.single_label import SingleLabel
from tests.conftest import Cli, read_csv, write_csv

NAMES = ("negative", "positive")


@pytest.fixture(scope="module")
def calibrated(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with calibration rows: sure answers are right; unsure ones are wrong: `positive`, where it is negative."""
    folder = tmp_path_factory.mktemp("calibrated") / "run"
    shutil.copytree(run, folder)
    rows = []
    for number in range(400):
        is_sure, label = number % 4 > 0, NAMES[number % 2]
        predicted = label if is_sure else NAMES[1 - number % 2]
        logits = {name: str((8.0 if is_sure else 0.1) * (name == predicted)) for name in NAMES}
        rows.append((label, logits["negative"], logits["positive"]))
    write_csv(folder / "calibration.csv", rows, ("label", "logit:negative", "logit:positive"))
    return folder


def test_unsure_answers_are_not_given(calibrated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = at_risk(SingleLabel(NAMES), calibrated, 0.05, 1.0)
    assert isinstance(target, Abstaining)
    sure, unsure = target.scores(np.array([[0.0, 8.0], [0.0, 0.09]]))
    assert target.answer(sure)["label"] == "positive"
    assert "set" not in target.answer(sure)
    assert target.answer(unsure)["label"] == "abstain"
    assert target.answer(unsure)["set"] == ["positive", "negative"]
    message = capsys.readouterr().err
    assert "risk 0.05, by 400 calibration rows: 75.0% of them are answered, at most " in message
    assert "at a confidence of 95%" in message


def test_risk_that_nothing_goes_by_is_refused(calibrated: Path, run: Path, tmp_path: Path) -> None:
    single = SingleLabel(NAMES)
    with pytest.raises(ConfigError, match=r"has kept no rows for it") as error:
        at_risk(single, run, 0.05, 1.0)
    assert "--data.calibration" in error.value.fix
    for target, risk, problem in (
        (MultiLabel(NAMES), 0.05, "the run is multi_label"),
        (single, 1.5, r"--risk 1\.5"),
        (SingleLabel(("abstain", "go")), 0.05, "a label is called 'abstain'"),
    ):
        with pytest.raises(ConfigError, match=problem):
            at_risk(target, calibrated, risk, 1.0)


def test_commands_abstain(cli: Cli, calibrated: Path, reviews: Path, tmp_path: Path) -> None:
    """The tiny model is hardly sure of anything."""
    process = cli("predict", calibrated, "--risk", 0.05, "a dull film")
    assert process.stdout.startswith("abstain  "), process.stderr
    assert "  one of " in process.stdout
    output = tmp_path / "answers.csv"
    assert cli("predict", calibrated, "--risk", 0.05, "--data", reviews, "--output", output).returncode == 0
    rows = read_csv(output)
    assert {row["predicted"] for row in rows} == {"abstain"}
    assert {row["set"] for row in rows} <= {"negative|positive", "positive|negative", "negative", "positive"}
    process = cli("evaluate", calibrated, "--risk", 0.05, "--data", reviews, "--json")
    measured = json.loads(process.stdout)["abstention"]
    assert measured["answered"] == 0.0
    assert 0.5 < measured["coverage"] <= 1.0
    assert "answered: 0.0% of texts" in cli("evaluate", calibrated, "--risk", 0.05, "--data", reviews).stdout
