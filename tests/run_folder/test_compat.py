"""Which settings may change when a run is resumed."""

from accel_clf.config.load import from_mapping
from accel_clf.config.schema import Config, settings
from accel_clf.run_folder.compat import RESUMABLE_CHANGES, differences


def test_every_resumable_change_is_a_setting() -> None:
    """A renamed setting would otherwise silently become one that must not change."""
    assert {name for name, _ in settings()} >= RESUMABLE_CHANGES


def test_how_files_are_read_may_change() -> None:
    """Where a file is saved in another form; that its rows are the same is checked by their digest."""
    before = Config()
    read_otherwise = before.data.model_copy(
        update={"separator": ";", "quoting": "none", "encoding": "cp1252", "header": False}
    )
    assert not differences(before, before.model_copy(update={"data": read_otherwise}))
    other_column = before.data.model_copy(update={"text": "body"})
    assert differences(before, before.model_copy(update={"data": other_column})) == ["data.text text -> body"]


def test_which_rows_are_used_their_digests_say() -> None:
    before, after = (from_mapping({"data": {"incomplete": value}}) for value in ("refuse", "skip"))
    assert not differences(before, after)
