"""Checkpoints: what was written is read, and nothing else; a damaged one is told from a whole one, always."""

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


def save(folder: Path, step: int, best: int = 0, keep: int = 2) -> None:
    state = {"progress": {"step": step, "best_step": best, "seconds": 0.1 + step}, "score": float("nan")}
    write(folder, state, {"weight": torch.full((3, 2), step + 0.5)}, {"weight.step": torch.tensor(float(step))}, keep)


def steps(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_written_is_read(tmp_path: Path) -> None:
    save(tmp_path, 7)
    found = read(tmp_path / "step-00000007")
    assert found.step == 7
    assert found.state["progress"]["seconds"] == 7.1
    assert found.weights()["weight"].tolist() == [[7.5, 7.5]] * 3
    assert found.optimizer_state()["weight.step"].item() == 7.0
    assert found.best_weights() is None


def test_the_newest_and_the_best_stay(tmp_path: Path) -> None:
    for step in range(1, 7):
        save(tmp_path, step, best=min(step, 2))
    assert steps(tmp_path) == ["step-00000002", "step-00000005", "step-00000006"]
    found, damaged = newest(tmp_path)
    assert found
    assert (found.step, damaged) == (6, [])
    best = found.best_weights()
    assert best
    assert best["weight"][0, 0] == 2.5


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    save(folder, 1)
    save(folder, 2)
    return folder


@given(
    file=st.sampled_from(FILES), kind=st.sampled_from(["truncate", "zero", "flip", "longer", "gone"]), data=st.data()
)
def test_no_damage_goes_unnoticed(whole: Path, file: str, kind: str, data: st.DataObject) -> None:
    path = whole / "step-00000002" / file
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    damaged = bytearray(content)
    if kind == "truncate":
        del damaged[place:]
    elif kind == "zero":
        damaged[place] = 0
    elif kind == "flip":
        damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "longer":
        damaged += b"\0"
    try:
        if kind == "gone":
            path.unlink()
        else:
            path.write_bytes(damaged)
        if kind != "gone" and damaged == content:
            return
        with pytest.raises(DamagedError, match="step-00000002"):
            read(whole / "step-00000002")
        found, told = newest(whole)
        assert found
        assert (found.step, len(told)) == (1, 1)
    finally:
        path.write_bytes(content)
    read(whole / "step-00000002")


@pytest.mark.parametrize("file", FILES)
def test_every_byte_matters(whole: Path, file: str) -> None:
    """One bit of each byte in turn, of the manifest and the rest."""
    path = whole / "step-00000002" / file
    content = path.read_bytes()
    try:
        for place in range(len(content)):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
            with pytest.raises(DamagedError):
                read(whole / "step-00000002")
    finally:
        path.write_bytes(content)


def test_without_its_best_model_it_is_not_whole(tmp_path: Path) -> None:
    save(tmp_path, 1, best=1)
    save(tmp_path, 2, best=1)
    (tmp_path / "step-00000001" / MODEL).unlink()
    with pytest.raises(DamagedError, match=f"step-00000001: no {MODEL}"):
        read(tmp_path / "step-00000002")


def test_another_version_is_named(tmp_path: Path) -> None:
    save(tmp_path, 1)
    manifest = tmp_path / "step-00000001" / MANIFEST
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(DamagedError, match="format 2, and this version reads 1"):
        read(tmp_path / "step-00000001")


def test_weights_that_are_no_numbers_are_not_kept(tmp_path: Path) -> None:
    save(tmp_path, 1)
    broken = {"weight": torch.tensor([1.0, float("nan")])}
    with pytest.raises(UserError, match="weights of weight are not finite after step 2"):
        write(tmp_path, {"progress": {"step": 2, "best_step": 0}}, broken, {}, 2)
    assert steps(tmp_path) == ["step-00000001"]


def test_a_damaged_one_of_the_same_step_gives_way(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "step-00000001" / STATE).write_text("{}")
    save(tmp_path, 1)
    assert read(tmp_path / "step-00000001").step == 1
    assert steps(tmp_path) == ["step-00000001"]


def test_an_error_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the call to the system that fails."""
    save(tmp_path, 1)
    for name in ("mkdir", "fsync", "rename"):
        with monkeypatch.context() as patch:

            def fail(*_: Any, **__: Any) -> None:
                raise OSError(28, "No space left on device")

            patch.setattr(os, name, fail)
            with pytest.raises(OSError, match="No space left"):
                save(tmp_path, 2)
        assert steps(tmp_path) == ["step-00000001"]
        read(tmp_path / "step-00000001")


def test_leftovers_are_not_checkpoints(tmp_path: Path) -> None:
    save(tmp_path, 1)
    shutil.copytree(tmp_path / "step-00000001", tmp_path / "tmp-2")
    found, damaged = newest(tmp_path)
    assert found
    assert (found.step, damaged) == (1, [])
    checkpoint.remove_unfinished(tmp_path)
    assert steps(tmp_path) == ["step-00000001"]


def test_a_writer_tells_what_went_wrong_at_the_next_call(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with checkpoint.Writer(tmp_path / "file", 2) as writer:
        writer.write({"progress": {"step": 1, "best_step": 0}}, {}, {})
        with pytest.raises(FileExistsError):
            writer.wait()


def test_there_is_no_pickle(tmp_path: Path) -> None:
    save(tmp_path, 1)
    assert json.loads((tmp_path / "step-00000001" / STATE).read_text())["progress"]["step"] == 1
    for file in (MODEL, OPTIMIZER):
        header = (tmp_path / "step-00000001" / file).read_bytes()
        assert header[8:9] == b"{"  # safetensors: a length, then JSON
