"""Tests of a file and a strategy share what they have trained, so they stay with one worker."""

import pytest


@pytest.hookimpl(tryfirst=True)  # before the workers tell what there is
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        strategy = "accelerate" if "accelerate" in item.name else "xla"
        item.add_marker(pytest.mark.xdist_group(f"{item.path.stem} {strategy}"))
