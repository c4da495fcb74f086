"""What is in the folder of a run."""

from pathlib import Path

import pytest

from accel_clf.run_folder.layout import contents


def test_contents_are_names_without_the_lock_and_unfinished_files(tmp_path: Path) -> None:
    for name in ("model", ".lock", "config.yaml", ".config.yaml.tmp"):
        (tmp_path / name).touch()
    assert contents(tmp_path) == ["config.yaml", "model"]
    assert contents(tmp_path / "missing") == contents(tmp_path / "model") == []


def test_folder_that_vanishes_meanwhile_has_no_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 0 removes an empty run folder when its settings are refused, while another rank looks into it."""
    monkeypatch.setattr(Path, "is_dir", lambda self: True)
    assert contents(tmp_path / "gone") == []
