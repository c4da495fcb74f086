"""Which XLA cores there are, or are asked for. Imports no torch."""

import os
from glob import glob
from importlib.util import find_spec
from pathlib import Path

from accel_clf.core.errors import ConfigError

# Otherwise a factor that happens to be 0 or 1 is a part of the graph, and makes it another one. torch_xla reads this
# when it is imported, which `accelerate launch` does in each core's process before anything of ours: they inherit it.
os.environ.setdefault("XLA_NO_SPECIAL_SCALARS", "1")

VIRTUAL_CORES_VARIABLE = "ACCEL_CLF_VIRTUAL_CORES"
GOOGLE, TPU_CHIPS = "0x1ae0", {"0x0027", "0x005e", "0x0062", "0x0063", "0x006f", "0x0076"}  # PCI ids, v2 to v7


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


def tpu_chips() -> int:
    """Count the TPU chips on this machine's PCI bus."""
    count = 0
    for vendor in map(Path, glob("/sys/bus/pci/devices/*/vendor")):
        is_google = vendor.read_text().strip() == GOOGLE
        count += is_google and (vendor.parent / "device").read_text().strip() in TPU_CHIPS
    return count
