"""Lines of CSV are read back as what was written, whatever the fields hold."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel_clf.core.files import csv_line

FIELDS = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=2)


@pytest.mark.parametrize("dialect", ["excel", "excel-tab"])
@given(fields=FIELDS)
def test_lines_are_read_back(dialect: str, fields: list[str]) -> None:
    text = csv_line(fields, dialect) + csv_line(["next", "line"], dialect)
    assert list(csv.reader(io.StringIO(text, newline=""), dialect=dialect)) == [fields, ["next", "line"]]
    assert csv_line(["a", "b\rc"]) == 'a,"b\rc"\n'
