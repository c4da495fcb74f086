"""A run's state on disk: complete or absent, verified when it is read, and never pickled.

A checkpoint is written to a temporary folder, synced to the disk file by file, its manifest last, and then gets its
name by one rename; only after that an older one is removed. Killed anywhere, the checkpoints from before are intact.
"""

import hashlib
import json
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file

from accel_clf.core.errors import UserError
from accel_clf.core.files import disk_errors, sync_file, sync_folder

FORMAT = 1  # raised when the files' meaning changes
MODEL, OPTIMIZER, STATE, MANIFEST = "model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"
UNFINISHED = "tmp-"

Tensors = dict[str, torch.Tensor]


class DamagedError(UserError):
    """A checkpoint whose files are not what was written."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint.

    Attributes:
        folder: of its files.
        state: all that is not a tensor; its "progress" has "step" and "best_step".
    """

    folder: Path
    state: dict[str, Any]

    @property
    def step(self) -> int:
        """Optimizer steps taken."""
        return int(self.state["progress"]["step"])

    @property
    def best_step(self) -> int:
        """The step of the best model's checkpoint; 0 for none yet."""
        return int(self.state["progress"]["best_step"])

    def weights(self) -> Tensors:
        """Load the model's weights."""
        return load_file(self.folder / MODEL)

    def optimizer_state(self) -> Tensors:
        """Load the optimizer's state."""
        return load_file(self.folder / OPTIMIZER)

    def best_weights(self) -> Tensors | None:
        """Load the weights of the best model so far; None where there is none yet."""
        return load_file(self.folder.with_name(folder_name(self.best_step)) / MODEL) if self.best_step else None


def folder_name(step: int) -> str:
    """Name the folder of a step's checkpoint."""
    return f"step-{step:08d}"


def write(folder: Path, state: dict[str, Any], weights: Tensors, optimizer_state: Tensors, keep: int) -> None:
    """Write a checkpoint, then remove those that are not among the `keep` newest.

    Args:
        folder: of all checkpoints of a run.
        state: all that is not a tensor, as JSON. Its "progress" has "step", and "best_step", whose checkpoint is kept.
        weights, optimizer_state: on the host.
        keep: how many are kept, the best one's not counted.

    Raises:
        UserError: a weight is NaN or infinite: such a model cannot be resumed, the one before may.
        OSError: the disk is full, or refuses. The checkpoints from before are intact.
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
    unfinished, final = folder / f"{UNFINISHED}{step}", folder / folder_name(step)
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir()
        with disk_errors(unfinished):
            save_file(weights, unfinished / MODEL)
            save_file(optimizer_state, unfinished / OPTIMIZER)
        (unfinished / STATE).write_bytes(_json(state))
        files = {file: _fingerprint(unfinished / file) for file in (MODEL, OPTIMIZER, STATE)}
        (unfinished / MANIFEST).write_bytes(_json({"format": FORMAT, "files": files}))
        for file in (*files, MANIFEST):
            sync_file(unfinished / file)
        sync_folder(unfinished)
        if final.exists():  # damaged, or the run would not be at this step again
            final.rename(folder / f"{UNFINISHED}damaged-{step}")
        unfinished.rename(final)
        sync_folder(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)  # a full disk needs the space
        raise
    _prune(folder, best, keep)


def read(folder: Path) -> Checkpoint:
    """Verify a checkpoint, and the best model's that belongs to it.

    Raises:
        DamagedError: a file is missing, or not what was written.
    """
    checkpoint = Checkpoint(folder, _verify(folder))
    if checkpoint.best_step not in (0, checkpoint.step):
        _verify(folder.with_name(folder_name(checkpoint.best_step)))
    return checkpoint


def newest(folder: Path) -> tuple[Checkpoint | None, list[DamagedError]]:
    """Return the newest intact checkpoint, and what is wrong with those after it."""
    damaged: list[DamagedError] = []
    for path in reversed(_all(folder)):
        try:
            return read(path), damaged
        except DamagedError as error:
            damaged.append(error)
    return None, damaged


def copy_into(checkpoint: Checkpoint, folder: Path) -> None:
    """Copy a checkpoint, and the best model's, into another run's folder of checkpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    for step in sorted({checkpoint.best_step or checkpoint.step, checkpoint.step}):  # the newest last
        copy = folder / f"{UNFINISHED}{step}"
        shutil.copytree(checkpoint.folder.with_name(folder_name(step)), copy)
        copy.rename(folder / folder_name(step))


def remove_unfinished(folder: Path) -> None:
    """Remove what a process has left that was killed while it wrote."""
    for leftover in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(leftover)


class Writer:
    """Writes checkpoints beside the training loop, one at a time."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def write(self, state: dict[str, Any], weights: Tensors, optimizer_state: Tensors) -> None:
        """Start to `write`, after the one before is written. The tensors must not change any more."""
        self.wait()
        self._pending = self._thread.submit(write, self.folder, state, weights, optimizer_state, self.keep)

    def wait(self) -> None:
        """Wait for what is being written; raise what went wrong with it."""
        pending, self._pending = self._pending, None
        if pending:
            pending.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.wait()
        finally:
            self._thread.shutdown()  # waits, too: what is being written is intact


def _all(folder: Path) -> list[Path]:
    """List all checkpoints, the oldest first."""
    return sorted(folder.glob("step-*"))


def _prune(folder: Path, best: int, keep: int) -> None:
    for old in _all(folder)[:-keep]:
        if old.name != folder_name(best):
            removed = folder / f"{UNFINISHED}old-{old.name}"
            old.rename(removed)  # half a checkpoint must not look like one
            shutil.rmtree(removed)
    remove_unfinished(folder)


def _verify(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's state, if all its files are as they were written."""
    try:
        content = (folder / MANIFEST).read_bytes()
        manifest = json.loads(content)
        # Byte for byte, so that no flipped bit passes for another way to write the same.
        if _json(manifest) != content:
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
    for file, fingerprint in files.items():
        if not (folder / file).is_file():
            raise _damaged(folder, f"no {file}")
        if _fingerprint(folder / file) != fingerprint:
            raise _damaged(folder, f"{file} is not what was written")
    state: dict[str, Any] = json.loads((folder / STATE).read_bytes())
    return state


def _damaged(folder: Path, what: str) -> DamagedError:
    return DamagedError(
        f"checkpoint {folder}: {what}",
        "a checkpoint as it was written",
        "--resume auto takes the newest intact one; --resume never starts from scratch",
    )


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
