"""accel-clf: train, cv, parity, evaluate, predict, serve, doctor."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from accel_clf import __version__
from accel_clf.config.flags import Parser, add_settings, parse
from accel_clf.config.schema import Serve, load_serve
from accel_clf.core.errors import DONE, FAILED, ConfigError, DataError, closest, run_command

# Nothing here imports torch before a command needs it: `accel-clf --help` answers at once.


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["train"]:
        from accel_clf.train import main as train

        return train(given[1:], "accel-clf train")
    if given[:1] == ["cv"]:
        from accel_clf.cv import main as cross_validate

        return cross_validate(given[1:], "accel-clf cv")
    if given[:1] == ["parity"]:
        return run_command(lambda: _parity(given[1:]), debug="--debug" in given)
    if given[:1] == ["serve"]:
        return run_command(lambda: _serve(given[1:]), debug="--debug" in given)
    return run_command(lambda: _dispatch(given), debug="--debug" in given)


def _dispatch(given: list[str]) -> int:
    parser = Parser(prog="accel-clf", description="Fine-tune any Hugging Face encoder into a text classifier.")
    parser.add_argument("--version", action="version", version=f"accel-clf {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    commands.add_parser("train", help="train by a YAML file and flags; with no argument the demo", add_help=False)

    commands.add_parser("cv", help="cross-validate: train a model a fold, measure on all rows", add_help=False)

    commands.add_parser("parity", help="check that all hardware paths here train alike", add_help=False)

    evaluate = _command(commands, "evaluate", "measure a trained run on labelled rows", _evaluate)
    evaluate.add_argument("run", metavar="RUN", type=Path, help="the folder of a run or a cross-validation")
    evaluate.add_argument("--data", required=True, metavar="SOURCE", help="a file, or a Hub data set's id or folder")
    evaluate.add_argument("--config", help="the Hub data set's configuration (default: the run's, for the run's own)")
    evaluate.add_argument("--split", default="test", help="the Hub data set's split (default: test)")
    _columns(evaluate, "text", "label", "slice")
    _precision(evaluate)
    evaluate.add_argument("--json", action="store_true", help="print all metrics as JSON")

    predict = _command(commands, "predict", "label texts with a trained run", _predict)
    predict.add_argument("run", metavar="RUN", type=Path, help="the folder of a run or a cross-validation")
    predict.add_argument("texts", metavar="TEXT", nargs="*", default=[], help="default: lines of standard input")
    predict.add_argument("--data", metavar="SOURCE", help="a file, or a Hub data set's id or folder")
    predict.add_argument("--config", help="the Hub data set's configuration")
    predict.add_argument("--split", default="test", help="the Hub data set's split (default: test)")
    _columns(predict, "text")
    _precision(predict)
    predict.add_argument("--output", metavar="FILE", type=Path, help="a new file to write: .csv or .jsonl")
    predict.add_argument("--json", action="store_true", help="print one JSON object a line")

    commands.add_parser("serve", help="answer over HTTP with a trained run: an API and a page", add_help=False)

    doctor = _command(commands, "doctor", "show versions, devices, and what a run would use and why", _doctor)
    doctor.add_argument("--json", action="store_true", help="print as JSON")

    if given and not given[0].startswith("-") and given[0] not in commands.choices:
        raise ConfigError(
            f"no command {given[0]!r}",
            f"one of {', '.join(commands.choices)}",
            closest(given[0], list(commands.choices)) or "`accel-clf --help`",
        )
    arguments, unknown = parser.parse_known_args(given)
    if unknown:
        commands.choices.get(given[0], parser).error(f"unrecognized arguments: {' '.join(unknown)}")
    if not hasattr(arguments, "run_command"):
        parser.print_help()
        return DONE
    command: Callable[[argparse.Namespace], int] = arguments.run_command
    return command(arguments)


def _command(
    commands: Any, name: str, what: str, function: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
    parser.set_defaults(run_command=function)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _columns(parser: argparse.ArgumentParser, *names: str) -> None:
    for name in names:
        parser.add_argument(f"--{name}", metavar="COLUMN", help=f"the column with the {name} (default: the run's)")


def _precision(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="fp32",
        help="the precision of matrix products; auto: bf16 where the hardware is fast at it, whose scores differ in "
        "the third place (default: fp32)",
    )


def _parity(given: Sequence[str]) -> int:
    def steps(parser: Parser) -> None:
        parser.add_argument("--steps", type=int, default=20, metavar="N", help="optimizer steps of each run (20)")

    config, arguments = parse(
        given,
        "accel-clf parity",
        "Run the first steps under every strategy and number of cores that this machine can run, and compare. "
        "batch.size is the global batch's here, for all of them.",
        steps,
    )
    if arguments.steps < 2:
        raise ConfigError(f"--steps is {arguments.steps}", "2 or more: the end of an epoch is among them")
    from accel_clf.training import parity

    return DONE if parity.run(config, arguments.steps) else FAILED


def _serve(given: Sequence[str]) -> int:
    parser = Parser(
        prog="accel-clf serve",
        usage="accel-clf serve RUN [--setting value ...] [--debug]",
        description="Answer over HTTP with a trained run, or with a cross-validation's models together: the Hub's "
        "text-classification API, and a page. With ACCEL_CLF_API_KEY in the environment, only to who has that key.",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the folder of a run or a cross-validation")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    read = add_settings(parser, Serve)
    arguments = parser.parse_args(given)
    settings = load_serve(read(arguments))
    try:
        from accel_clf.serving.server import serve
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{error.name} is not installed", "what the server is made of", "pip install 'accel_clf[serve]'"
        ) from None
    return serve(arguments.run, settings)


def _evaluate(arguments: argparse.Namespace) -> int:
    from accel_clf.cross_validation import aggregate
    from accel_clf.data import dataset
    from accel_clf.data.tokenization import encode
    from accel_clf.inference.evaluate import measure, probabilities
    from accel_clf.inference.predictor import Predictor
    from accel_clf.reports import text
    from accel_clf.run_folder.layout import read_config

    data = read_config(arguments.run).data
    named = {name: getattr(arguments, name) for name in ("text", "label", "slice") if getattr(arguments, name)}
    config = arguments.config or (data.config if arguments.data == data.train else None)
    columns = data.model_copy(update={**named, "group": None, "config": config})
    predictor = Predictor(arguments.run, arguments.precision)
    rows = dataset.read(arguments.data, columns, split=arguments.split, label_names=predictor.labels)
    tokens = encode(rows, predictor.tokenizer, data.max_length)
    settings = predictor.config.evaluation
    each = predictor.logits(tokens, shown=True)
    found = measure(predictor.together(each), rows, settings).metrics
    if len(each) > 1:
        alone = [measure(probabilities(logits), rows, settings).metrics for logits in each]
        found["models"] = aggregate.over_folds(alone)
    print(json.dumps(found, ensure_ascii=False) if arguments.json else text.metrics(found))
    return DONE


def _predict(arguments: argparse.Namespace) -> int:
    output: Path | None = arguments.output
    if output is not None and output.suffix not in (".csv", ".jsonl"):
        raise ConfigError(f"--output {output}", "a name that ends in .csv or .jsonl")
    if output is not None and output.exists():
        raise ConfigError(f"--output {output} exists", "a new file", "choose another name, or remove it first")
    if arguments.texts and arguments.data:
        raise ConfigError("texts and --data", "one of them", "leave one out")
    from accel_clf.data import dataset
    from accel_clf.inference.predictor import Predictor
    from accel_clf.run_folder.layout import read_config, whole
    from accel_clf.run_folder.predictions import answer, write

    data = read_config(arguments.run).data
    texts: Iterator[str]
    if arguments.data:
        column = arguments.text or data.text
        texts = dataset.read_texts(arguments.data, column, config=arguments.config, split=arguments.split)
    else:
        texts = iter(arguments.texts) if arguments.texts else _lines_of_standard_input()
        for number, text in enumerate(arguments.texts, start=1):
            dataset.check_text(text, f"text {number}")
    predictor = Predictor(arguments.run, arguments.precision)
    columns = ("text", "label", "score")
    found = predictor.predict(texts, shown=output is not None)
    answers = ({"text": text, **answer(predictor.labels, scores)} for text, scores in found)
    if output is not None:
        with whole(output) as file:
            write(file, answers, columns, predictor.labels, as_csv=output.suffix == ".csv")
    elif arguments.json:
        write(sys.stdout, answers, columns, predictor.labels, as_csv=False)
    else:
        for row in answers:
            print(f"{row['label']}  {row['score']:.4f}  {row['text']}")
    return DONE


def _lines_of_standard_input() -> Iterator[str]:
    if sys.stdin.isatty():
        print("a text a line; end with Ctrl-D", file=sys.stderr)
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"standard input, line {number}: not UTF-8 (byte {error.start})", "UTF-8") from None


def _doctor(arguments: argparse.Namespace) -> int:
    from accel_clf.cli import doctor

    found = doctor.examine()
    print(json.dumps(found) if arguments.json else doctor.as_text(found))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
