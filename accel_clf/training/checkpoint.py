"""A run's state on the disk: there as a whole or not at all, checked when it is read, and never pickled.

A checkpoint is written aside, synced to the disk file by file, its manifest last, and then gets its name by one rename;
only after that an older one goes. Killed anywhere, what was there before is still there.
"""

import hashlib
import json
import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file

from accel_clf.core.errors import UserError
from accel_clf.core.files import disk_errors

FORMAT = 1  # goes up when the files' meaning changes
MODEL, OPTIMIZER, STATE, MANIFEST = "model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"
UNFINISHED = "tmp-"

Tensors = dict[str, torch.Tensor]


class DamagedError(UserError):
    """A checkpoint that is not what was written."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that has been checked.

    Attributes:
        folder: where it lies.
        state: what is not a tensor; its "progress" has "step" and "best_step".
    """

    folder: Path
    state: dict[str, Any]

    @property
    def step(self) -> int:
        return int(self.state["progress"]["step"])

    @property
    def best_step(self) -> int:
        return int(self.state["progress"]["best_step"])

    def weights(self) -> Tensors:
        return load_file(self.folder / MODEL)

    def optimizer_state(self) -> Tensors:
        return load_file(self.folder / OPTIMIZER)

    def best_weights(self) -> Tensors | None:
        """The weights of the best model so far; None where there is none yet."""
        return load_file(self.folder.with_name(name(self.best_step)) / MODEL) if self.best_step else None


def name(step: int) -> str:
    """The folder of a step's checkpoint."""
    return f"step-{step:08d}"


def write(folder: Path, state: dict[str, Any], weights: Tensors, optimizer_state: Tensors, keep: int) -> None:
    """Write a checkpoint, then remove those that are not among the `keep` newest.

    Args:
        folder: of all checkpoints of a run.
        state: what is not a tensor, as JSON has it. Its "progress" has "step", and "best_step", whose checkpoint stays.
        weights, moments: of the model and the optimizer, on the host.
        keep: how many stay, the best one's not counted.

    Raises:
        UserError: a weight is not a number: such a model cannot go on, the one before may.
        OSError: the disk is full, or does not let us. What was there before is intact.
    """
    step, best = state["progress"]["step"], state["progress"]["best_step"]
    for parameter, tensor in weights.items():
        if not tensor.isfinite().all():
            raise UserError(
                f"weights of {parameter} are not finite after step {step}",
                "numbers",
                "lower --training.learning_rate, or --training.precision fp32; the checkpoint before is kept",
            )
    folder.mkdir(parents=True, exist_ok=True)
    unfinished, final = folder / f"{UNFINISHED}{step}", folder / name(step)
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir()
        with disk_errors(unfinished):
            save_file(weights, unfinished / MODEL)
            save_file(optimizer_state, unfinished / OPTIMIZER)
        (unfinished / STATE).write_bytes(_json(state))
        files = {file: _measure(unfinished / file, sync=True) for file in (MODEL, OPTIMIZER, STATE)}
        (unfinished / MANIFEST).write_bytes(_json({"format": FORMAT, "files": files}))
        _sync(unfinished / MANIFEST)
        _sync(unfinished)
        if final.exists():  # which was found damaged, or we would not be at this step again
            final.rename(folder / f"{UNFINISHED}damaged-{step}")
        unfinished.rename(final)
        _sync(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)  # a full disk needs the room
        raise
    _prune(folder, best, keep)


def read(folder: Path) -> Checkpoint:
    """Check a checkpoint, and the best model's that goes with it.

    Raises:
        DamagedError: a file is missing, or not what was written.
    """
    found = Checkpoint(folder, _check(folder))
    if found.best_step not in (0, found.step):
        _check(folder.with_name(name(found.best_step)))
    return found


def newest(folder: Path) -> tuple[Checkpoint | None, list[DamagedError]]:
    """The newest checkpoint that is whole, and what is wrong with those after it."""
    damaged: list[DamagedError] = []
    for found in reversed(_all(folder)):
        try:
            return read(found), damaged
        except DamagedError as error:
            damaged.append(error)
    return None, damaged


def bring(found: Checkpoint, folder: Path) -> None:
    """Copy a checkpoint, and the best model's, into another run's folder of checkpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    for step in sorted({found.best_step or found.step, found.step}):  # the newest last
        copy = folder / f"{UNFINISHED}{step}"
        shutil.copytree(found.folder.with_name(name(step)), copy)
        copy.rename(folder / name(step))


def clean(folder: Path) -> None:
    """Remove what a process has left that was killed in the middle of writing."""
    for leftover in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(leftover)


class Writer:
    """Writes checkpoints beside the training loop, one at a time."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def write(self, state: dict[str, Any], weights: Tensors, optimizer_state: Tensors) -> None:
        """As `write`, from now on; waits for the one before. The tensors must not change any more."""
        self.wait()
        self._pending = self._thread.submit(write, self.folder, state, weights, optimizer_state, self.keep)

    def wait(self) -> None:
        """Wait for what is being written; raises what went wrong with it."""
        pending, self._pending = self._pending, None
        if pending:
            pending.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if error is None:
                self.wait()
        finally:
            self._thread.shutdown()  # waits, too: what is being written is a good state


def _all(folder: Path) -> list[Path]:
    """All checkpoints, the oldest first."""
    return sorted(folder.glob("step-*"))


def _prune(folder: Path, best: int, keep: int) -> None:
    for old in _all(folder)[:-keep]:
        if old.name != name(best):
            gone = folder / f"{UNFINISHED}old-{old.name}"
            old.rename(gone)  # half a checkpoint must not look like one
            shutil.rmtree(gone)
    clean(folder)


def _check(folder: Path) -> dict[str, Any]:
    """A checkpoint's state, when all of it is as it was written."""
    try:
        given = (folder / MANIFEST).read_bytes()
        manifest = json.loads(given)
        # Byte for byte, so that no flipped bit passes for another way to write the same.
        if _json(manifest) != given:
            raise ValueError("not as it was written")
        if manifest["format"] != FORMAT:
            raise _damaged(folder, f"format {manifest['format']}, and this version reads {FORMAT}")
        files = dict(manifest["files"])
        if set(files) != {MODEL, OPTIMIZER, STATE}:
            raise ValueError(f"lists {sorted(files)}")
    except FileNotFoundError:
        raise _damaged(folder, "no manifest.json" if folder.is_dir() else "not there") from None
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, f"manifest.json: {error}") from None
    for file, wanted in files.items():
        if not (folder / file).is_file():
            raise _damaged(folder, f"no {file}")
        if _measure(folder / file) != wanted:
            raise _damaged(folder, f"{file} is not what was written")
    state: dict[str, Any] = json.loads((folder / STATE).read_bytes())
    return state


def _damaged(folder: Path, what: str) -> DamagedError:
    return DamagedError(
        f"checkpoint {folder}: {what}",
        "a checkpoint as it was written",
        "--resume auto takes the newest that is whole; --resume never starts anew",
    )


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _measure(path: Path, sync: bool = False) -> dict[str, Any]:
    with path.open("rb") as file:
        if sync:
            os.fsync(file.fileno())
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
