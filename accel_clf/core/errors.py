"""The errors that end a command, each with what was got, what was expected, what to do, and an exit code.

Exception
├── UserError                  1  something the user can fix
│   ├── ConfigError            2  a setting, a flag or a command that cannot be used
│   ├── DataError             65  rows that cannot be read or do not fit together
│   │   └── MissingColumnError    a table has no column of that name
│   ├── CoreFailedError        1  a process or an XLA core that this process has started has failed
│   ├── DamagedError           1  a damaged checkpoint (training/checkpoint)
│   └── WorkerDiedError        1  the server's model process has ended (serving/errors)
├── ApiError                      a request answered with an HTTP error status (serving/errors, as all below)
├── TooLongError                  a text has more tokens than the model takes
├── FailedTextsError              the model fails on texts of the request
├── OverloadedError               too many requests in flight
├── RequestTimeoutError           a request was not answered in time
├── ClientDisconnectedError       the client has closed its connection
└── ShuttingDownError             the server is shutting down
BaseException
└── Interrupted          143/130  SIGTERM/SIGINT was received

The errors without an exit code end a request, not a command.
"""

import signal
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from accel_clf.core.exit_codes import DATA, FAILED, INTERRUPTED, TERMINATED, USAGE


class UserError(Exception):
    """Something that the user can fix.

    Args:
        got: what was got, and where (file and line, setting).
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


class MissingColumnError(DataError):
    """A table has no column of that name.

    Args:
        got, expected, fix: see UserError.
        names: the columns that it has.
        flags: short flag -> column, with which the command would work; empty where that is not known.
    """

    def __init__(
        self, got: str, expected: str, fix: str, names: Sequence[str], flags: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(got, expected, fix)
        self.names, self.flags = tuple(names), dict(flags or {})


class CoreFailedError(UserError):
    """A process or an XLA core that this process has started has failed, and has reported why."""


class Interrupted(BaseException):
    """A signal was received. Not an Exception, so that no handler on the way up swallows it.

    Args:
        signum: SIGTERM or SIGINT.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum
        self.exit_code = TERMINATED if signum == signal.SIGTERM else INTERRUPTED


def is_of_input(error: Exception) -> bool:
    """Return whether an exception of other code may be about what it was given, rather than a defect of that code."""
    return isinstance(error, ValueError | IndexError | RuntimeError) or type(error) is Exception  # as tokenizers raise


def closest(word: str, choices: Sequence[str]) -> str:
    """Return `did you mean X?` for the closest choice, or "" where none is similar."""
    matches = get_close_matches(word, choices, n=1, cutoff=0.6)
    return f"did you mean {matches[0]}?" if matches else ""
