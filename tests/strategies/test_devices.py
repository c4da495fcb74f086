"""What runs where: devices are simulated by what torch and Accelerate say is there, up to the first tensor on them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState

from accel_clf.cli.doctor import examine
from accel_clf.config.load import load
from accel_clf.core.errors import ConfigError
from accel_clf.data.collate import Padding, collate
from accel_clf.inference.predictor import Predictor
from accel_clf.strategies import loader
from accel_clf.strategies.accelerate import AccelerateStrategy
from accel_clf.strategies.precision import choose_precision, device_type
from tests.faults.harness import LaunchedRun
from tests.strategies.contract_cases import TOKENS, make_batches


def simulate(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make torch and Accelerate report a device."""
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: torch.device(device))
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(f"accelerate.state.is_{device}_available", lambda: True)
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)


@pytest.fixture(params=["mps", "xpu"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A device without kernels of ours."""
    simulate(request.param, monkeypatch)
    yield request.param
    AcceleratorState._reset_state(reset_partial_state=True)


def test_batches_are_padded_in_fp32(device: str) -> None:
    strategy = AccelerateStrategy("auto")
    assert (strategy.device.type, strategy.layout) == (device, "padded")
    assert strategy.description == f"{device}, fp32 (safe on {device}; bf16 only as set)"
    assert strategy.layout_for(load(None, {})) == "padded"


def test_packed_batches_are_refused(device: str) -> None:
    with pytest.raises(ConfigError, match=rf"batch\.layout is packed, on {device}, for which torch has no kernel"):
        AccelerateStrategy("auto").layout_for(load(None, {"batch": {"layout": "packed"}}))


def test_user_may_choose_the_cpu(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_type() == device
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    strategy = AccelerateStrategy("fp32")
    assert (device_type(), strategy.device.type, strategy.layout) == ("cpu", "cpu", "packed")


def test_doctor_lists_the_device(device: str) -> None:
    assert examine()["gpus"] == [device]


def simulate_a_mac(rank: int, _: object) -> None:
    simulate("mps", pytest.MonkeyPatch())


def test_processes_that_cannot_share_the_device_are_refused(tmp_path: Path) -> None:
    """On a Mac, multi_cpu.yaml hides no device: each process would be the only one of a job of its own."""
    job = LaunchedRun([], tmp_path / "run", processes=2)
    assert job.start(before=simulate_a_mac).wait() == [2, 2], job.output(1)
    assert "2 processes were launched, and on mps each would train alone" in job.output()
    assert "put ACCELERATE_USE_CPU=true before the command" in job.output()
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_int8_runs_on_the_cpu(run: Path, device: str, capsys: pytest.CaptureFixture[str]) -> None:
    AccelerateStrategy("fp32")  # as that of the check that serving makes before
    predictor = Predictor(run, "int8")
    assert f"int8 runs on the CPU, not on {device}" in capsys.readouterr().err
    assert len(list(predictor.predict(["a fine film"]))) == 1


@pytest.mark.parametrize(
    ("device_name", "non_blocking"), [("cuda", True), ("mps", False), ("xpu", False), ("cpu", False)]
)
def test_copies_to_a_device_block_unless_it_is_cuda(
    device_name: str, non_blocking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: list[dict[str, Any]] = []
    monkeypatch.setattr(loader, "prepare_data_loader", lambda *_, **given: options.append(given))
    loader.make_loader(make_batches(), collate(TOKENS, Padding(0), "padded", 8), torch.device(device_name))
    assert [option["non_blocking"] for option in options] == [non_blocking]


@pytest.mark.parametrize("setting", ["fp32", "bf16", "fp16"])
def test_precision_that_is_set_is_taken(setting: str, device: str) -> None:
    assert choose_precision(setting, device) == ("no" if setting == "fp32" else setting, "as set")
