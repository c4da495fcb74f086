"""A page in one HTML file: it asks no address for anything, and nothing that it shows can run.

Templates escape what they are given; a browser runs only those scripts whose digests the page's policy has.
"""

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from accel_clf import __version__
from accel_clf.reports.names import NO_LABEL, shortened

LONGEST_IN_TABLE = 80  # characters of a name, which may take several lines
TEMPLATES = resources.files("accel_clf.reports") / "templates"


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        id: by which links lead to it.
        title: its heading.
        body: by `fragment`.
    """

    id: str
    title: str
    body: Markup


@dataclass(frozen=True)
class Fact:
    """A figure that stands out.

    Attributes:
        name: what it is.
        value: as it is shown.
        note: below it.
    """

    name: str
    value: str
    note: str = ""


@cache
def _environment() -> Environment:
    loader = PackageLoader("accel_clf.reports")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"isolated": isolated, "spoken": spoken, "NO_LABEL": NO_LABEL}
    return environment


def fragment(template: str, **values: Any) -> Markup:
    """Render a template of accel_clf/reports/templates, as a part of a page.

    Args:
        template: its file's name.
        values: that it names; all but Markup are escaped.
    """
    return Markup(_environment().get_template(template).render(values))


def render_page(
    title: str,
    sections: Sequence[Section],
    *,
    heading: str = "",
    lead: Sequence[str | Markup] = (),
    data: Any = None,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    attributes: Mapping[str, str] | None = None,
) -> str:
    """Write a page.

    Args:
        title: the window's.
        sections: in their order.
        heading: the page's, instead of its title.
        lead: lines below the heading.
        data: what scripts read from the element `page-data`, as JSON.
        styles, scripts: files of accel_clf/reports/templates, the former beside page.css.
        attributes: of the body, for scripts: name -> data attribute.

    Returns:
        The page, in UTF-8 wherever it is written.
    """
    script = "\n".join((TEMPLATES / name).read_text("utf-8") for name in scripts)
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=title,
            heading=heading or title,
            lead=lead,
            sections=sections,
            style=Markup("".join((TEMPLATES / name).read_text("utf-8") for name in ("page.css", *styles))),
            script=Markup(script),
            script_source=Markup(f"'sha256-{digest}'" if script else "'none'"),
            data=None if data is None else _json(data),
            attributes=attributes or {},
            version=__version__,
        )
    )


def isolated(name: str, longest: int = LONGEST_IN_TABLE) -> Markup:
    """Write a name that turns nothing beside it around; its title is the name where it is not shown whole."""
    shown = shortened(name, longest)
    title = Markup(' title="{}"').format(name) if name.strip() and shown != name else ""
    return Markup("<bdi{}>{}</bdi>").format(title, shown)


def spoken(name: str) -> str:
    """Write a name for an attribute, short and isolated by Unicode's own signs."""
    return f"\N{FIRST STRONG ISOLATE}{shortened(name)}\N{POP DIRECTIONAL ISOLATE}"


def _json(data: Any) -> Markup:
    """Write JSON that stands in a script element: no text in it can end the element, or begin a comment."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text.encode("utf-8", "backslashreplace").decode())
