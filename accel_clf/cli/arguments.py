"""Arguments that several commands share."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from accel_clf.config.flags import Parser
from accel_clf.config.schema import FILE_SETTINGS, DataConfig


def parser_for(command: str, description: str, usage: str | None = None) -> Parser:
    """Make a command's parser, with `--debug`."""
    parser = Parser(prog=f"accel-clf {command}", description=description, usage=usage)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def add_run(parser: Parser) -> None:
    """Add the folder that answers."""
    parser.add_argument("run", metavar="RUN", type=Path, help="the folder of a run or a cross-validation")


def add_source(parser: Parser, columns: Sequence[str], *, required: bool) -> None:
    """Add what names rows: a source, its columns, and how files are read.

    Args:
        parser: the command's.
        columns: "text", of which there may be several, "pair", "label", "slice".
        required: whether there must be a source.
    """
    parser.add_argument("--data", required=required, metavar="SOURCE", help="a file or folder, or a Hub data set's id")
    parser.add_argument("--config", help="the Hub data set's configuration (default: the run's, for the run's own)")
    parser.add_argument("--split", default="test", help="the Hub data set's split (default: test)")
    for name in columns:
        action = "append" if name == "text" else "store"
        content = {"text": "text; once for each of several", "pair": "second text of a pair"}.get(name, name)
        parser.add_argument(
            f"--{name}", metavar="COLUMN", action=action, help=f"the column with the {content} (default: the run's)"
        )
    for name in FILE_SETTINGS:  # --data.NAME is what messages name, and `train` has
        text = f"{DataConfig.model_fields[name].description} (default: the run's)".replace("%", "%%")
        parser.add_argument(f"--{name}", f"--data.{name}", dest=name, metavar=name.upper(), help=text)


def source_settings(arguments: argparse.Namespace) -> dict[str, str | list[str] | None]:
    """Return the settings of `add_source` that replace the run's."""
    names = ("text", "pair", "label", "slice", "incomplete", *FILE_SETTINGS)
    values = {name: getattr(arguments, name, None) for name in names}
    return {
        name: None if value == "null" and name in FILE_SETTINGS else value
        for name, value in values.items()
        if value is not None
    }


def add_risk(parser: Parser) -> None:
    """Add the risk of a wrong answer."""
    parser.add_argument(
        "--risk",
        type=float,
        help="the share of wrong answers among those given, such as 0.05; other texts get `abstain` and a set of "
        "labels. For runs with data.calibration, and cross-validations (default: every text gets a label)",
    )


def add_precision(parser: Parser) -> None:
    """Add the precision of inference."""
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="fp32",
        help="the precision of matrix products; auto: bf16 where the hardware is fast at it, whose scores differ in "
        "the third place (default: fp32)",
    )
