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
    parser.add_argument("--output", metavar="FILE", type=Path, help="a new file to write: .csv or .jsonl")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    arguments = parser.parse_intermixed_args(argv)  # flags may come between RUN and the texts
    output: Path | None = arguments.output
    if output is not None and output.suffix not in (".csv", ".jsonl"):
        raise ConfigError(f"--output {output}", "a name that ends in .csv or .jsonl")
    if output is not None and output.exists():
        raise ConfigError(f"--output {output} exists", "a new file", "choose another name, or remove it first")
    if arguments.texts and arguments.data:
        raise ConfigError("texts and --data", "one of them", "leave one out")
    return arguments


def _predict(argv: Sequence[str]) -> int:
    arguments = _parse(argv)

    from accel_clf.core.files import atomic_write
    from accel_clf.data.sources import read_texts
    from accel_clf.data.texts import TextColumns, sides
    from accel_clf.inference.bulk import columns_of, predict_texts
    from accel_clf.inference.predictor import Predictor
    from accel_clf.run_folder.layout import read_config
    from accel_clf.run_folder.predictions import write_table

    data = read_config(arguments.run).data
    columns = TextColumns.of(data)
    texts: Iterator[Text]
    if arguments.data:
        data = columns_of(data, arguments.data, source_settings(arguments), arguments.config)
        texts = read_texts(arguments.data, data, split=arguments.split)
    elif arguments.texts:
        inputs = arguments.texts if data.pair is None else _by_twos(arguments.texts)
        texts = iter([columns.parse(text, f"text {number}") for number, text in enumerate(inputs, start=1)])
    else:
        texts = _lines_of_standard_input() if data.pair is None else _pairs_of_standard_input(columns)
    output: Path | None = arguments.output
    predictor = Predictor(arguments.run, arguments.precision, risk=arguments.risk)
    answers = predict_texts(predictor, texts, show_progress=output is not None)
    target = predictor.target
    if output is not None:
        with atomic_write(output) as file:
            write_table(file, answers, target, as_csv=output.suffix == ".csv", has_pairs=data.pair is not None)
    elif arguments.json:
        write_table(sys.stdout, answers, target, as_csv=False, has_pairs=data.pair is not None)
    else:
        for text, answer in answers:
            score = f"  {answer['score']:.4f}" if target.has_score else ""
            members = f"  one of {', '.join(answer['set'])}:" if "set" in answer else ""
            print(f"{target.answer_text(answer)}{score}{members}  {' | '.join(sides(text))}")
    return DONE


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
