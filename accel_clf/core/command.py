"""Run a command: whatever ends it becomes an exit code and one screen of text on standard error."""

import errno
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType

from accel_clf.core.console import write_utf8
from accel_clf.core.errors import Interrupted, UserError
from accel_clf.core.exit_codes import FAILED, INTERRUPTED, TERMINATED
from accel_clf.core.process_env import is_distributed, is_main_process, rank

_OS_FIXES = {
    errno.ENOSPC: "free some space on that disk, then run the same command again",
    errno.EDQUOT: "free some of your quota on that disk, then run the same command again",
    errno.EACCES: "fix the permissions, or choose another folder with --output",
    errno.EPERM: "fix the permissions, or choose another folder with --output",
    errno.EROFS: "that disk is read-only: choose another folder with --output",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path: one of its folders is a file",
}
# gloo's messages start with the source line: "[/pytorch/.../gloo/transport/tcp/pair.cc:553] Connection closed by peer".
# Its failed assertions, "[enforce fail at /.../pair.cc:446] a == b", have other causes and do not match.
_GLOO_PEER_ERROR = re.compile(
    r"/gloo/transport/\S+:\d+\] .*?"
    r"(closed by peer|Connection re(set|fused)|Broken pipe|Read error|Timed out waiting \d+ms|timeout)"
)


def _is_lost_peer(error: Exception) -> bool:
    """Return whether a collective has failed because of another process, which reports the reason itself."""
    distributed = sys.modules.get("torch.distributed")  # not imported: without it there are no peers
    transport_error = getattr(distributed, "DistError", None)  # of NCCL and of the store; gloo has no class of its own
    return is_distributed() and (
        (transport_error is not None and isinstance(error, transport_error))
        or (isinstance(error, RuntimeError) and _GLOO_PEER_ERROR.search(str(error)) is not None)
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else "no message"


def run_command(command: Callable[[], int], debug: bool = False) -> int:
    """Run `command` and return its exit code, or that of whatever ended it, explained on standard error.

    Args:
        command: returns its exit code.
        debug: whether to show the traceback of an error, whatever its class.
    """

    def terminate(signum: int, frame: FrameType | None) -> None:
        raise Interrupted(signum)

    signal.signal(signal.SIGTERM, terminate)
    write_utf8()
    try:
        return command()
    except UserError as error:
        if debug:
            traceback.print_exc()
        elif is_main_process():
            print(error, file=sys.stderr)
        else:  # rank 0 most likely reports the same error in full
            print(f"process {rank()}: {error.got}", file=sys.stderr)
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
        is_lost_peer = _is_lost_peer(error)
        # Where several processes fail, each shows its traceback: the first to fail has the cause.
        with_traceback = debug or (is_distributed() and not is_lost_peer)
        if with_traceback:
            traceback.print_exc()
        if is_lost_peer:
            message = f"another process has ended or does not answer ({_first_line(error)})"
            print(f"process {rank()}: {message}", file=sys.stderr)
            return FAILED
        last_frame = traceback.extract_tb(error.__traceback__)[-1]
        location = f"it ends in {last_frame.filename}:{last_frame.lineno}"
        print(
            UserError(
                f"{type(error).__name__}: {_first_line(error)}",
                fix=f"see the traceback; {location}"
                if with_traceback
                else f"run again with --debug for the traceback ({location})",
            ),
            file=sys.stderr,
        )
        return FAILED
