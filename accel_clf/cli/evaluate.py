"""accel-clf evaluate."""

import json
from collections.abc import Sequence

from accel_clf.cli.arguments import add_precision, add_run, add_source, parser_for
from accel_clf.core.command import run_command
from accel_clf.core.exit_codes import DONE


def main(argv: Sequence[str]) -> int:
    """Evaluate a trained run on labelled rows; the exit code."""
    return run_command(lambda: _evaluate(argv), debug="--debug" in argv)


def _evaluate(argv: Sequence[str]) -> int:
    parser = parser_for("evaluate", "Evaluate a trained run on labelled rows.")
    add_run(parser)
    add_source(parser, ("text", "label", "slice"), required=True)
    add_precision(parser)
    parser.add_argument("--json", action="store_true", help="print all metrics as JSON")
    arguments = parser.parse_args(argv)

    from accel_clf.cross_validation import aggregate
    from accel_clf.data.sources import read_dataset
    from accel_clf.data.tokenization import tokenize
    from accel_clf.inference.evaluate import evaluate
    from accel_clf.inference.predictor import Predictor
    from accel_clf.reports import text
    from accel_clf.run_folder.layout import read_config
    from accel_clf.targets.scores import probabilities

    data = read_config(arguments.run).data
    named = {name: getattr(arguments, name) for name in ("text", "label", "slice") if getattr(arguments, name)}
    config = arguments.config or (data.config if arguments.data == data.train else None)
    columns = data.model_copy(update={**named, "group": None, "config": config})
    predictor = Predictor(arguments.run, arguments.precision)
    rows = read_dataset(arguments.data, columns, split=arguments.split, label_names=predictor.labels)
    tokens = tokenize(rows, predictor.tokenizer, data.max_length)
    settings = predictor.config.evaluation
    each = predictor.logits(tokens, show_progress=True)
    found = evaluate(predictor.ensemble_scores(each), rows, settings).metrics
    if len(each) > 1:
        alone = [evaluate(probabilities(logits), rows, settings).metrics for logits in each]
        found["models"] = aggregate.over_folds(alone)
    print(json.dumps(found, ensure_ascii=False) if arguments.json else text.metrics(found))
    return DONE
