"""What ends a command: which errors are another process's, and when a traceback is shown."""

import io
import sys
from collections.abc import Callable

import pytest
import torch.distributed

from accel_clf.core.command import run_command
from accel_clf.core.errors import ConfigError, Interrupted
from accel_clf.core.exit_codes import FAILED, TERMINATED, USAGE

PAIR = "/__w/pytorch/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc"
BUFFER = "/__w/pytorch/pytorch/third_party/gloo/gloo/transport/tcp/unbound_buffer.cc"
CHECK_THE_LOGS = "Check the logs of the remote worker before reporting an error. GLHF! 🏖️"
READ_ERROR = (
    f"[{PAIR}:537] Read error [127.0.0.1]:32154: Connection reset by peer. This is typically caused by a remote worker "
    f"hanging or bugs in the application. {CHECK_THE_LOGS}"
)

LOST_PEERS: dict[str, Exception] = {
    "gloo: the peer was killed": RuntimeError(
        f"[{PAIR}:553] Connection closed by peer [127.0.0.1]:8114. "
        f"This is typically caused by a remote worker crashing. {CHECK_THE_LOGS}"
    ),
    "gloo: the peer has exited": RuntimeError(READ_ERROR),
    "gloo: the peer is stopped": RuntimeError(f"[{BUFFER}:78] Timed out waiting 1000ms for recv operation to complete"),
    "gloo: writing to the peer": RuntimeError(f"[{PAIR}:244] writev [127.0.0.1]:8114: Broken pipe"),
    "gloo: a monitored barrier": RuntimeError(
        f"[Rank 0]: Rank 1 failed to pass monitoredBarrier in 1800000 ms\n Original exception: \n{READ_ERROR}"
    ),
    "gloo: an older torch": RuntimeError(
        "[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.7]:45678"
    ),
    "the store: a peer never came": torch.distributed.DistStoreError(
        "Timed out after 4 seconds waiting for clients. 1/2 clients joined."
    ),
    "the store: rank 0 has exited": torch.distributed.DistNetworkError(
        "Failed to recv, got 0 bytes. Connection was likely closed. Did the remote server shutdown or crash?"
    ),
    "nccl": torch.distributed.DistBackendError(
        "NCCL error in: ../torch/csrc/distributed/c10d/NCCLUtils.cpp:66, remote process exited or there was a network "
        "error, NCCL version 2.21.5"
    ),
}

OTHER_ERRORS: dict[str, Exception] = {
    "a user's connection": RuntimeError("the connection to the feature store was closed"),
    "the words without gloo": RuntimeError("Connection reset by peer"),
    "a user's package": RuntimeError("this build of my_ops needs nccl or gloo"),
    "gloo: an assertion": RuntimeError(
        f"[enforce fail at {PAIR}:446] op.preamble.length <= op.preamble.nbytes. 2000000 vs 4000"
    ),
    "gloo: no address": RuntimeError(
        "[enforce fail at ../third_party/gloo/gloo/transport/tcp/device.cc:83] ifa != nullptr. "
        "Unable to find address for: eth7"
    ),
    "not a RuntimeError": ValueError(f"[{PAIR}:553] Connection closed by peer [127.0.0.1]:8114"),
}


def failing(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")


@pytest.mark.usefixtures("two_processes")
@pytest.mark.parametrize("case", LOST_PEERS)
def test_lost_peer_is_reported_in_one_line(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(failing(LOST_PEERS[case])) == FAILED
    first_line = str(LOST_PEERS[case]).splitlines()[0]
    expected = f"process 1: another process has ended or does not answer ({first_line})\n"
    assert capsys.readouterr().err == expected


@pytest.mark.usefixtures("two_processes")
@pytest.mark.parametrize("case", LOST_PEERS)
def test_debug_shows_the_traceback_of_a_lost_peer(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(failing(LOST_PEERS[case]), debug=True) == FAILED
    message = capsys.readouterr().err
    assert message.startswith("Traceback")
    assert message.splitlines()[-1].startswith("process 1: another process has ended or does not answer")


@pytest.mark.usefixtures("two_processes")
@pytest.mark.parametrize("case", OTHER_ERRORS)
def test_error_of_this_process_is_no_lost_peer(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each of several processes shows its traceback, as the first one to fail has the cause."""
    assert run_command(failing(OTHER_ERRORS[case])) == FAILED
    message = capsys.readouterr().err
    assert message.startswith("Traceback")
    assert "another process" not in message
    assert f"error: {type(OTHER_ERRORS[case]).__name__}: {OTHER_ERRORS[case]}\n" in message
    assert "see the traceback; it ends in" in message


@pytest.mark.parametrize("case", LOST_PEERS)
def test_single_process_loses_no_peer(
    case: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert run_command(failing(LOST_PEERS[case])) == FAILED
    message = capsys.readouterr().err
    assert "another process has ended" not in message
    assert "Traceback" not in message
    assert "run again with --debug for the traceback" in message


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("no such setting"), USAGE),
        (OSError(28, "No space left on device"), FAILED),
        (ValueError("a bug"), FAILED),
    ],
    ids=["user error", "disk", "bug"],
)
def test_debug_shows_the_traceback_of_any_error(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert run_command(failing(error), debug=True) == code
    assert capsys.readouterr().err.startswith("Traceback")
    assert run_command(failing(error)) == code
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert "Traceback" not in message


def test_signal_has_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(failing(Interrupted(15)), debug=True) == TERMINATED
    assert capsys.readouterr().err == "terminated\n"


def test_texts_of_any_script_are_written_to_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows' encoding of pipes has none of these letters."""
    pipes = {name: io.TextIOWrapper(io.BytesIO(), encoding="cp1252", newline="") for name in ("stdout", "stderr")}
    for name, pipe in pipes.items():
        monkeypatch.setattr(sys, name, pipe)

    def command() -> int:
        print("गाना سؤال 書")
        raise ConfigError("model गाना: no such folder")

    assert run_command(command) == USAGE
    stdout, stderr = (pipe.detach().getvalue().decode() for pipe in pipes.values() if not pipe.flush())
    assert stdout == "गाना سؤال 書\n"
    assert "model गाना: no such folder" in stderr
