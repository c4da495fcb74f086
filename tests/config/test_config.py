"""Settings: declared once, and mistakes reported before any model loads; case 24."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from accel_clf.config.flags import parse
from accel_clf.config.load import from_mapping, load
from accel_clf.config.schema import Config, merge, settings
from accel_clf.core.exit_codes import USAGE

Refused = Callable[..., str]

INVALID_FILES = {
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


@pytest.mark.parametrize("case", INVALID_FILES)
def test_invalid_file_names_the_setting(tmp_path: Path, refused: Refused, case: str) -> None:
    content, problem, hint = INVALID_FILES[case]
    path = tmp_path / "config.yaml"
    path.write_text(content)
    message = refused(USAGE, "train", path)
    assert str(path) in message
    assert problem in message
    assert hint in message


def test_invalid_flags_are_refused_with_a_hint(refused: Refused, tmp_path: Path) -> None:
    assert "did you mean --training.epochs?" in refused(USAGE, "train", "--training.epoch", 3)
    assert "the command line: training.seed is '-1'" in refused(USAGE, "train", "--training.seed=-1")
    assert "no such file" in refused(USAGE, "train", tmp_path / "missing.yaml")
    assert "did you mean train?" in refused(USAGE, "trian")


def test_names_of_columns_may_have_commas() -> None:
    def label(*flags: str) -> str | tuple[str, ...]:
        return parse(flags, "train", "")[0].data.label

    assert label("--data.label", 'how, "exactly"?') == 'how, "exactly"?'
    assert label("--data.label", "a,b", "--data.label", "c") == ("a,b", "c")
    assert label() == "label"


def test_all_mistakes_are_reported_at_once(tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("training:\n  epochs: 0\n  warmup: 7\n")
    message = refused(USAGE, "train", path)
    assert "training.epochs is 0" in message
    assert "training.warmup is 7" in message


def test_settings_are_checked_before_torch_is_imported() -> None:
    code = (
        "import sys; from accel_clf.cli.main import main; main(['train', '--nonsense']); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60).returncode == 0


def test_flags_override_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("data:\n  train: a.csv\n  text: review\ntraining:\n  learning_rate: 2e-5\n")
    flags = ["--data.text", "body", "--data.validation", "null", "--data.limit", "50", "--evaluation.every", "10"]
    config, args = parse([str(path), *flags, "--debug"], "accel-clf train", "")
    assert (config.data.train, config.data.text, config.data.validation, config.data.limit) == (
        "a.csv",
        "body",
        None,
        50,
    )
    assert (config.training.learning_rate, config.evaluation.every, args.debug) == (2e-5, 10, True)


def test_validation_is_a_share_or_a_file() -> None:
    assert load(None, {"data": {"validation": "0.2"}}).data.validation == 0.2
    assert load(None, {"data": {"validation": "dev.csv"}}).data.validation == "dev.csv"


def test_numbers_are_names_of_columns() -> None:
    """YAML has them as numbers, in files without a header."""
    data = from_mapping({"data": {"text": 2, "label": [1, 3], "header": False, "separator": "\\t"}}).data
    assert (data.text, data.label, data.separator) == ("2", ("1", "3"), "\t")
    flags = ["--data.text", "2", "--data.label", "1", "--data.header", "false", "--data.separator", ","]
    data = parse(flags, "accel-clf train", "")[0].data
    assert (data.text, data.label, data.header, data.separator) == ("2", "1", False, ",")


def test_demo_is_the_default() -> None:
    demo = load(None, {})
    assert (demo.model.name, demo.data.train, demo.output) == ("demo", "demo", "runs/demo")
    assert demo.training.epochs > 1
    assert load(None, {"training": {"epochs": 1}}).training.epochs == 1
    reviews = load(None, {"data": {"train": "mine/reviews.csv.gz"}})
    assert (reviews.model.name, reviews.training.epochs, reviews.output) == (
        "bert-base-uncased",
        1,
        "runs/reviews",
    )
    assert load(None, {"model": {"name": "demo"}, "data": {"train": "x.csv"}}).training.learning_rate == 2e-3


def test_written_settings_are_read_back(tmp_path: Path) -> None:
    from accel_clf.run_folder.compat import differences
    from accel_clf.run_folder.layout import write_config

    config = load(None, {"evaluation": {"metrics": ["f1"], "patience": 3}})
    write_config(tmp_path, config)
    assert load(tmp_path / "config.yaml", {}) == config
    changed = load(tmp_path / "config.yaml", {"training": {"epochs": 9}})
    assert differences(config, changed) == ["training.epochs 6 -> 9"]


def test_merge_keeps_settings_of_both_levels() -> None:
    assert merge({"a": {"x": 1, "y": 2}, "b": 1}, {"a": {"y": 3}}) == {"a": {"x": 1, "y": 3}, "b": 1}


def test_every_setting_has_a_description() -> None:
    for name, field in settings():
        assert field.description, name
    assert Config.model_config["extra"] == "forbid"
