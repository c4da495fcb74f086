"""Which settings may change when a run is resumed."""

from accel_clf.config.load import from_mapping
from accel_clf.config.schema import settings
from accel_clf.run_folder.compat import RESUMABLE_CHANGES, differences


def test_every_resumable_change_is_a_setting() -> None:
    """A renamed setting would otherwise silently become one that must not change."""
    assert {name for name, _ in settings()} >= RESUMABLE_CHANGES


def test_which_rows_are_used_their_digests_say() -> None:
    before, after = (from_mapping({"data": {"incomplete": value}}) for value in ("refuse", "skip"))
    assert not differences(before, after)
