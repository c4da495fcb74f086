"""accel-clf evaluate."""

import json
from collections.abc import Sequence

from accel_clf.cli.arguments import add_precision, add_risk, add_run, add_source, parser_for, source_settings
from accel_clf.core.command import run_command
from accel_clf.core.exit_codes import DONE


def main(argv: Sequence[str]) -> int:
    """Evaluate a trained run on labelled rows; the exit code."""
    return run_command(lambda: _evaluate(argv), debug="--debug" in argv)


def _evaluate(argv: Sequence[str]) -> int:
    parser = parser_for("evaluate", "Evaluate a trained run on labelled rows.")
    add_run(parser)
    add_source(parser, ("text", "pair", "label", "slice"), required=True)
    add_precision(parser)
    add_risk(parser)
    parser.add_argument(
        "--incomplete",
        choices=("refuse", "skip"),
        help="whether rows without a text or a label end the command, or are left out and counted (default: the run's)",
    )
    parser.add_argument("--json", action="store_true", help="print all metrics as JSON")
    arguments = parser.parse_args(argv)

    from accel_clf.inference.bulk import columns_of, evaluate_source
    from accel_clf.inference.predictor import Predictor
    from accel_clf.reports.summary import evaluation_summary
    from accel_clf.run_folder.layout import read_config

    changes = source_settings(arguments)
    data = columns_of(read_config(arguments.run).data, arguments.data, changes, arguments.config)
    predictor = Predictor(arguments.run, arguments.precision, risk=arguments.risk)
    evaluation = evaluate_source(predictor, arguments.data, data, split=arguments.split, show_progress=True)
    print(json.dumps(evaluation.to_json(), ensure_ascii=False) if arguments.json else evaluation_summary(evaluation))
    return DONE
