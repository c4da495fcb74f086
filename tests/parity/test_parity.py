"""The verdict of `accel-clf parity`; tests/xla shows that faults turn it."""

from pathlib import Path

import numpy as np
import pytest

from accel_clf.config.load import load
from accel_clf.training.parity import LOSS, NORM, WEIGHTS, Trace, Variant, agrees, compare, settings_for
from tests.conftest import Cli

RIGHT = Trace(np.array([0.7, 0.5]), np.array([1.0, 2.0]), np.array([0.1, -0.2, 0.3]))


def test_the_same_agrees() -> None:
    assert compare(RIGHT, RIGHT) == {"loss": 0.0, "norm": 0.0, "weights": 0.0}
    assert agrees(compare(RIGHT, RIGHT))


@pytest.mark.parametrize("factor", [0.9, 1.1])
@pytest.mark.parametrize("name", ["losses", "norms", "weights"])
def test_each_limit_holds(name: str, factor: float) -> None:
    arrays = {"losses": RIGHT.losses.copy(), "norms": RIGHT.norms.copy(), "weights": RIGHT.weights.copy()}
    if name == "weights":
        arrays[name][1] += factor * WEIGHTS
    else:
        arrays[name][1] *= 1 + factor * {"losses": LOSS, "norms": NORM}[name]
    assert agrees(compare(RIGHT, Trace(**arrays))) == (factor < 1)


def test_what_is_not_a_number_or_not_there_differs() -> None:
    nan = Trace(np.array([0.7, np.nan]), RIGHT.norms, RIGHT.weights)
    assert not agrees(compare(RIGHT, nan))
    assert not agrees(compare(RIGHT, Trace(RIGHT.losses[:1], RIGHT.norms[:1], RIGHT.weights)))


def test_all_take_the_same_global_batches() -> None:
    config = load(None, {"batch": {"size": 12, "accumulate": 3}})
    found = [settings_for(config, Variant("", cores=cores), 20) for cores in (1, 8)]
    assert [settings["batch"]["size"] for settings in found] == [16, 2]
    assert len({settings["data"]["limit"] for settings in found}) == 1
    rows = found[0]["data"]["limit"]
    assert -(-rows // 48) == 10  # steps an epoch, of two
    assert rows % 48  # the last of them ragged


def test_the_command_where_there_is_only_a_cpu(cli: Cli, reviews: Path, tiny_bert: Path) -> None:
    done = cli("parity", "--steps", 4, "--model.name", tiny_bert, "--data.train", reviews, "--data.max_length", 64)
    assert done.returncode == 0, done.stderr
    assert "reference" in done.stdout
    assert "torch_xla is not installed here" in done.stdout


def test_one_step_is_too_few(cli: Cli) -> None:
    done = cli("parity", "--steps", 1)
    assert done.returncode == 2
    assert "--steps is 1" in done.stderr
