"""Checkpoints: what is read is what was written, and a damaged one is always detected."""

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from accel_clf.core.errors import UserError
from accel_clf.training import checkpoint
from accel_clf.training.checkpoint import MANIFEST, MODEL, OPTIMIZER, STATE, DamagedError, newest, read, write

FILES = (MODEL, OPTIMIZER, STATE, MANIFEST)
DAMAGES = ("truncate", "zero", "flip", "append", "remove")


def save(folder: Path, step: int, best: int = 0, keep: int = 2) -> None:
    state = {"progress": {"step": step, "best_step": best, "seconds": 0.1 + step}, "score": float("nan")}
    write(folder, state, {"weight": torch.full((3, 2), step + 0.5)}, {"weight.step": torch.tensor(float(step))}, keep)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_round_trip(tmp_path: Path) -> None:
    save(tmp_path, 7)
    saved = read(tmp_path / "step-00000007")
    assert saved.step == 7
    assert saved.state["progress"]["seconds"] == 7.1
    assert saved.weights()["weight"].tolist() == [[7.5, 7.5]] * 3
    assert saved.optimizer_state()["weight.step"].item() == 7.0
    assert saved.best_weights() is None


def test_newest_and_best_are_kept(tmp_path: Path) -> None:
    for step in range(1, 7):
        save(tmp_path, step, best=min(step, 2))
    assert names(tmp_path) == ["step-00000002", "step-00000005", "step-00000006"]
    last, damaged = newest(tmp_path)
    assert last
    assert (last.step, damaged) == (6, [])
    best_weights = last.best_weights()
    assert best_weights
    assert best_weights["weight"][0, 0] == 2.5


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoints of steps 1 and 2."""
    folder = tmp_path_factory.mktemp("checkpoints")
    save(folder, 1)
    save(folder, 2)
    return folder


@given(file=st.sampled_from(FILES), damage=st.sampled_from(DAMAGES), data=st.data())
def test_any_damage_is_detected(intact: Path, file: str, damage: str, data: st.DataObject) -> None:
    path = intact / "step-00000002" / file
    content = path.read_bytes()
    index = data.draw(st.integers(0, len(content) - 1))
    damaged = bytearray(content)
    if damage == "truncate":
        del damaged[index:]
    elif damage == "zero":
        damaged[index] = 0
    elif damage == "flip":
        damaged[index] ^= 1 << data.draw(st.integers(0, 7))
    elif damage == "append":
        damaged += b"\0"
    try:
        if damage == "remove":
            path.unlink()
        else:
            path.write_bytes(damaged)
        if damage != "remove" and damaged == content:
            return
        with pytest.raises(DamagedError, match="step-00000002"):
            read(intact / "step-00000002")
        previous, errors = newest(intact)
        assert previous
        assert (previous.step, len(errors)) == (1, 1)
    finally:
        path.write_bytes(content)
    read(intact / "step-00000002")


@pytest.mark.parametrize("file", FILES)
def test_one_flipped_bit_is_detected_in_any_byte(intact: Path, file: str) -> None:
    path = intact / "step-00000002" / file
    content = path.read_bytes()
    try:
        for index in range(len(content)):
            path.write_bytes(content[:index] + bytes([content[index] ^ 1 << index % 8]) + content[index + 1 :])
            with pytest.raises(DamagedError):
                read(intact / "step-00000002")
    finally:
        path.write_bytes(content)


def test_checkpoint_needs_its_best_model(tmp_path: Path) -> None:
    save(tmp_path, 1, best=1)
    save(tmp_path, 2, best=1)
    (tmp_path / "step-00000001" / MODEL).unlink()
    with pytest.raises(DamagedError, match=f"step-00000001: no {MODEL}"):
        read(tmp_path / "step-00000002")


def test_other_format_is_named(tmp_path: Path) -> None:
    save(tmp_path, 1)
    manifest = tmp_path / "step-00000001" / MANIFEST
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(DamagedError, match="format 2, and this version reads 1"):
        read(tmp_path / "step-00000001")


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    save(tmp_path, 1)
    weights = {"weight": torch.tensor([1.0, float("nan")])}
    with pytest.raises(UserError, match="weights of weight are not finite after step 2"):
        write(tmp_path, {"progress": {"step": 2, "best_step": 0}}, weights, {}, 2)
    assert names(tmp_path) == ["step-00000001"]


def test_damaged_checkpoint_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "step-00000001" / STATE).write_text("{}")
    save(tmp_path, 1)
    assert read(tmp_path / "step-00000001").step == 1
    assert names(tmp_path) == ["step-00000001"]


@pytest.mark.parametrize("system_call", ["mkdir", "fsync", "rename"])
def test_failed_save_leaves_earlier_checkpoints_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system_call: str
) -> None:
    save(tmp_path, 1)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, system_call, fail)
        with pytest.raises(OSError, match="No space left"):
            save(tmp_path, 2)
    assert names(tmp_path) == ["step-00000001"]
    read(tmp_path / "step-00000001")


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the inodes of what is synced."""
    inodes: list[int] = []
    sync = os.fsync

    def recorded_sync(handle: int) -> None:
        inodes.append(os.fstat(handle).st_ino)
        sync(handle)

    monkeypatch.setattr(os, "fsync", recorded_sync)
    return inodes


@pytest.mark.skipif(not hasattr(os, "O_DIRECTORY"), reason="this system cannot open folders")
def test_files_and_folders_are_synced_in_order(tmp_path: Path, synced: list[int]) -> None:
    save(tmp_path, 1)
    folder = tmp_path / "step-00000001"
    assert synced == [path.stat().st_ino for path in [*(folder / file for file in FILES), folder, tmp_path]]


def test_saves_as_windows_does(tmp_path: Path, synced: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no folder can be opened, and a file that is open for reading cannot be synced."""
    recorded_sync, open_file, fcntl = os.fsync, os.open, pytest.importorskip("fcntl", reason="simulated on POSIX only")

    def sync_writable(handle: int) -> None:
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        recorded_sync(handle)

    def open_unless_folder(path: Any, *args: Any, **options: Any) -> int:
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return open_file(path, *args, **options)

    monkeypatch.setattr(os, "fsync", sync_writable)
    monkeypatch.setattr(os, "open", open_unless_folder)
    monkeypatch.setattr(shutil, "_use_fd_functions", False)
    monkeypatch.delattr(os, "O_DIRECTORY")
    save(tmp_path, 1)
    save(tmp_path, 2, keep=1)
    folder = tmp_path / "step-00000002"
    assert read(folder).step == 2
    assert synced[-4:] == [(folder / file).stat().st_ino for file in FILES]
    assert names(tmp_path) == ["step-00000002"]


def test_unfinished_saves_are_not_checkpoints(tmp_path: Path) -> None:
    save(tmp_path, 1)
    shutil.copytree(tmp_path / "step-00000001", tmp_path / "tmp-2")
    last, damaged = newest(tmp_path)
    assert last
    assert (last.step, damaged) == (1, [])
    checkpoint.remove_unfinished(tmp_path)
    assert names(tmp_path) == ["step-00000001"]


def test_writer_raises_at_the_next_call(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with checkpoint.Writer(tmp_path / "file", 2) as writer:
        writer.write({"progress": {"step": 1, "best_step": 0}}, {}, {})
        with pytest.raises(FileExistsError):
            writer.wait()


def test_no_file_is_a_pickle(tmp_path: Path) -> None:
    save(tmp_path, 1)
    assert json.loads((tmp_path / "step-00000001" / STATE).read_text())["progress"]["step"] == 1
    for file in (MODEL, OPTIMIZER):
        header = (tmp_path / "step-00000001" / file).read_bytes()
        assert header[8:9] == b"{"  # safetensors: a length, then JSON
