"""accel-clf serve."""

from collections.abc import Sequence

from accel_clf.cli.arguments import add_run, parser_for
from accel_clf.config.flags import add_settings
from accel_clf.config.load import load_serve
from accel_clf.config.serve_schema import ServeConfig
from accel_clf.core.command import run_command
from accel_clf.core.errors import ConfigError

DESCRIPTION = (
    "Answer over HTTP with a trained run, or with a cross-validation's models together: the Hub's "
    "text-classification API, and a page. With ACCEL_CLF_API_KEY in the environment, only to clients with that key."
)


def main(argv: Sequence[str]) -> int:
    """Serve a trained run; the exit code."""
    return run_command(lambda: _serve(argv), debug="--debug" in argv)


def _serve(argv: Sequence[str]) -> int:
    parser = parser_for("serve", DESCRIPTION, usage="accel-clf serve RUN [--setting value ...] [--debug]")
    add_run(parser)
    read = add_settings(parser, ServeConfig)
    arguments = parser.parse_args(argv)
    settings = load_serve(read(arguments))
    try:
        from accel_clf.serving.server import serve
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{error.name} is not installed", "what the server is made of", "pip install 'accel_clf[serve]'"
        ) from None
    return serve(arguments.run, settings)
