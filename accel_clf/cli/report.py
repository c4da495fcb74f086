"""accel-clf report."""

from collections.abc import Sequence
from pathlib import Path

from accel_clf.cli.arguments import add_run, parser_for
from accel_clf.core.command import run_command
from accel_clf.core.errors import ConfigError
from accel_clf.core.exit_codes import DONE

DESCRIPTION = (
    "Write the report of a run or a cross-validation, finished or not: one HTML file that a browser shows without a "
    "network. --serve shows it on this machine while the run trains."
)
PORT = 8001


def main(argv: Sequence[str]) -> int:
    """Write or show the report of a run; the exit code."""
    return run_command(lambda: _report(argv), debug="--debug" in argv)


def _report(argv: Sequence[str]) -> int:
    parser = parser_for("report", DESCRIPTION)
    add_run(parser)
    parser.add_argument("--output", metavar="FILE", type=Path, help="the file (default: report.html in the run folder)")
    parser.add_argument(
        "--texts",
        choices=("examples", "none"),
        default="examples",
        help="whether rows are shown with their texts: a few of each kind, or none, for a report that leaves the house "
        "(default: examples)",
    )
    parser.add_argument(
        "--serve",
        action="store_true",
        help="write nothing; show the report at 127.0.0.1 until Ctrl+C, rendered again when the run has gone on",
    )
    parser.add_argument("--port", type=int, help=f"of --serve (default: {PORT})")
    arguments = parser.parse_args(argv)
    with_texts = arguments.texts == "examples"
    if arguments.serve:
        if arguments.output:
            raise ConfigError("--serve and --output", "one of them", "leave one out")
        from accel_clf.serving.live_report import serve_report

        serve_report(arguments.run, PORT if arguments.port is None else arguments.port, with_texts=with_texts)
        return DONE
    if arguments.port is not None:
        raise ConfigError(f"--port {arguments.port}", "--serve beside it", "leave it out, or add --serve")
    from accel_clf.reports.html.report import write_report  # matplotlib is not needed for --help

    print(write_report(arguments.run, arguments.output, with_texts=with_texts))
    return DONE
