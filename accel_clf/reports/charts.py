"""Charts for pages, by matplotlib: SVG in the colours of the page, light or dark, beside a table of the figures."""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from accel_clf.core.errors import ConfigError

# Stand-ins that matplotlib draws with; the page's variables, by which its style names colours, replace them.
INK, SOFT, LINE, PAPER, ACCENT, BAD = "#010101", "#010102", "#010103", "#010104", "#010105", "#010106"
SERIES = ("#010111", "#010112", "#010113", "#010114", "#010115", "#010116")
VARIABLES = {
    INK: "ink", SOFT: "soft", LINE: "line", PAPER: "card", ACCENT: "accent", BAD: "bad",
    **{colour: f"series-{number}" for number, colour in enumerate(SERIES, 1)},
}  # fmt: skip
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "accel_clf",
    "text.parse_math": False,  # labels are whatever users have, dollars too
    "text.color": INK,
    "font.size": 10,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "lines.linewidth": 2,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}
LONGEST_NAME = 24  # of a label in a chart, in characters


@dataclass(frozen=True)
class Chart:
    """A drawing, and what it shows as a table.

    Attributes:
        title: what is shown.
        svg: the drawing.
        headers, rows: the figures; none where a table stands beside it anyway.
    """

    title: str
    svg: Markup
    headers: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()


def check_installed() -> None:
    """Raise ConfigError if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        raise ConfigError(
            "matplotlib is not installed", "what charts are drawn by", "pip install 'accel_clf[report]'"
        ) from None


def draw(
    name: str,
    title: str,
    description: str,
    paint: Callable[[Any], None],
    *,
    headers: Sequence[str] = (),
    rows: Sequence[Sequence[Any]] = (),
    size: tuple[float, float] = (4.4, 2.9),
) -> Chart:
    """Draw a chart.

    Args:
        name: of its SVG element, and what the ids in it begin with: unique on the page.
        title: what is shown.
        description: what there is to see, for those who do not.
        paint: draws on matplotlib's axes, in this file's colours.
        headers, rows: the figures as a table.
        size: width and height, in inches of 72 units.
    """
    check_installed()
    import matplotlib
    from matplotlib.figure import Figure

    file = io.StringIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # the browser has fonts of its own
        figure = Figure(figsize=size, layout="constrained")
        paint(figure.add_subplot())
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Chart(title, _themed(file.getvalue(), name, f"{title}. {description}"), headers, rows)


def _themed(svg: str, name: str, description: str) -> Markup:
    """Make a document of matplotlib's a part of a page: colours by its variables, ids that no other drawing has."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\b(id="|url\(#|xlink:href="#|[^:]href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub('font-family: [^;"]*;? ?', "", svg)
    svg = re.sub(r"#0101\d\d", lambda colour: f"var(--{VARIABLES[colour[0]]})", svg)
    view = re.search(r'viewBox="[^"]*"', svg)
    assert view, "matplotlib writes one"
    body = svg[svg.index(">") + 1 :]
    head = f'<svg id="{name}" {view[0]} role="img" aria-label="{escape(description)}" focusable="false"'
    return Markup(f'{head} xmlns:xlink="http://www.w3.org/1999/xlink">{body.strip()}')
