"""The command line: every setting as a flag; errors suggest the closest one."""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

from pydantic import BaseModel

from accel_clf.config.load import load
from accel_clf.config.schema import Config, Section, merge, settings
from accel_clf.core.errors import ConfigError, closest

# What nearly everybody sets: a short flag, the setting that it is another name of, and what help calls its value.
SHORT_FLAGS = {
    "data": ("data.train", "DATA"),
    "text": ("data.text", "COLUMN"),  # may be repeated, as the setting's flag may; so may the label's
    "pair": ("data.pair", "COLUMN"),
    "label": ("data.label", "COLUMN"),
    "model": ("model.name", "NAME"),
    "epochs": ("training.epochs", "N"),
    "batch": ("batch.size", "N"),
    "rate": ("training.learning_rate", "X"),
    "length": ("data.max_length", "N"),
}
YAML_SUFFIXES = (".yaml", ".yml")


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
    """Parse `[DATA | CONFIG.yaml] [--text COLUMN ...] [--section.key value ...] [--debug]` and the command's others.

    Args:
        argv: the arguments.
        prog, description: for `--help`.
        add: adds the command's other arguments to the parser.
        suffix: of the run folder's default name, see config.load.

    Returns:
        The settings, and all arguments.

    Raises:
        ConfigError: an argument or a setting is unknown or invalid, or set twice.
    """
    parser = Parser(
        prog=prog,
        usage=f"{prog} [DATA | CONFIG.yaml] [--text COLUMN] [--label COLUMN] [--section.key value ...] [--debug]",
        description=description,
    )
    first = parser.add_argument_group(
        "what nearly everybody sets", "Short names of settings below. Both names with different values are an error."
    )
    parser._action_groups.insert(0, parser._action_groups.pop())  # so that help shows them first
    first.add_argument(
        "source",
        nargs="?",
        metavar="DATA | CONFIG.yaml",
        help="the training data (data.train); or settings in YAML, which flags override",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    if add:
        add(parser)
    read_flags = add_settings(parser, Config)
    settings_flags = {action.dest: action for action in parser._actions}
    for name, (setting, value) in SHORT_FLAGS.items():
        short = copy(settings_flags[setting])
        short.option_strings, short.dest, short.metavar = [f"--{name}"], f"short.{name}", value
        short.help = str(short.help).replace("(default:", f"({setting}, default:")
        first._add_action(short)
    output = settings_flags["output"]
    parser._optionals._group_actions.remove(output)
    first._group_actions.append(output)
    args = parser.parse_args(argv)
    config_file = args.source if args.source and Path(args.source).suffix.lower() in YAML_SUFFIXES else None
    _take_short_names(args, prog, data=None if config_file else args.source)
    return load(config_file, read_flags(args), suffix), args


def _take_short_names(args: argparse.Namespace, prog: str, data: str | None) -> None:
    """Take the training data and the short flags for the settings that they are other names of.

    Args:
        args: the parsed arguments, which are changed.
        prog: the command, for messages.
        data: the argument without a flag, where it is no YAML file.
    """
    if data and all((Path(data) / name).is_file() for name in ("config.yaml", "metrics.json")):
        raise ConfigError(
            f"{data}: the folder of a run", "training data, or settings in YAML", f"{prog} {Path(data) / 'config.yaml'}"
        )
    short = [
        (setting, f"--{name}", vars(args).pop(f"short.{name}", None)) for name, (setting, _) in SHORT_FLAGS.items()
    ]
    names: dict[str, str] = {}  # by which a setting has been set
    for setting, name, value in [("data.train", "the training data", data), *short]:
        if value is None:
            continue
        if (other := getattr(args, setting, value)) != value:
            got, others = (" ".join([each] if isinstance(each, str) else each) for each in (value, other))
            other_name = names.get(setting, f"--{setting}")
            raise ConfigError(f"{name} is {got}, and {other_name} {others}", "one value: these are the same setting")
        names[setting] = name
        setattr(args, setting, value)


def with_short_flags(words: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Return a command with other values of some short flags, whatever it had for them.

    Args:
        words: the command.
        values: short flag -> value.
    """
    replaced = {flag for name in values for flag in (f"--{name}", f"--{SHORT_FLAGS[name][0]}")}
    kept: list[str] = []
    is_value = False
    for word in words:
        if not is_value and word.split("=")[0] not in replaced:
            kept.append(word)
        is_value = word in replaced
    return kept + [word for name, value in values.items() for word in (f"--{name}", value)]


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
    top_level = {name.split(".")[0] for name in fields}
    for action in list(parser._actions):
        if action.dest in top_level - set(fields):  # pydantic's hidden flag of a section, such as --model, takes JSON
            parser._option_string_actions.pop(f"--{action.dest}")
            action.container._remove_action(action)  # type: ignore[attr-defined]
        elif field := fields.get(action.dest):
            # pydantic writes types and defaults as Python does: {{float,str},null} and None.
            types = str(action.metavar).translate(str.maketrans("", "", "{}"))
            action.metavar = "{" + types + "}" if "," in types and "[" not in types else types
            if field.annotation is bool:  # `--flag` without a value means true
                action.nargs, action.const = "?", "true"
            action.help = f"{field.description} (default: {default_text(field)})".replace("%", "%%")

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
