"""Where a page may be written: never over what somebody else has made."""

import tempfile
from pathlib import Path

from accel_clf.core.errors import ConfigError

OF_OURS = b"<footer>accel_clf "  # in every page, see templates/page.html


def check_output(path: Path) -> None:
    """Check that a page can be written, before it is made.

    Raises:
        ConfigError: the name is not that of a page, or that of a file that is none of this program's, or nothing can be
            written there.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--output {path}", "the name of a page, such as compare.html")
    try:
        folder = next(folder for folder in path.absolute().parents if folder.exists())
        if path.is_dir():
            raise ConfigError(f"{path} is a folder", "the name of a page", "choose another name")
        if path.exists() and not _is_ours(path.read_bytes()):
            raise ConfigError(
                f"{path} exists, and is no page that accel-clf has written",
                "a new file, or an earlier page",
                "choose another name, or remove it first",
            )
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror})", "a folder for a page", "choose another by --output"
        ) from None


def _is_ours(content: bytes) -> bool:
    return not content or (content.startswith(b"<!doctype html>") and OF_OURS in content)
