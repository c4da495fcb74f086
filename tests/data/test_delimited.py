"""CSV and TSV as they come: separators, quotes, headers; what does not fit is named, and by which setting it would."""

from collections.abc import Callable
from pathlib import Path

import pytest

from accel_clf.config.schema import DataConfig
from accel_clf.core.errors import DataError
from accel_clf.core.exit_codes import DATA, USAGE
from accel_clf.data.sources import read_dataset
from tests.conftest import read_records

Refused = Callable[..., str]


def file(folder: Path, content: str, suffix: str = ".csv", encoding: str = "utf-8") -> Path:
    path = folder / f"rows{suffix}"
    path.write_bytes(content.encode(encoding))
    return path


def test_only_columns_that_are_read_need_a_name_of_their_own(tmp_path: Path) -> None:
    path = file(tmp_path, "note,kind,body,,,note\nx,spam,win now,,y,z\nx,ham,see you,,,\n")
    assert read_records(path, ["body", "kind"]) == [("win now", "spam"), ("see you", "ham")]
    with pytest.raises(DataError, match="line 1: column 'note' appears twice"):
        read_records(path, ["note"])
    with pytest.raises(DataError, match="line 1: no column ''"):
        read_records(path, [""])


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separator_is_that_of_the_settings(tmp_path: Path, suffix: str, separator: str) -> None:
    path = file(tmp_path, f"text{separator}label\ngut, schön{separator}1\n".replace("t, s", "t. s"), suffix)
    setting = {"\t": "\\t"}.get(separator, separator)
    assert read_records(path, separator=setting) == [("gut. schön", "1")]


@pytest.mark.parametrize("value", ["", ";;", '"', "\n"])
def test_no_separator_but_one_character(refused: Refused, value: str) -> None:
    assert "one character" in refused(USAGE, "train", "--data.separator", value)
    assert "an encoding of Python" in refused(USAGE, "train", "--data.encoding", f"nonsense{value}")


@pytest.mark.parametrize(
    ("suffix", "content", "encoding", "flags"),
    [
        (".csv", "text;label\nschön, gut;1\n", "cp1252", "; and cp1252: --data.separator ';' --data.encoding cp1252"),
        (".csv", "text;label\na, b;1\n", "utf-8", ";: --data.separator ';'"),
        (".csv", "text\tlabel\na, b\t1\n", "utf-8", "tab: --data.separator '\\t'"),
        (".tsv", "text,label\na,1\n", "utf-8", ",: --data.separator ,"),
        (".tsv", "label|text\n1|a\n", "utf-16", "| and utf-16: --data.separator '|' --data.encoding utf-16"),
        (".csv", "text,label\nschön,1\n", "utf-16-le", "utf-16-le: --data.encoding utf-16-le"),
        (".csv", "text,label\n" + "a,1\n" * 30_000 + "schön,1\n", "cp1252", "cp1252: --data.encoding cp1252"),
    ],
)
def test_message_says_what_the_file_looks_like(
    tmp_path: Path, refused: Refused, suffix: str, content: str, encoding: str, flags: str
) -> None:
    path = file(tmp_path, content, suffix, encoding)
    assert f"looks like {flags}\n" in refused(DATA, "train", "--data.train", path)


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_columns_without_a_header_are_numbered(tmp_path: Path, refused: Refused, suffix: str) -> None:
    path = file(tmp_path, "4,x,a film\n0,x,a bore\n".replace(",", "," if suffix == ".csv" else "\t"), suffix)
    rows = read_dataset(str(path), DataConfig(header=False, text=3, label=1), split="train")  # type: ignore[arg-type]
    assert list(rows.texts()) == ["a film", "a bore"]
    assert rows.target.names == ("0", "4")
    assert "--data.header false" in refused(DATA, "train", "--data.train", path)
    flags = ("--data.train", path, "--data.header", "false", "--data.label", "1")
    assert "one of '1', '2', '3'" in refused(DATA, "train", *flags, "--data.text", "4")
    ragged = file(tmp_path, "4,a\n0\n")
    assert "2, as in line 1" in refused(DATA, "train", "--data.train", ragged, *flags[2:], "--data.text", "2")


LETTERS = {
    "an opening quote": ('1\t"a film\n0\ta bore\n', [('"a film', "1"), ("a bore", "0")]),
    "quotes that are far apart": ('1\t"a\n0\tb\n1\tc"\n', [('"a', "1"), ("b", "0"), ('c"', "1")]),
    "quotes inside": ('1\ta "b" c\n', [('a "b" c', "1")]),
    "a quoted word first": ('1\t"b" c\n', [('"b" c', "1")]),
    "a whole field": ('1\t"a ""b"" c"\n', [('a "b" c', "1")]),
    "a separator in a whole field": ('"1"\t"a\tb"\n', [("a\tb", "1")]),
    "two quotes in two fields": ('1"\t"b\n', [('"b', '1"')]),
    "a quote alone": ('1\t"\n', [('"', "1")]),
    "an empty whole field": ('1\t""\n', [("", "1")]),
    "backslashes": ('1\t"a \\"b\\" c"\n', [('"a \\"b\\" c"', "1")]),
    "windows' line ends": ('1\t"a\r\n0\tb\r\n', [('"a', "1"), ("b", "0")]),
}  # fmt: skip


@pytest.mark.parametrize("case", LETTERS)
def test_quotes_in_tsv_are_letters_unless_they_enclose_a_field(tmp_path: Path, case: str) -> None:
    content, expected = LETTERS[case]
    assert read_records(file(tmp_path, f"label\ttext\n{content}", ".tsv")) == expected


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('text\tlabel\na\t1\n"b\nc"\t1\n', 3),
        ('label\ttext\n1\ta\n0\t"b\n\nc"\n', 3),
        ('label\ttext\n1\ta\n0\t"b\nc\nd"\n', 3),
        ('text\na\n"b\nc\nd"\n', 3),
        ('text\tlabel\n"a ""b""\tc\nd"\t1\n', 2),
    ],
)
def test_quoted_field_of_several_lines_in_tsv_is_refused_at_its_first(tmp_path: Path, content: str, line: int) -> None:
    path = file(tmp_path, content, ".tsv")
    columns = ["text", "label"] if "label" in content else ["text"]
    with pytest.raises(DataError, match=f"line {line}: a quote opens a field that does not end in this line") as error:
        read_records(path, columns)
    assert "--data.quoting standard" in error.value.fix
    assert all('"' not in text for text, *_ in read_records(path, columns, quoting="standard")[1:])


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_quotes_are_letters_where_the_settings_say_so(tmp_path: Path, suffix: str) -> None:
    path = file(tmp_path, 'text|label\n"a"|1\n"b|""\n', suffix)
    assert read_records(path, separator="|", quoting="none") == [('"a"', "1"), ('"b', '""')]
    with pytest.raises(DataError, match="line 3: 3 fields"):
        read_records(file(tmp_path, 'text|label\na|1\n"b|c"|1\n', suffix), separator="|", quoting="none")


def test_letters_that_open_a_field_are_counted(tmp_path: Path) -> None:
    path = file(tmp_path, 'label\ttext\n1\t"a film\n0\ta bore\n1\t"a play\n', ".tsv")
    [note] = read_dataset(str(path), DataConfig(), split="train").notes
    assert "2 fields that a quote opens" in note


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ('a, "b, c"', "line 3: a blank between a separator and a quote"),
        ('a, "b"', "line 3: a blank between a separator and a quote"),
        (' "a",b', "line 3: a blank between a separator and a quote"),
        ('"he said \\"no\\"",b', 'line 3: .*escaped by backslashes'),
        ('"he said \\", no",b', "line 3: 3 fields"),
        ('"he said "no"",b', "line 3: ',' expected after '\"'"),
    ],
)  # fmt: skip
def test_other_ways_to_quote_are_named(tmp_path: Path, row: str, problem: str) -> None:
    path = file(tmp_path, f"text,label\nx,y\n{row}\nz,y\n")
    with pytest.raises(DataError, match=problem) as error:
        read_records(path)
    assert ("backslash" in str(error.value)) == ("\\" in row)


def test_blank_and_quote_at_the_start_of_a_quoted_text_are_kept(tmp_path: Path) -> None:
    path = file(tmp_path, 'text,label\n" ""b"", he said",y\n  "x",y\n'.replace('  "x"', '"  x"'))
    assert read_records(path) == [(' "b", he said', "y"), ("  x", "y")]
