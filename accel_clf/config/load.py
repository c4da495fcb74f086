"""Read settings: a YAML file and flags become a Config, or an error that names the setting."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from accel_clf.config.schema import SECTIONS, Config, Section, ServeConfig, merge, settings
from accel_clf.core.errors import ConfigError, closest

_Model = TypeVar("_Model", bound=Section)


THE_COMMAND_LINE = "the command line"


def load(path: str | Path | None, flags: Mapping[str, Any], kind: str = "") -> Config:
    """The settings of a YAML file (or of none), with `flags` over them.

    Args:
        path: the file.
        flags: sections and settings.
        kind: the end of the run folder's name, where the settings name none.

    Raises:
        ConfigError: the file cannot be read, or a setting is unknown or out of its range.
    """
    given = _read_yaml(Path(path)) if path is not None else {}
    config = _checked(Config, merge(given, flags), str(path) if path is not None else THE_COMMAND_LINE)
    if config.output:
        return config
    return config.model_copy(update={"output": f"runs/{Path(config.data.train).name.split('.')[0] or 'run'}{kind}"})


def load_serve(flags: Mapping[str, Any]) -> ServeConfig:
    """The server's settings.

    Raises:
        ConfigError: one is out of its range, or int8 has nothing to be checked on.
    """
    settings = _checked(ServeConfig, flags, THE_COMMAND_LINE, "serve")
    if settings.precision == "int8" and settings.check is None:
        raise ConfigError(
            "precision is int8, and nothing shows what that costs in accuracy",
            "a file with labelled rows",
            "--check FILE, which the model has not been trained on",
        )
    return settings


def _checked(model: type[_Model], given: Mapping[str, Any], origin: str, command: str = "train") -> _Model:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise _explain(error, origin, dict(settings(model)), command) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file", "a YAML file of settings", "check the path") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: a folder", "a YAML file of settings", f"try {path}/config.yaml") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start})", "a YAML file of settings") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise ConfigError(
            f"{place}: {getattr(error, 'problem', None) or 'not YAML'}", "`section:` and below it `  key: value`"
        ) from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: {type(loaded).__name__}, not settings", "`section:` and below it `  key: value`")
    return {key: {} if value is None and key in SECTIONS else value for key, value in loaded.items()}


def _explain(error: ValidationError, origin: str, names: Mapping[str, Any], command: str) -> ConfigError:
    """One line a setting, however many branches of a union pydantic tried."""
    problems: dict[str, list[str]] = {}
    for item in error.errors():
        parts = [str(part) for part in item["loc"]]
        name = ".".join(parts[: 2 if parts and parts[0] in SECTIONS else 1])
        if item["type"] == "extra_forbidden":
            # A key in the wrong section is told from a misspelt one by its last part.
            moved = [known for known in names if known.split(".")[-1] == name.split(".")[-1]]
            hint = f"did you mean {moved[0]}?" if moved else closest(name, [*names, *SECTIONS])
            problems[name] = [f"unknown setting {name}", hint]
        else:
            message = item["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
            if item["type"] == "model_type":
                message = "a section, with `key: value` lines below it"
            got = f"{name} is {item['input']!r}"
            problems.setdefault(name, [got, ""])
            if message not in problems[name][1]:
                problems[name][1] += (" or " if problems[name][1] else "") + message
    first, *others = problems.values()
    more = "".join(f"\n  also:     {got}{': ' + expected if expected else ''}" for got, expected in others)
    unknown = first[0].startswith("unknown")
    return ConfigError(
        f"{origin}: {first[0]}",
        "" if unknown else first[1] + more,
        ((first[1] + " " if first[1] else "") + f"`accel-clf {command} --help` lists every setting" + more)
        if unknown
        else f"`accel-clf {command} --help` says what each setting means",
    )
