"""accel-clf predict."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from accel_clf.cli.arguments import add_precision, add_risk, add_run, add_source, parser_for
from accel_clf.core.command import run_command
from accel_clf.core.errors import ConfigError, DataError
from accel_clf.core.exit_codes import DONE


def main(argv: Sequence[str]) -> int:
    """Label texts with a trained run; the exit code."""
    return run_command(lambda: _predict(argv), debug="--debug" in argv)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = parser_for("predict", "Label texts with a trained run.")
    add_run(parser)
    parser.add_argument("texts", metavar="TEXT", nargs="*", default=[], help="default: lines of standard input")
    add_source(parser, ("text",), required=False)
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
    from accel_clf.data.texts import TextColumns, check_text
    from accel_clf.inference.bulk import columns_of, predict_texts
    from accel_clf.inference.predictor import Predictor
    from accel_clf.run_folder.layout import read_config
    from accel_clf.run_folder.predictions import write_table

    data = read_config(arguments.run).data
    texts: Iterator[str]
    if arguments.data:
        data = columns_of(data, arguments.data, {"text": arguments.text}, arguments.config)
        texts = read_texts(arguments.data, TextColumns.of(data), config=data.config, split=arguments.split)
    else:
        texts = iter(arguments.texts) if arguments.texts else _lines_of_standard_input()
        for number, text in enumerate(arguments.texts, start=1):
            check_text(text, f"text {number}")
    output: Path | None = arguments.output
    predictor = Predictor(arguments.run, arguments.precision, risk=arguments.risk)
    answers = predict_texts(predictor, texts, show_progress=output is not None)
    target = predictor.target
    if output is not None:
        with atomic_write(output) as file:
            write_table(file, answers, target, as_csv=output.suffix == ".csv")
    elif arguments.json:
        write_table(sys.stdout, answers, target, as_csv=False)
    else:
        for text, answer in answers:
            score = f"  {answer['score']:.4f}" if target.has_score else ""
            members = f"  one of {', '.join(answer['set'])}:" if "set" in answer else ""
            print(f"{target.answer_text(answer)}{score}{members}  {text}")
    return DONE


def _lines_of_standard_input() -> Iterator[str]:
    if sys.stdin.isatty():
        print("a text a line; end with Ctrl-D", file=sys.stderr)
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"standard input, line {number}: not UTF-8 (byte {error.start})", "UTF-8") from None
