"""Which chips, devices and hosts a TPU VM has, and what `accel-clf doctor` says of them."""

from pathlib import Path

import pytest

from accel_clf.cli import doctor
from accel_clf.strategies.xla import detect
from accel_clf.strategies.xla.detect import tpu_chips, tpu_devices, tpu_host

# The PCI ids of a TPU VM's chips, and how many devices torch_xla's num_available_devices counts.
VMS = {
    "v3-8": (["0x0027"] * 4, 8),
    "v4-8": (["0x005e"] * 4, 4),
    "v5p-8": (["0x0062"] * 4, 4),
    "v5e-8": (["0x0063"] * 8, 8),
    "v6e-8": (["0x006f"] * 8, 8),
    "v6e-1": (["0x006f"], 1),
    "no TPU": ([], 0),
}


@pytest.fixture
def pci(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine's PCI bus, with an Intel bridge and Google's network card."""
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    monkeypatch.setattr(detect, "PCI_DEVICES", tmp_path)
    monkeypatch.delenv("TPU_WORKER_ID", raising=False)
    plug_in(tmp_path, "0x8086", "0x1237")
    plug_in(tmp_path, detect.GOOGLE, "0x0042")
    return tmp_path


def plug_in(bus: Path, vendor: str, device: str) -> None:
    folder = bus / f"0000:00:{len(list(bus.iterdir())):02}.0"
    folder.mkdir()
    (folder / "vendor").write_text(f"{vendor}\n")
    (folder / "device").write_text(f"{device}\n")


@pytest.mark.parametrize("vm", VMS)
def test_devices_are_counted_by_the_kind_of_chip(vm: str, pci: Path) -> None:
    ids, devices = VMS[vm]
    for device_id in ids:
        plug_in(pci, detect.GOOGLE, device_id)
    assert (len(tpu_chips()), tpu_devices()) == (len(ids), devices)
    assert all(chip.generation.endswith(vm.partition("-")[0]) for chip in tpu_chips())


def test_kubernetes_says_the_host_in_variables(pci: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tpu_host() == (0, 1)
    monkeypatch.setenv("TPU_WORKER_ID", "0")
    assert tpu_host() == (0, 1)
    monkeypatch.setenv("TPU_WORKER_ID", "2")
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "tpu-0.tpu,tpu-1.tpu,tpu-2.tpu,tpu-3.tpu")
    assert tpu_host() == (2, 4)


def test_doctor_says_chips_devices_and_hosts(pci: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = doctor.examine()
    assert (report["tpu"], report["tpu chips"], report["tpu devices"]) == ("none", 0, 0)
    for _ in range(4):
        plug_in(pci, detect.GOOGLE, "0x005e")
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    monkeypatch.setenv("TPU_WORKER_ID", "0")
    assert "would use       nothing: the TPU needs torch_xla" in doctor.as_text(doctor.examine())
    monkeypatch.setattr(doctor, "find_spec", lambda name: True)
    text = doctor.as_text(doctor.examine())
    assert "tpu             chips: 4 (v4), devices: 4\n" in text
    assert "would use       accelerate: 4 TPU devices, bf16, bucketed batches" in text
    monkeypatch.setenv("TPU_WORKER_ID", "1")
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "a,b,c,d")
    text = doctor.as_text(doctor.examine())
    assert "tpu             chips: 4 (v4), devices: 4; host 1 of 0 to 3\n" in text
    assert "would use       accelerate: 16 TPU devices on 4 hosts, bf16, bucketed batches" in text
    assert "strategy xla    yes: 16 TPU devices on 4 hosts" in text
