"""The command line: every setting of config.py as a flag, and refusals that name the nearest one."""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NoReturn, get_args

from pydantic import BaseModel

from accel_clf.config.load import load
from accel_clf.config.schema import Config, Section, settings
from accel_clf.core.errors import ConfigError, closest


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose refusals are ConfigErrors, with the nearest flag named."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        flags = [flag for action in self._actions for flag in action.option_strings]
        unknown = [word for word in message.split() if word.startswith("--")] if "unrecognized" in message else []
        hint = closest(unknown[0].split("=")[0], flags) if unknown else ""
        raise ConfigError(f"{self.prog}: {message}", hint, f"`{self.prog} --help` lists what there is")


def parse(
    argv: Sequence[str], prog: str, description: str, add: Callable[[Parser], None] | None = None, kind: str = ""
) -> tuple[Config, argparse.Namespace]:
    """`[CONFIG.yaml] [--section.key value ...] [--debug]` as settings, and what else was given.

    Args:
        argv: the words.
        prog, description: for `--help`.
        add: adds arguments of the command's own.
        kind: see config.load.
    """
    parser = Parser(
        prog=prog,
        usage=f"{prog} [CONFIG.yaml] [--section.key value ...] [--debug]",
        description=description,
    )
    parser.add_argument("config", nargs="?", metavar="CONFIG.yaml", help="settings in YAML; flags come on top")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    if add:
        add(parser)
    read = add_settings(parser, Config)
    arguments = parser.parse_args(argv)
    return load(arguments.config, read(arguments), kind), arguments


def add_settings(parser: Parser, model: type[Section]) -> Callable[[argparse.Namespace], dict[str, Any]]:
    """A flag for every setting of a model.

    Returns:
        What finds those that were given among a command's arguments.
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
            # pydantic's words for types and defaults are Python's: {{float,str},null} and None.
            kinds = str(action.metavar).translate(str.maketrans("", "", "{}"))
            action.metavar = "{" + kinds + "}" if "," in kinds and "[" not in kinds else kinds
            if field.annotation is bool:  # `--flag` alone switches on
                action.nargs, action.const = "?", "true"
            action.help = f"{field.description} (default: {default_text(field)})".replace("%", "%%")
    known = {name.split(".")[0] for name in fields}

    def read(arguments: argparse.Namespace) -> dict[str, Any]:
        return {name: value for name, value in source(parsed_args=arguments)().items() if name in known}

    return read


def default_text(field: Any) -> str:
    """A pydantic field's default as YAML has it."""
    default = field.get_default()
    return "none" if default in ((), "") else json.dumps(default).strip('"')


def settings_table(model: type[BaseModel] = Config) -> str:
    """The README's table of a model's settings, in Markdown."""
    lines = ["| setting | default | what |", "|---|---|---|"]
    for name, field in settings(model):
        described = " ".join((field.description or "").split())
        for literal in _literals(field.annotation):
            if len(literal) > 1:
                described += f" One of {', '.join(literal)}."
        lines.append(f"| `{name}` | {default_text(field)} | {described} |")
    return "\n".join(lines)


def _literals(annotation: Any) -> Iterator[tuple[str, ...]]:
    if getattr(annotation, "__origin__", None) is Literal:
        yield get_args(annotation)
    else:
        for part in get_args(annotation):
            yield from _literals(part)
