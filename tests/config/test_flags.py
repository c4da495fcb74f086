"""The short way in: data without a flag, and short flags for what nearly everybody sets."""

from collections.abc import Callable
from pathlib import Path

import pytest

from accel_clf.config.flags import SHORT_FLAGS, parse, with_short_flags
from accel_clf.config.schema import Config
from accel_clf.core.exit_codes import USAGE

Refused = Callable[..., str]
VALUES = {
    "data": "reviews.csv",
    "text": "body",
    "pair": "reply",
    "label": "stars",
    "model": "demo",
    "epochs": "3",
    "batch": "8",
    "rate": "1e-4",
    "length": "99",
}


def config_of(*words: str) -> Config:
    return parse(words, "accel-clf train", "")[0]


def test_short_flags_are_other_names_of_settings() -> None:
    short = [word for name, value in VALUES.items() for word in (f"--{name}", value)]
    long = [word for name, value in VALUES.items() for word in (f"--{SHORT_FLAGS[name][0]}", value)]
    config = config_of(*short)
    assert config == config_of(*long) == config_of("reviews.csv", *short[2:])
    assert (config.data.train, config.data.text, config.training.epochs) == ("reviews.csv", "body", 3)
    assert config.output == "runs/reviews"
    assert set(VALUES) == set(SHORT_FLAGS)


def test_short_flags_take_what_the_long_ones_take() -> None:
    assert config_of("--label", "a,b", "--label", "c").data.label == ("a,b", "c")
    assert config_of("--rate", "null").training.learning_rate is None
    assert config_of("--epochs=4").training.epochs == 4


@pytest.mark.parametrize("data", ["reviews.csv", "demo", "owner/reviews", "folder/of.data", "reviews.jsonl.gz"])
def test_an_argument_without_a_flag_is_data_unless_it_is_yaml(data: str) -> None:
    assert config_of(data).data.train == data


@pytest.mark.parametrize("name", ["settings.yaml", "settings.YML"])
def test_yaml_is_settings_that_flags_override(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("data:\n  train: a.csv\n  text: review\ntraining:\n  epochs: 9\n")
    config = config_of(str(path), "--text", "body")
    assert (config.data.train, config.data.text, config.training.epochs) == ("a.csv", "body", 9)


def test_a_setting_has_one_value(refused: Refused) -> None:
    message = refused(USAGE, "train", "a.csv", "--epochs", 3, "--training.epochs", 4)
    assert "--epochs is 3, and --training.epochs 4" in message
    assert "the training data is a.csv, and --data.train b.csv" in refused(
        USAGE, "cv", "a.csv", "--data.train", "b.csv"
    )
    assert "--data is b.csv, and the training data a.csv" in refused(USAGE, "train", "a.csv", "--data", "b.csv")
    assert "--label is a b, and --data.label c" in refused(
        USAGE, "train", "x.csv", "--label", "a", "--label", "b", "--data.label", "c"
    )
    assert config_of("a.csv", "--data.train", "a.csv", "--epochs", "3", "--training.epochs", "3").training.epochs == 3


def test_a_run_is_no_training_data(run: Path, refused: Refused) -> None:
    message = refused(USAGE, "train", run)
    assert "the folder of a run" in message
    assert f"accel-clf train {run / 'config.yaml'}" in message


def test_sections_are_no_flags(refused: Refused) -> None:
    assert "unrecognized arguments: --training" in refused(USAGE, "train", "--training", "{}")
    assert "unrecognized arguments: --evaluation" in refused(USAGE, "train", "--evaluation", "x.csv")


def test_help_shows_the_short_way_first(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        config_of("--help")
    first, _, others = capsys.readouterr().out.partition("\noptions:\n")
    assert all(f"  --{name} " in first for name in (*SHORT_FLAGS, "output"))
    assert "DATA | CONFIG.yaml" in first
    assert all(f"  --{setting} " in others for setting, _ in SHORT_FLAGS.values())
    assert "  --output " not in others


def test_flags_of_a_command_are_replaced() -> None:
    words = ["train", "x.csv", "--text", "--odd", "--data.label=a", "--label", "b", "--epochs", "3", "--data.text", "c"]
    assert with_short_flags(words, {"text": "body"}) == [*words[:2], *words[4:9], "--text", "body"]
    assert with_short_flags(words, {"text": "t", "label": "l"}) == [
        "train", "x.csv", "--epochs", "3", "--text", "t", "--label", "l",
    ]  # fmt: skip
