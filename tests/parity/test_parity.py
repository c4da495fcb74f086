"""The verdict of `accel-clf parity`; tests/xla shows that it detects planted faults."""

from pathlib import Path

import numpy as np
import pytest

from accel_clf.config.load import load
from accel_clf.training import parity
from accel_clf.training.parity import LOSS, NORM, WEIGHTS, Trace, Variant, agrees, compare, settings_for
from tests.conftest import Cli

REFERENCE = Trace(np.array([0.7, 0.5]), np.array([1.0, 2.0]), np.array([0.1, -0.2, 0.3]))


def test_equal_traces_agree() -> None:
    assert compare(REFERENCE, REFERENCE) == {"loss": 0.0, "norm": 0.0, "weights": 0.0}
    assert agrees(compare(REFERENCE, REFERENCE))


@pytest.mark.parametrize("factor", [0.9, 1.1])
@pytest.mark.parametrize("name", ["losses", "norms", "weights"])
def test_each_tolerance_is_applied(name: str, factor: float) -> None:
    arrays = {"losses": REFERENCE.losses.copy(), "norms": REFERENCE.norms.copy(), "weights": REFERENCE.weights.copy()}
    if name == "weights":
        arrays[name][1] += factor * WEIGHTS
    else:
        arrays[name][1] *= 1 + factor * {"losses": LOSS, "norms": NORM}[name]
    assert agrees(compare(REFERENCE, Trace(**arrays))) == (factor < 1)


def test_nan_and_missing_steps_differ() -> None:
    nan = Trace(np.array([0.7, np.nan]), REFERENCE.norms, REFERENCE.weights)
    assert not agrees(compare(REFERENCE, nan))
    assert not agrees(compare(REFERENCE, Trace(REFERENCE.losses[:1], REFERENCE.norms[:1], REFERENCE.weights)))


def test_all_variants_take_the_same_global_batches() -> None:
    config = load(None, {"batch": {"size": 12, "accumulate": 3}})
    variants = [settings_for(config, Variant("", cores=cores), 20) for cores in (1, 8)]
    assert [settings["batch"]["size"] for settings in variants] == [16, 2]
    assert len({settings["data"]["limit"] for settings in variants}) == 1
    rows = variants[0]["data"]["limit"]
    assert -(-rows // 48) == 10  # steps per epoch, in two epochs
    assert rows % 48  # the last step is ragged


@pytest.mark.parametrize("devices", [1, 4, 8])
def test_tpu_variants_share_batches_among_its_devices(devices: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "tpu_devices", lambda: devices)
    on_tpu = [variant for variant in parity.variants() if variant.name.startswith("TPU")]
    assert [variant.cores for variant in on_tpu] == [devices, devices]
    sizes = [settings_for(load(None, {}), variant, 20)["batch"]["size"] * variant.cores for variant in on_tpu]
    assert sizes == [settings_for(load(None, {}), Variant(""), 20)["batch"]["size"]] * 2


def test_parity_runs_on_a_cpu_alone(cli: Cli, reviews: Path, tiny_bert: Path) -> None:
    process = cli("parity", "--steps", 4, "--model.name", tiny_bert, "--data.train", reviews, "--data.max_length", 64)
    assert process.returncode == 0, process.stderr
    assert "reference" in process.stdout
    assert "torch_xla is not installed here" in process.stdout


def test_one_step_is_refused(cli: Cli) -> None:
    process = cli("parity", "--steps", 1)
    assert process.returncode == 2
    assert "--steps is 1" in process.stderr
