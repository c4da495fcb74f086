"""accel-clf predict."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from accel_clf.cli.arguments import add_precision, add_risk, add_run, add_source, parser_for, source_settings
from accel_clf.core.command import run_command
from accel_clf.core.errors import ConfigError, DataError
from accel_clf.core.exit_codes import DONE
from accel_clf.data.rows import TABLE_SUFFIXES, TextRows

ALL, NONE = "all", "none"  # of the columns
STOP, SKIP = "stop", "skip"  # at texts that the model fails on

if TYPE_CHECKING:
    from accel_clf.data.texts import Text, TextColumns


def main(argv: Sequence[str]) -> int:
    """Label texts with a trained run; the exit code."""
    return run_command(lambda: _predict(argv), debug="--debug" in argv)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = parser_for("predict", "Label texts with a trained run.")
    add_run(parser)
    parser.add_argument(
        "texts",
        metavar="TEXT",
        nargs="*",
        default=[],
        help="of a run with pairs, two each (default: lines of standard input; of pairs, JSON Lines)",
    )
    add_source(parser, ("text", "pair"), required=False)
    add_precision(parser)
    add_risk(parser)
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help=f"a new file to write: {', '.join(TABLE_SUFFIXES)}, by its name"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument(
        "--keep",
        metavar="COLUMN",
        action="append",
        help="a column of --data to write beside the answer, and the text; repeat it for several. `all` of them, or "
        "`none` but the text (default: all to --output, none where answers are printed)",
    )
    parser.add_argument(
        "--errors",
        choices=(STOP, SKIP),
        default=STOP,
        help="whether a text that the model fails on ends the command, which names its row, or is left without an "
        "answer, and with the reason in the column `error`, which there is then (default: %(default)s)",
    )
    arguments = parser.parse_intermixed_args(argv)  # flags may come between RUN and the texts
    output: Path | None = arguments.output
    if output is not None and output.suffix not in TABLE_SUFFIXES:
        raise ConfigError(f"--output {output}", f"a name that ends in one of {' '.join(TABLE_SUFFIXES)}")
    if output is not None and output.exists():
        raise ConfigError(f"--output {output} exists", "a new file", "choose another name, or remove it first")
    if arguments.texts and arguments.data:
        raise ConfigError("texts and --data", "one of them", "leave one out")
    keep: list[str] = arguments.keep or []
    if keep and not arguments.data:
        raise ConfigError("--keep without --data", "rows that have columns", "name their file by --data")
    if keep and output is None and not arguments.json:
        raise ConfigError("--keep", "a table to keep columns in", "--output FILE, or --json")
    if len(keep) > 1 and (special := next((word for word in (ALL, NONE) if word in keep), None)):
        raise ConfigError(f"--keep {special} and other columns", "one of them", f"leave out --keep {special}")
    return arguments


def _predict(argv: Sequence[str]) -> int:
    arguments = _parse(argv)

    from accel_clf.data.texts import side_names, sides
    from accel_clf.inference.bulk import predict_rows
    from accel_clf.inference.predictor import Predictor
    from accel_clf.run_folder.answer_tables import (
        ERROR,
        added_columns,
        answer_keys,
        check_columns,
        json_answer,
        json_line,
        write_answers,
    )

    rows = _rows(arguments)
    output: Path | None = arguments.output
    predictor = Predictor(arguments.run, arguments.precision, risk=arguments.risk)
    target, with_errors = predictor.target, arguments.errors == SKIP
    answered = predict_rows(predictor, rows, skips_failing=with_errors, show_progress=output is not None)
    if output is not None:
        check_columns(rows, added_columns(target, output.suffix, with_errors))
        write_answers(output, rows, answered, target, with_errors)
    elif arguments.json:
        if arguments.keep:
            check_columns(rows, answer_keys(target, with_errors))
        for row, answer in answered:
            texts = sides(row.text)
            kept = (
                row.values(rows.columns)
                if arguments.keep
                else dict(zip(side_names(len(texts) > 1), texts, strict=True))
            )
            sys.stdout.write(json_line({**kept, **json_answer(target, answer, with_errors)}))
    else:
        for row, answer in answered:
            if ERROR in answer:
                print(f"error: {answer[ERROR]}  {' | '.join(sides(row.text))}")
                continue
            score = f"  {answer['score']:.4f}" if target.has_score else ""
            members = f"  one of {', '.join(answer['set'])}:" if "set" in answer else ""
            print(f"{target.answer_text(answer)}{score}{members}  {' | '.join(sides(row.text))}")
    return DONE


def _rows(arguments: argparse.Namespace) -> TextRows:
    """Return what is to be labelled, with the columns that are kept."""
    from accel_clf.data.sources import read_rows
    from accel_clf.data.texts import TextColumns
    from accel_clf.inference.bulk import columns_of
    from accel_clf.run_folder.layout import read_config

    data = read_config(arguments.run).data
    if arguments.data:
        data = columns_of(data, arguments.data, source_settings(arguments), arguments.config)
        keep: list[str] = arguments.keep or [ALL if arguments.output else NONE]
        kept = None if keep == [ALL] else [name for name in keep if name != NONE]
        return read_rows(arguments.data, data, kept, split=arguments.split)
    columns, has_pairs = TextColumns.of(data), data.pair is not None
    if arguments.texts:
        inputs = _by_twos(arguments.texts) if has_pairs else arguments.texts
        texts = [columns.parse(text, f"text {number}") for number, text in enumerate(inputs, start=1)]
        return TextRows.of_texts(lambda: texts, has_pairs)
    return TextRows.of_texts(
        lambda: _pairs_of_standard_input(columns) if has_pairs else _lines_of_standard_input(),
        has_pairs,
        "standard input, line",
    )


def _by_twos(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs that arguments are."""
    if len(texts) % 2:
        raise ConfigError(f"{len(texts)} texts, and the run reads pairs", "two texts for each pair", "quote each text")
    return list(zip(texts[::2], texts[1::2], strict=True))


def _pairs_of_standard_input(columns: "TextColumns") -> "Iterator[Text]":
    """Read a pair a line, as JSON."""
    from accel_clf.data.readers.json_files import parse_json

    for number, line in enumerate(_lines_of_standard_input(), start=1):
        location = f"standard input, line {number}"
        try:
            value = parse_json(line)
        except ValueError as error:
            raise DataError(
                f"{location}: not JSON ({error})", 'a pair per line: {"text": ..., "text_pair": ...}'
            ) from None
        yield columns.parse(value, location)


def _lines_of_standard_input() -> Iterator[str]:
    if sys.stdin.isatty():
        print("a text a line; end with Ctrl-D", file=sys.stderr)
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"standard input, line {number}: not UTF-8 (byte {error.start})", "UTF-8") from None
