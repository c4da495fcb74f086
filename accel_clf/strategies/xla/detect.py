"""Which XLA cores there are, or are asked for. Imports no torch."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from accel_clf.core.errors import ConfigError

# Otherwise a factor that happens to be 0 or 1 is a part of the graph, and makes it another one. torch_xla reads this
# when it is imported, which `accelerate launch` does in each core's process before anything of ours: they inherit it.
os.environ.setdefault("XLA_NO_SPECIAL_SCALARS", "1")

VIRTUAL_CORES_VARIABLE = "ACCEL_CLF_VIRTUAL_CORES"
PCI_DEVICES = Path("/sys/bus/pci/devices")
GOOGLE = "0x1ae0"  # its PCI vendor id


class Chip(NamedTuple):
    """A kind of TPU chip.

    Attributes:
        generation: its name in that of a TPU: v4 in v4-8.
        devices: how many XLA sees in one, each of which is a run's core. The two cores of a v4 or v5p chip are one.
    """

    generation: str
    devices: int


CHIPS = {  # by PCI device id
    "0x0027": Chip("v2 or v3", 2),
    "0x005e": Chip("v4", 1),
    "0x0062": Chip("v5p", 1),
    "0x0063": Chip("v5e", 1),
    "0x006f": Chip("v6e", 1),
    "0x0076": Chip("v7", 2),
}


class Host(NamedTuple):
    """A machine among those that share a TPU.

    Attributes:
        number: which of them it is, from 0.
        hosts: how many there are.
    """

    number: int
    hosts: int


def requested_cores() -> int | None:
    """Return how many virtual cores the environment asks for; None for none.

    Raises:
        ConfigError: it names no number.
    """
    value = os.environ.get(VIRTUAL_CORES_VARIABLE)
    if value and (not value.isdecimal() or int(value) < 1):
        raise ConfigError(f"{VIRTUAL_CORES_VARIABLE} is {value!r}", "a number of cores", f"{VIRTUAL_CORES_VARIABLE}=8")
    return int(value) if value else None


def require_torch_xla() -> None:
    """Raise ConfigError where torch_xla is missing."""
    if find_spec("torch_xla") is None:
        raise ConfigError(
            "torch_xla is not installed here",
            "torch_xla 2.9 with torch 2.9, in an environment of its own",
            "pip install 'accel_clf[xla]' (on a TPU: 'accel_clf[tpu]'), or leave out strategy xla and virtual_cores",
        )


def tpu_chips() -> list[Chip]:
    """List the TPU chips on this machine's PCI bus."""
    google = [path.parent for path in PCI_DEVICES.glob("*/vendor") if path.read_text().strip() == GOOGLE]
    ids = [(path / "device").read_text().strip() for path in google]
    return [CHIPS[device_id] for device_id in ids if device_id in CHIPS]


def tpu_devices() -> int:
    """Count the devices of this machine's TPU chips, which are the cores of a run."""
    return sum(chip.devices for chip in tpu_chips())


def tpu_host() -> Host:
    """Return which of a TPU's hosts this is.

    Kubernetes says it in variables. A TPU VM's metadata server says it to torch_xla, which places the cores by it.
    """
    if number := os.environ.get("TPU_WORKER_ID"):
        return Host(int(number), len(os.environ.get("TPU_WORKER_HOSTNAMES", "").split(",")))
    if not (tpu_chips() and find_spec("torch_xla")):
        return Host(0, 1)
    from torch_xla._internal import tpu

    hosts = int(tpu.num_tpu_workers())
    return Host(int(tpu.worker_id()) if hosts > 1 else 0, hosts)
