"""accel-clf push."""

from collections.abc import Sequence
from pathlib import Path

from accel_clf.cli.arguments import add_run, parser_for
from accel_clf.core.command import run_command
from accel_clf.core.console import log
from accel_clf.core.errors import ConfigError
from accel_clf.core.exit_codes import DONE

DESCRIPTION = (
    "Push a trained run, or a cross-validation's models together, to the Hugging Face Hub, with a model card: in one "
    "commit, privately unless --public. No texts are pushed, but those in a --report. An interrupted push goes on when "
    "it is run again."
)


def main(argv: Sequence[str]) -> int:
    """Push a trained run to the Hub; the exit code."""
    return run_command(lambda: _push(argv), debug="--debug" in argv)


def _push(argv: Sequence[str]) -> int:
    parser = parser_for("push", DESCRIPTION)
    add_run(parser)
    parser.add_argument("repository", metavar="OWNER/NAME", help="the repository, which is made if it is not there")
    parser.add_argument("--license", metavar="ID", help="of the model, such as apache-2.0; needed, but for --dry_run")
    parser.add_argument(
        "--license_name", metavar="NAME", help="of a license that the Hub has no id for: --license other"
    )
    parser.add_argument("--license_link", metavar="ADDRESS", help="of its text")
    parser.add_argument(
        "--language", metavar="CODE", action="append", default=[], help="of the texts; once for each of several"
    )
    parser.add_argument("--base_model", metavar="ID", help="on the Hub, where model.name was a local folder")
    parser.add_argument("--dataset", metavar="ID", help="on the Hub, where data.train was a local file")
    parser.add_argument("--public", action="store_true", help="let everybody see the repository")
    parser.add_argument("--adapter", action="store_true", help="push the adapters of a run with LoRA, too")
    parser.add_argument(
        "--report", metavar="FILE", type=Path, help="push this report, too, as report.html; it may have texts in it"
    )
    parser.add_argument(
        "--predictions",
        action="store_true",
        help="push the answers for labelled rows, too: row numbers, labels and scores, which --risk needs; no texts",
    )
    parser.add_argument(
        "--export", metavar="FOLDER", type=Path, action="append", default=[], help="push an export, too, into exports/"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files there that no push has written")
    parser.add_argument("--dry_run", metavar="FOLDER", type=Path, help="write what would be pushed into a new folder")
    arguments = parser.parse_args(argv)

    from accel_clf.reports.hub.card_facts import Facts
    from accel_clf.reports.hub.card_metadata import (
        COMMON_LICENSES,
        CardOptions,
        base_model_of,
        check_options,
        dataset_of,
    )
    from accel_clf.reports.hub.package import Extras, package, write_package
    from accel_clf.reports.hub.push import check_name, push

    check_name(arguments.repository)
    names = ("license", "license_name", "license_link", "base_model", "dataset")
    options = CardOptions(languages=arguments.language, **{name: getattr(arguments, name) for name in names})
    check_options(options)
    if options.license is None and arguments.dry_run is None:
        raise ConfigError(
            "no --license", f"that of the model, which only you know: {', '.join(COMMON_LICENSES)} ...", "--license ID"
        )
    facts = Facts.read(arguments.run, arguments.repository)
    extras = Extras(arguments.adapter, arguments.report, arguments.predictions, arguments.export)
    files = package(facts, options, extras)
    for title, value in (("base model", base_model_of(facts, options)), ("data set", dataset_of(facts, options))):
        log(f"{title} on the Hub: {value or 'none'}")
    if arguments.dry_run is not None:
        write_package(files, arguments.dry_run)
        if options.license is None:
            log("the card has no license yet; to push it takes --license")
        print("\n".join([f"{len(files)} files in {arguments.dry_run}:", *(f"  {path}" for path in files)]))
        return DONE
    pushed = push(files, arguments.repository, public=arguments.public, overwrite=arguments.overwrite)
    state = "private" if pushed.is_private else "public"
    print(
        f"{pushed.address} ({state})\ncommit {pushed.commit}"
        + ("" if pushed.is_new else ", which has all of it already")
    )
    return DONE
