"""Which settings may change when a run is resumed."""

from accel_clf.config.schema import settings
from accel_clf.run_folder.compat import RESUMABLE_CHANGES


def test_every_resumable_change_is_a_setting() -> None:
    """A renamed setting would otherwise silently become one that must not change."""
    assert {name for name, _ in settings()} >= RESUMABLE_CHANGES
