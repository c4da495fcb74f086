"""The command line: every setting as a flag; errors suggest the closest one."""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NoReturn, get_args

from pydantic import BaseModel

from accel_clf.config.load import load
from accel_clf.config.schema import Config, Section, merge, settings
from accel_clf.core.errors import ConfigError, closest


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are ConfigErrors that suggest the closest flag."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise a ConfigError in place of exiting."""
        flags = [flag for action in self._actions for flag in action.option_strings]
        unknown = [word for word in message.split() if word.startswith("--")] if "unrecognized" in message else []
        hint = closest(unknown[0].split("=")[0], flags) if unknown else ""
        raise ConfigError(f"{self.prog}: {message}", hint, f"`{self.prog} --help` lists all flags")


def parse(
    argv: Sequence[str], prog: str, description: str, add: Callable[[Parser], None] | None = None, suffix: str = ""
) -> tuple[Config, argparse.Namespace]:
    """Parse `[CONFIG.yaml] [--section.key value ...] [--debug]` and the command's other arguments.

    Args:
        argv: the arguments.
        prog, description: for `--help`.
        add: adds the command's other arguments to the parser.
        suffix: of the run folder's default name, see config.load.

    Returns:
        The settings, and all arguments.

    Raises:
        ConfigError: an argument or a setting is unknown or invalid.
    """
    parser = Parser(
        prog=prog,
        usage=f"{prog} [CONFIG.yaml] [--section.key value ...] [--debug]",
        description=description,
    )
    parser.add_argument("config", nargs="?", metavar="CONFIG.yaml", help="settings in YAML; flags override them")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    if add:
        add(parser)
    read_flags = add_settings(parser, Config)
    args = parser.parse_args(argv)
    return load(args.config, read_flags(args), suffix), args


def add_settings(parser: Parser, model: type[Section]) -> Callable[[argparse.Namespace], dict[str, Any]]:
    """Add a flag for every setting of a model.

    Returns:
        A function that extracts the settings from a command's parsed arguments.
    """
    from pydantic_settings import CliSettingsSource

    source: Any = CliSettingsSource(
        model,  # type: ignore[arg-type]
        root_parser=parser,
        cli_avoid_json=True,
        cli_parse_none_str="null",
        parse_args_method=lambda *_: argparse.Namespace(),
    )
    fields = dict(settings(model))
    for action in parser._actions:
        if field := fields.get(action.dest):
            # pydantic writes types and defaults as Python does: {{float,str},null} and None.
            types = str(action.metavar).translate(str.maketrans("", "", "{}"))
            action.metavar = "{" + types + "}" if "," in types and "[" not in types else types
            if field.annotation is bool:  # `--flag` without a value means true
                action.nargs, action.const = "?", "true"
            action.help = f"{field.description} (default: {default_text(field)})".replace("%", "%%")
    top_level = {name.split(".")[0] for name in fields}

    columns = [name for name, field in fields.items() if {str, tuple[str, ...]} <= set(get_args(field.annotation))]

    def read(args: argparse.Namespace) -> dict[str, Any]:
        of_columns = {name: getattr(args, name) for name in columns if getattr(args, name, None)}
        for name in of_columns:
            delattr(args, name)  # pydantic would split the name of a column at its commas
        values = {name: value for name, value in source(parsed_args=args)().items() if name in top_level}
        for name, given in of_columns.items():
            section, setting = name.split(".")
            values = merge(values, {section: {setting: given}})
        return values

    return read


def default_text(field: Any) -> str:
    """Format the default of a pydantic field as YAML."""
    default = field.get_default()
    return "none" if default in ((), "") else json.dumps(default).strip('"')


def settings_table(model: type[BaseModel] = Config) -> str:
    """Format the documentation's table of a model's settings, in Markdown."""
    lines = ["| setting | default | description |", "|---|---|---|"]
    for name, field in settings(model):
        description = " ".join((field.description or "").split())
        for choices in _literals(field.annotation):
            if len(choices) > 1:
                description += f" One of {', '.join(choices)}."
        lines.append(f"| `{name}` | {default_text(field)} | {description} |")
    return "\n".join(lines)


def _literals(annotation: Any) -> Iterator[tuple[str, ...]]:
    """Iterate over the choices of each Literal inside a type annotation."""
    if getattr(annotation, "__origin__", None) is Literal:
        yield get_args(annotation)
    else:
        for part in get_args(annotation):
            yield from _literals(part)
