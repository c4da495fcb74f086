"""Files of texts: one in each line, or one in each file of folders that are named after their labels."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from accel_clf.core.errors import DataError
from accel_clf.data.readers.containers import open_text
from accel_clf.data.readers.guesses import undecodable
from accel_clf.data.readers.records import Record, Request, refuse_nul, require_columns

TABLES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".xlsx", ".gz", ".zip")
UNLABELLED = "unsup"  # IMDB's folder of texts without labels
FOLDER_COLUMNS = ("text", "label", "file")
SPLITS = ("train", "test", "validation", "valid", "val", "dev")


def line_records(request: Request) -> Iterator[Record]:
    """Read a text from each line; whatever their column is called.

    Raises:
        DataError: other columns are requested, too.
    """
    if len(request.columns) > 1:
        raise DataError(
            f"{request.path}: a text in each line, without a column {request.columns[1]!r}",
            "a file with labels, such as .csv, or a folder of text files for each label"
            if request.is_labelled
            else "a file with columns, such as .csv",
        )
    with open_text(request.path, request.data.encoding, newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if "\0" in line:
                raise refuse_nul(request.path, f"line {number}", request.columns[0])
            text = line.removesuffix("\n").removesuffix("\r")
            yield number, (text,) if request.kept is None else (text, {request.columns[0]: text})


def line_names(request: Request) -> Sequence[str]:
    """Return the name of the only column, which is what is requested."""
    return request.columns


def is_class_folder(path: Path) -> bool:
    """Return whether a folder has folders of text files, each named after a label, rather than tables or splits."""
    if not path.is_dir() or any(_is_table(file) for file in path.iterdir()):
        return False
    folders = [folder for folder in _visible(path) if folder.is_dir() and folder.name != UNLABELLED]
    if any(folder.name in SPLITS for folder in folders):
        return False
    files = [file for folder in folders for file in _visible(folder)]
    return any(map(_is_text, files)) and not any(map(_is_table, files))


def folder_records(request: Request) -> Iterator[Record]:
    """Read a text from each file: labels in the order of their names, and so are the files of each.

    Raises:
        DataError: a file is not text.
    """
    path = request.path
    require_columns(path, FOLDER_COLUMNS, request.columns)
    remarks = request.remarks
    for folder in sorted(path.iterdir()):
        if folder.name.startswith("."):
            remarks["hidden files or folders left out"] += 1
        elif not folder.is_dir():
            remarks["files beside the folders left out"] += 1
        elif folder.name == UNLABELLED:
            remarks[f"folder {UNLABELLED!r}, whose texts have no labels, left out"] += 1
        else:
            files = sorted(folder.iterdir())
            kept = [file for file in files if not file.name.startswith(".") and _is_text(file) and file.is_file()]
            if hidden := sum(file.name.startswith(".") for file in files):
                remarks["hidden files or folders left out"] += hidden
            if others := len(files) - len(kept) - hidden:
                remarks["files or folders left out that are not text files"] += others
            if not kept:
                remarks["folders without text files left out"] += 1
            for file in kept:
                name = f"{folder.name}/{file.name}"
                row = dict(zip(FOLDER_COLUMNS, (_text(request, file), folder.name, name), strict=True))
                values = tuple(row[column] for column in request.columns)
                yield name, values if request.kept is None else (*values, row)


def _text(request: Request, file: Path) -> str:
    with open_text(file, request.data.encoding) as opened:
        try:
            text = opened.read()
        except UnicodeDecodeError:
            raise undecodable(Request(file, ".txt", request.columns, request.data)) from None
    if "\0" in text:
        raise refuse_nul(file, f"line {text[: text.index(chr(0))].count(chr(10)) + 1}", "text")
    return text


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _is_text(path: Path) -> bool:
    return path.suffix.lower() == ".txt" or "." not in path.name


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in TABLES
