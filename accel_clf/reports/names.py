"""Names of labels and slices on a page: they are whatever users have, so each keeps its place and its direction."""

from markupsafe import Markup

from accel_clf.reports.charts import LONGEST_NAME, shortened

LONGEST = 80  # characters of a name in a table


def plain(name: str, longest: int = LONGEST) -> str:
    """Write a name on one line, and not too long.

    Args:
        name: of a label or a slice.
        longest: in characters.
    """
    shown = shortened(name, longest)
    return shown if shown.strip() else "(empty)"


def isolated(name: str, longest: int = LONGEST) -> Markup:
    """Write a name that turns nothing beside it around; its title is the name where `plain` has changed it."""
    shown = plain(name, longest)
    title = Markup(' title="{}"').format(name) if name.strip() and shown != name else ""
    return Markup("<bdi{}>{}</bdi>").format(title, shown)


def spoken(name: str) -> str:
    """Write a name for an attribute, short and isolated by Unicode's own signs."""
    return f"\N{FIRST STRONG ISOLATE}{plain(name, LONGEST_NAME)}\N{POP DIRECTIONAL ISOLATE}"
