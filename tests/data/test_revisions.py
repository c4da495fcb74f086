"""data.revision is the run's own data set's, and no other's."""

from pathlib import Path
from typing import Any

import datasets
import pytest

from accel_clf.config.load import from_mapping
from accel_clf.config.schema import DataConfig
from accel_clf.core.errors import ConfigError
from accel_clf.data.sources import read_dataset
from accel_clf.inference.bulk import columns_of
from accel_clf.training.run import train
from tests.conftest import write_csv

DATA = DataConfig(train="owner/reviews", revision="v1")


@pytest.mark.parametrize(("source", "expected"), [("owner/reviews", "v1"), ("owner/others", None)])
def test_revision_is_passed_on(source: str, expected: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    revisions = []

    def load_dataset(*args: Any, revision: str | None, **options: Any) -> datasets.Dataset:
        revisions.append(revision)
        return datasets.Dataset.from_dict({"text": ["good", "bad"], "label": ["a", "b"]})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert len(read_dataset(source, columns_of(DATA, source, {}), split="test")) == 2
    assert revisions == [expected]


@pytest.mark.parametrize("source", ["demo", "rows.csv"])
def test_files_have_no_revisions(source: str, tmp_path: Path) -> None:
    path = source if source == "demo" else write_csv(tmp_path / source, [("good", "a"), ("bad", "b")] * 10)
    data = {"train": str(path), "revision": "v1"}
    with pytest.raises(ConfigError, match=r"data\.revision is v1, and data\.train is "):
        train(from_mapping({"model": {"name": "demo"}, "data": data, "output": str(tmp_path / "run")}))
