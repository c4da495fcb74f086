"""Settings: one declaration, and mistakes that are told before any model loads; case 24."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from accel_clf.config.flags import parse
from accel_clf.config.load import load
from accel_clf.config.schema import Config, merge, settings
from accel_clf.core.exit_codes import USAGE

Refused = Callable[..., str]

WRONG_FILES = {
    "misspelt key": ("training:\n  epoch: 3\n", "unknown setting training.epoch", "did you mean training.epochs?"),
    "misspelt section": ("trainig:\n  epochs: 3\n", "unknown setting trainig", "did you mean training?"),
    "key in the wrong section": ("data:\n  epochs: 3\n", "unknown setting data.epochs", "training.epochs?"),
    "key without section": ("epochs: 3\n", "unknown setting epochs", "did you mean training.epochs?"),
    "wrong type": ("training:\n  epochs: many\n", "training.epochs is 'many'", "valid integer"),
    "out of range": ("training:\n  epochs: 0\n", "training.epochs is 0", "greater than or equal to 1"),
    "not a choice": ("batch:\n  layout: round\n", "batch.layout is 'round'", "'padded'"),
    "not a share": ("data:\n  validation: 1.5\n", "data.validation is 1.5", "between 0 and 1"),
    "not a section": ("training: 3\n", "training is 3", "a section"),
    "unmeasured metric": ("evaluation:\n  metric: rouge\n", "'rouge' is neither", ""),
    "not YAML": ("training: [1\n", "line 2", ""),
    "a list": ("- a\n", "list, not settings", ""),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_wrong_files_are_told(tmp_path: Path, refused: Refused, case: str) -> None:
    content, problem, hint = WRONG_FILES[case]
    path = tmp_path / "config.yaml"
    path.write_text(content)
    told = refused(USAGE, "train", path)
    assert str(path) in told
    assert problem in told
    assert hint in told


def test_wrong_flags_are_told(refused: Refused, tmp_path: Path) -> None:
    assert "did you mean --training.epochs?" in refused(USAGE, "train", "--training.epoch", 3)
    assert "the command line: training.seed is '-1'" in refused(USAGE, "train", "--training.seed=-1")
    assert "no such file" in refused(USAGE, "train", tmp_path / "missing.yaml")
    assert "did you mean train?" in refused(USAGE, "trian")


def test_all_mistakes_are_told_at_once(tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("training:\n  epochs: 0\n  warmup: 7\n")
    told = refused(USAGE, "train", path)
    assert "training.epochs is 0" in told
    assert "training.warmup is 7" in told


def test_no_model_loads_before_settings_are_checked() -> None:
    code = (
        "import sys; from accel_clf.cli.main import main; main(['train', '--nonsense']); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60).returncode == 0


def test_flags_come_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("data:\n  train: a.csv\n  text: review\ntraining:\n  learning_rate: 2e-5\n")
    flags = ["--data.text", "body", "--data.validation", "null", "--data.limit", "50", "--evaluation.every", "10"]
    config, given = parse([str(path), *flags, "--debug"], "accel-clf train", "")
    assert (config.data.train, config.data.text, config.data.validation, config.data.limit) == (
        "a.csv",
        "body",
        None,
        50,
    )
    assert (config.training.learning_rate, config.evaluation.every, given.debug) == (2e-5, 10, True)


def test_shares_and_files_are_told_apart() -> None:
    assert load(None, {"data": {"validation": "0.2"}}).data.validation == 0.2
    assert load(None, {"data": {"validation": "dev.csv"}}).data.validation == "dev.csv"


def test_nothing_named_is_the_demo() -> None:
    demo = load(None, {})
    assert (demo.model.name, demo.data.train, demo.output) == ("demo", "demo", "runs/demo")
    assert demo.training.epochs > 1
    assert load(None, {"training": {"epochs": 1}}).training.epochs == 1
    own = load(None, {"data": {"train": "mine/reviews.csv.gz"}})
    assert (own.model.name, own.training.epochs, own.output) == ("bert-base-uncased", 1, "runs/reviews")
    assert load(None, {"model": {"name": "demo"}, "data": {"train": "x.csv"}}).training.learning_rate == 2e-3


def test_a_run_reads_its_own_settings_back(tmp_path: Path) -> None:
    from accel_clf.run_folder.compat import differences
    from accel_clf.run_folder.layout import write_config

    config = load(None, {"evaluation": {"metrics": ["f1"], "patience": 3}})
    write_config(tmp_path, config)
    assert load(tmp_path / "config.yaml", {}) == config
    changed = load(tmp_path / "config.yaml", {"training": {"epochs": 9}})
    assert differences(config, changed) == ["training.epochs 6 -> 9"]


def test_merge_keeps_both() -> None:
    assert merge({"a": {"x": 1, "y": 2}, "b": 1}, {"a": {"y": 3}}) == {"a": {"x": 1, "y": 3}, "b": 1}


def test_every_setting_says_what_it_is() -> None:
    for name, field in settings():
        assert field.description, name
    assert Config.model_config["extra"] == "forbid"
