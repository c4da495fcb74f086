"""accel-clf compare."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accel_clf.cli.arguments import add_precision, add_source, parser_for, source_settings
from accel_clf.core.command import run_command
from accel_clf.core.console import log
from accel_clf.core.errors import ConfigError
from accel_clf.core.exit_codes import DONE, NOT_MET

if TYPE_CHECKING:
    from accel_clf.reports.compare.run_rows import RunRows

FEWEST_RESAMPLES = 100
ROWS = ("out_of_fold", "test", "held_out", "validation")


def main(argv: Sequence[str]) -> int:
    """Compare runs on the same rows; the exit code."""
    return run_command(lambda: _compare(argv), debug="--debug" in argv)


def _compare(argv: Sequence[str]) -> int:
    arguments = _parse(argv)

    from accel_clf.reports.compare.report import compare_runs
    from accel_clf.reports.compare.requirements import Requirement
    from accel_clf.reports.compare.same_rows import same_rows
    from accel_clf.reports.compare.text import comparison_text

    requirements = [Requirement.parse(text) for text in arguments.require]
    if arguments.output:
        from accel_clf.reports.charts import check_installed
        from accel_clf.reports.output import check_output

        check_output(arguments.output)
        check_installed()
    rows = same_rows(_rows(arguments), arguments.common)
    comparison = compare_runs(
        rows,
        arguments.metric,
        requirements,
        resamples=arguments.resamples,
        examples=arguments.examples,
        with_texts=arguments.texts == "examples",
    )
    if arguments.output:
        from accel_clf.reports.compare.page import write_page

        write_page(arguments.output, comparison)
        log(f"written: {arguments.output}")
    print(json.dumps(comparison.to_json(), ensure_ascii=False) if arguments.json else comparison_text(comparison))
    return DONE if comparison.is_met else NOT_MET


def _rows(arguments: argparse.Namespace) -> "list[RunRows]":
    from accel_clf.reports.compare.run_rows import answered, stored

    changes: dict[str, Any] = source_settings(arguments)
    if arguments.group:
        changes["group"] = arguments.group
    if arguments.data is None:
        return stored(arguments.runs, arguments.rows, changes)
    return answered(
        arguments.runs,
        arguments.data,
        changes,
        config=arguments.config,
        split=arguments.split,
        precision=arguments.precision,
    )


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = parser_for(
        "compare",
        "Compare runs with the first of them on the same rows: those that all have kept their answers for, or the "
        "labelled rows of --data, which each of them answers. Exit code 3 where a --require is not met.",
    )
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="folders of runs, the baseline first")
    parser.add_argument(
        "--rows",
        choices=ROWS,
        help="which kept answers are compared (default: the first of these that all runs have)",
    )
    parser.add_argument(
        "--common", action="store_true", help="compare only rows that all runs have, with the same label"
    )
    parser.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="CLAIM",
        help='what must hold of each run, such as "accuracy not worse by 0.01", which fails where the run is shown to '
        'be worse by more; "accuracy shown not worse by 0.01", which passes where it is shown not to be; "macro_f1 '
        'better by 0"; "lang=de: accuracy not worse by 0.02"; once for each of several',
    )
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="NAME",
        help="compared metric, such as accuracy or f1:LABEL; once for each of several (default: those that runs always "
        "have)",
    )
    parser.add_argument(
        "--resamples", type=int, default=2000, help="of the bootstrap, always the same ones (default: 2000)"
    )
    parser.add_argument(
        "--examples",
        type=int,
        default=10,
        metavar="ROWS",
        help="rows of each kind that are listed where answers differ (default: 10)",
    )
    parser.add_argument(
        "--texts",
        choices=("examples", "none"),
        default="examples",
        help="whether these rows have the beginnings of their texts (default: examples)",
    )
    add_source(parser, ("text", "pair", "label", "slice"), required=False)
    parser.add_argument(
        "--group", metavar="COLUMN", help="column with groups of rows that belong together (default: the run's)"
    )
    add_precision(parser)
    parser.add_argument("--json", action="store_true", help="print the comparison as one JSON object")
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write a page, in one .html file")
    arguments = parser.parse_args(argv)
    if len(arguments.runs) < 2:
        raise ConfigError(f"one run, {arguments.runs[0]}", "two or more, the baseline first")
    if len({run.resolve() for run in arguments.runs}) < len(arguments.runs):
        raise ConfigError("a run is named twice: " + " ".join(map(str, arguments.runs)), "different runs")
    if arguments.resamples < FEWEST_RESAMPLES or arguments.examples < 0:
        got = f"--resamples {arguments.resamples} --examples {arguments.examples}"
        raise ConfigError(got, f"{FEWEST_RESAMPLES} resamples or more, and 0 examples or more")
    if arguments.rows and arguments.data:
        raise ConfigError("--rows and --data exclude each other", "kept answers, or rows that are answered now")
    return arguments
