"""The model in a separate process.

In the HTTP process, its operations would wait for the interpreter's lock, which request threads hold.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from accel_clf.config.schema import Config
from accel_clf.config.serve_schema import ServeConfig
from accel_clf.core.errors import UserError
from accel_clf.data.tokenizers import ends_in_texts, is_fast, token_for_nothing
from accel_clf.inference.failures import Failure
from accel_clf.serving.errors import WorkerDiedError
from accel_clf.targets.base import Target

if TYPE_CHECKING:
    from accel_clf.inference.predictor import Predictor

# Tokens per batch from which the device's matrix products are efficient; larger batches only add latency.
MAX_BATCH_TOKENS = {"cpu": 4096}
DEFAULT_MAX_BATCH_TOKENS = 16384  # on other devices
SHUTDOWN_SECONDS = 5.0
# The HTTP process goes first: it reads requests, answers health checks and rejects excess load, which takes little
# time and cannot wait.
WORKER_NICENESS = 5

LoadPredictor = Callable[[Path, ServeConfig], "Predictor"]


@dataclass(frozen=True)
class LoadedModel:
    """Description of the model that a worker has loaded.

    Attributes:
        config: the run's settings.
        target: what it predicts.
        models: number of models in the ensemble.
        temperature: what logits are divided by.
        precision: the precision of matrix products.
        device: the device that the model runs on.
        tokenizer: the tokenizers library's JSON; or a tokenizer that is written in Python.
        truncation_side: "left" or "right".
        ends_in_texts: see `tokenizers.ends_in_texts`.
        token_for_nothing: that of a text which has none.
        with_types: whether it takes token types.
    """

    config: Config
    target: Target
    models: int
    temperature: float
    precision: str
    device: str
    tokenizer: Any
    truncation_side: str
    ends_in_texts: tuple[int, int] | None
    token_for_nothing: int
    with_types: bool

    def answers_as(self, other: "LoadedModel") -> bool:
        """Whether the same tokens go in as for another model, and answers of the same meaning come out."""

        def outside(model: LoadedModel) -> tuple[object, ...]:
            return (
                model.target.kind, model.target.names, model.target.thresholds_by_name(), model.models,
                model.temperature, model.tokenizer, model.truncation_side, model.ends_in_texts, model.token_for_nothing,
                model.with_types, model.config.data,
            )  # fmt: skip

        return outside(self) == outside(other)


class Worker:
    """A process that has loaded a run and computes logits with it.

    It ends when this object or its parent process does, and ignores SIGINT and SIGTERM.

    Args:
        load: a module-level function that loads the run, called in the new process.
        run: the run folder, passed to `load`.
        settings: the server's settings, passed to `load`.

    Attributes:
        model: description of the model that the process has loaded.

    Raises:
        UserError: raised by `load`.
        WorkerDiedError: the process has ended.
    """

    def __init__(self, load: LoadPredictor, run: Path, settings: ServeConfig) -> None:
        python_path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)  # the same packages as here
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {__name__} import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": python_path},
        )
        self._is_stopped = threading.Event()
        self._stop = weakref.finalize(self, _stop_process, self._process, self._is_stopped)
        result = self._call((load, run, settings))
        if isinstance(result, UserError):
            self.close()
            raise result
        assert isinstance(result, LoadedModel)
        self.model = result

    @property
    def is_alive(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    def answer_batch(self, rows: Sequence[np.ndarray]) -> tuple[np.ndarray, dict[int, Failure]]:
        """Return what `Predictor.answer_batch` does of one batch. Not thread-safe.

        Args:
            rows: token ids, int [length] each; or, with token types, [length, 2].

        Raises:
            WorkerDiedError: the process has ended.
        """
        answer = self._call(rows)
        assert isinstance(answer, tuple)
        return answer

    def wait_for_death(self) -> str:
        """Wait until the process ends, and return how; "" if it has been closed."""
        code = self._process.wait()
        return "" if self._is_stopped.is_set() else _describe_end(code)

    def close(self) -> None:
        """Stop the process."""
        self._stop()

    def _call(self, message: object) -> object:
        assert self._process.stdin and self._process.stdout, "both are pipes"
        try:
            _send(message, self._process.stdin)
            return pickle.load(self._process.stdout)
        except (OSError, EOFError):
            raise WorkerDiedError(_describe_end(self._process.wait())) from None


def load_predictor(run: Path, settings: ServeConfig) -> "Predictor":
    """Load and warm up a run's predictor according to the server's settings.

    Raises:
        ConfigError: the folder is not a trained run's, or int8 loses more accuracy than `max_loss`.
    """
    import torch

    from accel_clf.inference.bulk import check_int8
    from accel_clf.inference.predictor import Predictor

    if settings.threads:
        torch.set_num_threads(settings.threads)
    if settings.precision == "int8":
        assert settings.check is not None
        check_int8(run, settings.check, settings.max_loss)
    predictor = Predictor(run, settings.precision, low_latency=True, risk=settings.risk)
    predictor.warm_up(max_batch_tokens(settings, str(predictor.strategy.device)))
    return predictor


def describe(predictor: "Predictor") -> LoadedModel:
    """Describe a predictor to the process that answers HTTP."""
    tokenizer = predictor.tokenizer
    return LoadedModel(
        config=predictor.config,
        target=predictor.target,
        models=len(predictor.models),
        temperature=predictor.temperature,
        precision=predictor.precision,
        device=str(predictor.strategy.device),
        tokenizer=tokenizer.backend_tokenizer.to_str() if is_fast(tokenizer) else tokenizer,
        truncation_side=tokenizer.truncation_side,
        ends_in_texts=ends_in_texts(tokenizer),
        token_for_nothing=token_for_nothing(tokenizer),
        with_types=predictor.with_types,
    )


def max_batch_tokens(settings: ServeConfig, device: str) -> int:
    """Return the size limit of a batch in tokens, including padding: the setting's, or the device's default."""
    return settings.batch_tokens or MAX_BATCH_TOKENS.get(device, DEFAULT_MAX_BATCH_TOKENS)


def main() -> None:
    """Run the process: load the model, describe it, then compute logits until the parent closes the pipe."""
    # A terminal and an init system send these to all processes; this one must outlive the requests in flight.
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    if hasattr(os, "nice"):  # not on Windows
        os.nice(WORKER_NICENESS)
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what libraries print must not end up among the replies
    try:
        load, run, settings = pickle.load(requests)
        try:
            predictor = load(run, settings)
        except UserError as error:
            _send(error, replies)
            return
        _send(describe(predictor), replies)
        while True:
            _send(predictor.answer_batch(pickle.load(requests)), replies)
    except (EOFError, BrokenPipeError):
        return


def _send(message: object, pipe: IO[bytes]) -> None:
    pickle.dump(message, pipe, pickle.HIGHEST_PROTOCOL)
    pipe.flush()


def _describe_end(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"exited with code {code}; see its output above"


def _stop_process(process: "subprocess.Popen[bytes]", is_stopped: threading.Event) -> None:
    is_stopped.set()
    assert process.stdin and process.stdout, "both are pipes"
    with suppress(OSError):  # the process has ended before reading everything
        process.stdin.close()
    try:
        process.wait(SHUTDOWN_SECONDS)
    except subprocess.TimeoutExpired:  # in the middle of a batch whose requests are all abandoned
        process.kill()
        process.wait()
    process.stdout.close()  # last: a thread that is still reading it holds its lock
