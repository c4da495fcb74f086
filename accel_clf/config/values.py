"""Types of settings whose values are written in more than one way."""

import codecs
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field


def _parse_float(value: object) -> object:
    """Flags arrive as text: `--data.validation 0.2` is a share, `--data.validation dev.csv` a file."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _check_share(value: float | str) -> float | str:
    if isinstance(value, float) and not 0 < value < 1:
        raise ValueError("a share between 0 and 1; null for none")
    return value


def _parse_steps_or_minutes(value: object) -> object:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", str(value))
    if not match or not float(match[1]) or ("." in match[1] and not match[2]):
        raise ValueError("a number of steps (500) or of minutes (10m)")
    return str(value) if match[2] else int(match[1])


def _one_or_several(value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """Return a list of one name, as a flag gives it, as that name."""
    if not value or (len(set(value)) < len(value) and not isinstance(value, str)):
        raise ValueError("a column, or several different ones")
    return value[0] if len(value) == 1 and not isinstance(value, str) else value


def _number_as_name(value: object) -> object:
    """Return the number of a column, as YAML has it for files without a header, as its name; or those of several."""
    if isinstance(value, list | tuple):
        return tuple(map(_number_as_name, value))
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _check_separator(value: str) -> str:
    value = "\t" if value in ("\\t", "tab") else value
    if len(value) != 1 or value in '"\r\n':
        raise ValueError("one character, such as ';' or '\\t'")
    return value


def _check_encoding(value: str) -> str:
    try:
        "".encode(value)
        return codecs.lookup(value).name
    except (LookupError, ValueError):
        raise ValueError("an encoding of Python, such as utf-8, cp1252 or utf-16") from None


def _normalize_origin(value: str) -> str:
    """Return an origin as browsers send it: in lower case, without the port that its scheme implies."""
    match = re.fullmatch(r"([a-z][a-z0-9+.-]*)://([^\s/?#@,:*]+|\[[0-9a-f:.]+\])(:\d+)?/?", value.lower())
    if value != "*" and not match:
        raise ValueError("a scheme and a host, such as https://example.org or http://localhost:3000; or *")
    if not match:
        return value
    scheme, host, port = match.groups(default="")
    return f"{scheme}://{host}{'' if (scheme, port) in (('http', ':80'), ('https', ':443')) else port}"


Count = Annotated[int, Field(ge=1)]
ShareOrSource = Annotated[float | str, BeforeValidator(_parse_float), AfterValidator(_check_share)]
Origin = Annotated[str, AfterValidator(_normalize_origin)]
StepsOrMinutes = Annotated[int | str, BeforeValidator(_parse_steps_or_minutes)]
Column = Annotated[str, BeforeValidator(_number_as_name)]
Columns = Annotated[str | tuple[str, ...], BeforeValidator(_number_as_name), AfterValidator(_one_or_several)]
Separator = Annotated[str, AfterValidator(_check_separator)]
Encoding = Annotated[str, AfterValidator(_check_encoding)]
# Those that Accelerate knows.
Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio", "comet_ml", "aim", "clearml", "dvclive", "swanlab"]
