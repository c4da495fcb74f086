"""Run a command: whatever ends it becomes an exit code and one screen on standard error."""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType

from accel_clf.core.errors import Interrupted, UserError
from accel_clf.core.exit_codes import FAILED, INTERRUPTED, TERMINATED
from accel_clf.core.process_env import is_distributed, is_main_process

_OS_FIXES = {
    errno.ENOSPC: "free some space on that disk, then run the same command again",
    errno.EDQUOT: "free some of your quota on that disk, then run the same command again",
    errno.EACCES: "mend the permissions, or choose another place with --output",
    errno.EPERM: "mend the permissions, or choose another place with --output",
    errno.EROFS: "that disk can only be read: choose another place with --output",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path: one of its folders is a file",
}


def _is_lost_contact(error: Exception) -> bool:
    """Whether a collective has failed, which another process is the reason of, and tells."""
    message = str(error).lower()  # of a RuntimeError, whatever the library; it has kinds of its own for some only
    lost = isinstance(error, RuntimeError) and any(word in message for word in ("gloo", "nccl", "connection"))
    return lost and is_distributed()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else "no message"


def run_command(command: Callable[[], int], debug: bool = False) -> int:
    """Run `command` and turn whatever ends it into an exit code and one screen on standard error."""

    def terminate(signum: int, frame: FrameType | None) -> None:
        raise Interrupted(signum)

    signal.signal(signal.SIGTERM, terminate)
    try:
        return command()
    except UserError as error:
        if debug:
            traceback.print_exc()
        elif is_main_process():
            print(error, file=sys.stderr)
        else:  # the first process most likely has the same to say, at length
            print(f"process {os.environ['RANK']}: {error.got}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Interrupted as error:
        print("terminated" if error.exit_code == TERMINATED else "interrupted", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # `accel-clf predict ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        if debug:
            traceback.print_exc()
        print(
            UserError(
                f"{error.strerror or error}" + (f": {error.filename}" if error.filename else ""),
                fix=_OS_FIXES.get(error.errno or 0, "run again with --debug for the traceback"),
            ),
            file=sys.stderr,
        )
        return FAILED
    except Exception as error:
        if _is_lost_contact(error):
            told = f"process {os.environ['RANK']}: another process has ended or does not answer ({_first_line(error)})"
            print(told, file=sys.stderr)
            return FAILED
        traced = debug or is_distributed()  # of several processes, which fail for the first one's reason
        if traced:
            traceback.print_exc()
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"it ends in {place.filename}:{place.lineno}"
        print(
            UserError(
                f"{type(error).__name__}: {_first_line(error)}",
                fix=f"see the traceback; {where}" if traced else f"run again with --debug for the traceback ({where})",
            ),
            file=sys.stderr,
        )
        return FAILED
