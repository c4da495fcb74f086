"""Which XLA cores there are, or are asked for. Imports no torch."""

import os

from accel_clf.core.errors import ConfigError

# Otherwise a factor that happens to be 0 or 1 is a part of the program, and makes it another one. torch_xla reads this
# when it is imported, which `accelerate launch` does in each core's process before anything of ours: they inherit it.
os.environ.setdefault("XLA_NO_SPECIAL_SCALARS", "1")

VIRTUAL_CORES_VARIABLE = "ACCEL_CLF_VIRTUAL_CORES"


def requested_cores() -> int | None:
    """How many virtual cores the environment asks for.

    Raises:
        ConfigError: it is no number.
    """
    given = os.environ.get(VIRTUAL_CORES_VARIABLE)
    if given and (not given.isdecimal() or int(given) < 1):
        raise ConfigError(f"{VIRTUAL_CORES_VARIABLE} is {given!r}", "a number of cores", f"{VIRTUAL_CORES_VARIABLE}=8")
    return int(given) if given else None


def require_torch_xla() -> None:
    """Raise where torch_xla is missing."""
    from importlib.util import find_spec

    if find_spec("torch_xla") is None:
        raise ConfigError(
            "torch_xla is not installed here",
            "torch_xla 2.9 with torch 2.9, in an environment of its own",
            "pip install 'accel_clf[xla]' (on a TPU: 'accel_clf[tpu]'), or leave out strategy xla and virtual_cores",
        )


def tpu_chips() -> int:
    """TPU chips on this machine's PCI bus."""
    from glob import glob
    from pathlib import Path

    google, chips = "0x1ae0", {"0x0027", "0x005e", "0x0062", "0x0063", "0x006f", "0x0076"}  # v2 to v7
    found = 0
    for vendor in map(Path, glob("/sys/bus/pci/devices/*/vendor")):
        found += vendor.read_text().strip() == google and (vendor.parent / "device").read_text().strip() in chips
    return found
