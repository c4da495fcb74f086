"""The same steps under every strategy and number of cores that this machine can run, compared.

Each run is a process of its own, since a process cannot change its number of XLA cores. All runs take the same rows in
the same global batches, over the end of an epoch whose last step is ragged, in fp32 and without dropout.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.config.schema import Config, merge
from accel_clf.core.command import run_command
from accel_clf.core.console import format_table, log
from accel_clf.core.exit_codes import DONE
from accel_clf.strategies.xla.detect import VIRTUAL_CORES_VARIABLE, tpu_devices

CORES = 8
LOSS, NORM, WEIGHTS = 1e-5, 1e-4, 1e-4  # relative, relative, absolute


@dataclass(frozen=True)
class Variant:
    """A way to run the steps.

    Attributes:
        name: in the table.
        strategy: the setting.
        virtual_cores: the setting.
        cores: how many share a batch.
        cpu: whether it must leave other devices alone.
    """

    name: str
    strategy: str = "accelerate"
    virtual_cores: int | None = None
    cores: int = 1
    cpu: bool = False


@dataclass(frozen=True)
class Trace:
    """The trace of a run: losses and gradient norms, float [steps], and its last weights, one after another."""

    losses: np.ndarray
    norms: np.ndarray
    weights: np.ndarray


def variants() -> list[Variant]:
    """List the reference, which is the CPU, and whatever else can run here."""
    import torch

    runnable = [Variant("CPU by Accelerate", cpu=True)]
    if torch.accelerator.is_available():
        runnable.append(Variant("GPU by Accelerate"))
    libraries = {"accelerate": "Accelerate", "xla": "raw torch_xla"}
    if devices := tpu_devices():
        runnable += [Variant(f"TPU by {library}", strategy, cores=devices) for strategy, library in libraries.items()]
    elif find_spec("torch_xla"):
        for strategy, library in libraries.items():
            runnable += [Variant(f"virtual XLA by {library}", strategy, cores, cores) for cores in (1, CORES)]
    return runnable


def compare(reference: Trace, other: Trace) -> dict[str, float]:
    """Compute the largest differences: relative in loss and gradient norm, absolute in weights.

    They are infinite where the number of steps or weights differs.
    """
    if other.losses.shape != reference.losses.shape or other.weights.shape != reference.weights.shape:
        return {"loss": np.inf, "norm": np.inf, "weights": np.inf}
    return {
        "loss": float(np.max(np.abs(other.losses / reference.losses - 1))),
        "norm": float(np.max(np.abs(other.norms / reference.norms - 1))),
        "weights": float(np.max(np.abs(other.weights - reference.weights))),
    }


def agrees(difference: dict[str, float]) -> bool:
    """Whether the differences are within the tolerances."""
    # Written so that a NaN does not agree.
    return difference["loss"] <= LOSS and difference["norm"] <= NORM and difference["weights"] <= WEIGHTS


def run(config: Config, steps: int) -> bool:
    """Run all variants and print a table; return whether all agree."""
    rows: list[Sequence[str]] = []
    reference: Trace | None = None
    all_agree = True
    for variant in variants():
        log(f"{variant.name}, {variant.cores} core{'s' if variant.cores > 1 else ''} ...")
        began = time.monotonic()
        trace = run_in_subprocess(settings_for(config, variant, steps), cpu=variant.cpu)
        seconds = f"{time.monotonic() - began:.0f}"
        if trace is None and reference is None:
            return False
        if trace is None:
            rows.append([variant.name, str(variant.cores), "", "", "", "", seconds, "failed"])
            all_agree = False
        elif reference is None:
            reference = trace
            rows.append([variant.name, str(variant.cores), str(len(trace.losses)), "", "", "", seconds, "reference"])
        else:
            difference = compare(reference, trace)
            verdict = agrees(difference)
            all_agree &= verdict
            differences = [f"{difference[name]:.1e}" for name in ("loss", "norm", "weights")]
            row = [variant.name, str(variant.cores), str(len(trace.losses)), *differences, seconds]
            rows.append([*row, "agrees" if verdict else "DIFFERS"])
    header = ["run", "cores", "steps", "loss", "gradient norm", "weights", "seconds", "verdict"]
    print(format_table(header, rows))
    print(f"\nlargest differences from the first; allowed: loss {LOSS} and norm {NORM} relative, weights {WEIGHTS}")
    if not find_spec("torch_xla"):
        print("XLA was left out: torch_xla is not installed here")
    return all_agree


def settings_for(config: Config, variant: Variant, steps: int) -> dict[str, Any]:
    """Make a variant's settings: the same global batch for all, two epochs of `steps` / 2 steps, each's last ragged."""
    accumulate = config.batch.accumulate
    global_size = ceil(config.batch.size / CORES) * CORES  # rows of a micro-batch on all cores
    rows = ceil(steps / 2) * global_size * accumulate - global_size // 2
    changes = {
        "data": {"limit": rows, "validation": None, "test": None},
        "batch": {"size": global_size // variant.cores, "layout": "bucketed"},
        "training": {"epochs": 2, "precision": "fp32", "lr_scaling": "none"},
        "strategy": variant.strategy,
        "virtual_cores": variant.virtual_cores,
    }
    return merge(config.model_dump(mode="json"), changes)


def run_in_subprocess(settings: dict[str, Any], cpu: bool = False) -> Trace | None:
    """Run the steps in a process of their own; None where it fails, after it has said why.

    Args:
        settings: of the run.
        cpu: whether it must leave other devices alone.
    """
    environment = {name: value for name, value in os.environ.items() if name != VIRTUAL_CORES_VARIABLE}
    if cpu:
        environment["ACCELERATE_USE_CPU"] = "true"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.npz"
        command = [sys.executable, "-m", "accel_clf.training.parity", json.dumps(settings), str(path)]
        exit_code = subprocess.run(command, env=environment, check=False).returncode
        return None if exit_code else read_trace(path)


def read_trace(path: Path) -> Trace | None:
    """Read what a worker has written; None where it has written nothing."""
    if not path.is_file():
        return None
    with np.load(path) as arrays:
        return Trace(**arrays)


def main() -> int:
    """Run one variant, in this process: `python -m accel_clf.training.parity SETTINGS PATH`."""
    return run_command(lambda: worker(json.loads(sys.argv[1]), Path(sys.argv[2])))


def worker(settings: dict[str, Any], path: Path) -> int:
    """Run the steps, and write their trace to `path`."""
    from accel_clf.strategies import launch
    from accel_clf.training.prepare import prepare_run, read_splits

    config = Config.model_validate(settings)
    run_on_hardware = launch.choose(config)
    prepared, model = prepare_run(config, read_splits(config), quiet=True)
    # A model that stays in evaluation mode has no dropout, whatever its family.
    model.eval()
    model.train = partial(_return_model, model)  # type: ignore[method-assign]
    run_on_hardware(partial(_trace, prepared=prepared, host_model=model, path=path))
    return DONE


def _return_model(model: Any, mode: bool = True) -> Any:
    return model


def _trace(strategy: Any, prepared: Any, host_model: Any, path: Path) -> None:
    from accel_clf.training.loop import fit
    from accel_clf.training.optim import optimizer_for, scaled_lr
    from accel_clf.training.state import TrainState

    config = prepared.config
    model, optimizer = strategy.prepare(host_model, optimizer_for(config.training))
    lines: list[dict[str, Any]] = []
    fit(
        model,
        optimizer,
        prepared.training_rows(config.batch.layout),
        config,
        strategy,
        state=TrainState(scaled_lr(config.training, strategy.processes)),
        evaluate=None,
        save_best=lambda: None,
        save_checkpoint=lambda: None,
        log_metrics=lines.append,
        log_every=1,
        show_progress=False,
    )
    strategy.check_equal(model)
    state = strategy.gather_weights(model)
    if strategy.is_main:
        np.savez(
            path,
            losses=np.array([line["loss"] for line in lines]),
            norms=np.array([line["grad_norm"] for line in lines]),
            weights=np.concatenate([state[name].double().numpy().ravel() for name in sorted(state)]),
        )


if __name__ == "__main__":
    sys.exit(main())
