"""Read settings: a YAML file and flags become a Config, or an error that names the setting."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from accel_clf.config.schema import SECTIONS, Config, Section, merge, settings
from accel_clf.config.serve_schema import ServeConfig
from accel_clf.core.errors import ConfigError, closest

_Model = TypeVar("_Model", bound=Section)

THE_COMMAND_LINE = "the command line"


def load(path: str | PathLike[str] | None, flags: Mapping[str, Any], suffix: str = "") -> Config:
    """Load the settings of a YAML file, if there is one, overridden by `flags`.

    Args:
        path: the file; None for none.
        flags: sections and settings.
        suffix: of the run folder's default name.

    Raises:
        ConfigError: the file cannot be read, or a setting is unknown or out of its range.
    """
    from_file = _read_yaml(Path(path)) if path is not None else {}
    origin = str(path) if path is not None else THE_COMMAND_LINE
    return with_output(_validate(Config, merge(from_file, flags), origin), suffix)


def from_mapping(values: Mapping[str, Any], suffix: str = "") -> Config:
    """Make the settings of a mapping with the sections and settings of a YAML file.

    Args:
        values: sections and settings.
        suffix: of the run folder's default name.

    Raises:
        ConfigError: a setting is unknown or out of its range.
    """
    return with_output(_validate(Config, values, "the settings"), suffix)


def with_output(config: Config, suffix: str = "") -> Config:
    """Fill in the run folder's default name, runs/ and the name of the training data, where the settings name none."""
    if config.output:
        return config
    return config.model_copy(update={"output": f"runs/{Path(config.data.train).name.split('.')[0] or 'run'}{suffix}"})


def load_serve(flags: Mapping[str, Any]) -> ServeConfig:
    """Load the server's settings from flags.

    Raises:
        ConfigError: a setting is out of its range, or int8 has no file to be checked on.
    """
    config = _validate(ServeConfig, flags, THE_COMMAND_LINE, "serve")
    if config.precision == "int8" and config.check is None:
        raise ConfigError(
            "precision is int8, with no data to measure the loss of accuracy on",
            "a file with labelled rows",
            "--check FILE, which the model has not been trained on",
        )
    return config


def changed(section: _Model, changes: Mapping[str, Any]) -> _Model:
    """Return a section with other values of some settings.

    Raises:
        ConfigError: a value is out of its range.
    """
    return _validate(type(section), {**section.model_dump(), **changes}, THE_COMMAND_LINE, "evaluate")


def _validate(model: type[_Model], values: Mapping[str, Any], origin: str, command: str = "train") -> _Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _explain(error, origin, dict(settings(model)), command) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file", "a YAML file of settings", "check the path") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: a folder", "a YAML file of settings", f"try {path}/config.yaml") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start})", "a YAML file of settings") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        location = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise ConfigError(
            f"{location}: {getattr(error, 'problem', None) or 'not YAML'}", "`section:` and below it `  key: value`"
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: {type(content).__name__}, not settings", "`section:` and below it `  key: value`")
    return {key: {} if value is None and key in SECTIONS else value for key, value in content.items()}


def _explain(error: ValidationError, origin: str, names: Mapping[str, Any], command: str) -> ConfigError:
    """Explain each invalid setting in one line, however many branches of a union pydantic tried."""
    problems: dict[str, list[str]] = {}  # name -> what was got, what was expected
    for item in error.errors():
        parts = [str(part) for part in item["loc"]]
        paths = [".".join(parts[:size]) for size in range(len(parts), 0, -1)] or [""]
        # Behind the setting's name come the branches of a union, and places in a list.
        name = paths[0] if item["type"] == "extra_forbidden" else next(filter(names.__contains__, paths), paths[-1])
        if item["type"] == "extra_forbidden":
            # A key in the wrong section is the last part of some setting's name; a misspelt key is not.
            in_other_sections = [known for known in names if known.split(".")[-1] == name.split(".")[-1]]
            hint = f"did you mean {in_other_sections[0]}?" if in_other_sections else closest(name, [*names, *SECTIONS])
            problems[name] = [f"unknown setting {name}", hint]
        else:
            message = item["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
            if item["type"] == "model_type":
                message = "a section, with `key: value` lines below it"
            got = f"{name} is {item['input']!r}"
            if item["type"] == "value_error" and isinstance(item["input"], Mapping):  # of settings that exclude others
                problems.setdefault(name, [message, ""])
                continue
            problems.setdefault(name, [got, ""])
            if message not in problems[name][1]:
                problems[name][1] += (" or " if problems[name][1] else "") + message
    first, *others = problems.values()
    more = "".join(f"\n  also:     {got}{': ' + expected if expected else ''}" for got, expected in others)
    unknown = first[0].startswith("unknown")
    return ConfigError(
        f"{origin}: {first[0]}",
        "" if unknown else first[1] + more,
        ((first[1] + " " if first[1] else "") + f"`accel-clf {command} --help` lists all settings" + more)
        if unknown
        else f"`accel-clf {command} --help` explains all settings",
    )
