"""What goes wrong by the user's hand or the machine's: what was got, what was expected, what to do; and exit codes."""

import signal
from collections.abc import Sequence
from difflib import get_close_matches

from accel_clf.core.exit_codes import DATA, FAILED, INTERRUPTED, TERMINATED, USAGE


class UserError(Exception):
    """Something that the user can mend.

    Args:
        got: what was found, with its place (file and line, setting).
        expected: what would have been right.
        fix: what to do about it.
    """

    exit_code = FAILED

    def __init__(self, got: str, expected: str = "", fix: str = "") -> None:
        super().__init__(got)
        self.got, self.expected, self.fix = got, expected, fix

    def __str__(self) -> str:
        lines = [f"error: {self.got}"]
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.fix:
            lines.append(f"  to do:    {self.fix}")
        return "\n".join(lines)


class ConfigError(UserError):
    """A setting, a flag or a command that cannot be used."""

    exit_code = USAGE


class DataError(UserError):
    """Rows that cannot be read or do not fit together."""

    exit_code = DATA


class CoreFailedError(UserError):
    """A process or core that this one has started has failed, and has told why."""


class Interrupted(BaseException):
    """A signal was received. Not an Exception, so that no handler on the way swallows it.

    Args:
        signum: SIGTERM or SIGINT.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum
        self.exit_code = TERMINATED if signum == signal.SIGTERM else INTERRUPTED


def closest(word: str, choices: Sequence[str]) -> str:
    """`did you mean X?`, or nothing where no choice is near."""
    near = get_close_matches(word, choices, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else ""
