"""data.revision is the run's own data set's, and no other's."""

from typing import Any

import datasets
import pytest

from accel_clf.config.schema import DataConfig
from accel_clf.data.sources import read_dataset
from accel_clf.inference.bulk import columns_of

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
