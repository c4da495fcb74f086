"""The model in a process of its own: beside threads that speak HTTP, its operations would wait for their lock."""

import os
import pickle
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from accel_clf.config.schema import Config, ServeConfig
from accel_clf.core.errors import UserError

if TYPE_CHECKING:
    from accel_clf.inference.predictor import Predictor

# Tokens that make the device's matrix products efficient; more would only make the first of them wait for the last.
BATCH_TOKENS = {"cpu": 4096}
BATCH_TOKENS_ELSEWHERE = 16384
SECONDS_TO_END = 5.0
WORKER_NICENESS = (
    5  # whoever reads requests, says how it is, and refuses what is too much: they take little, and cannot wait
)

Load = Callable[[Path, ServeConfig], "Predictor"]


@dataclass(frozen=True)
class Loaded:
    """What there is to know of a model that another process has.

    Attributes:
        config: the run's settings.
        labels: the label names, in the order of the logits' columns.
        models: how many.
        temperature: what logits are divided by.
        precision: that matrix products have.
        device: that computes.
        tokenizer: as JSON of the tokenizers library.
        truncation_side: where it cuts.
    """

    config: Config
    labels: tuple[str, ...]
    models: int
    temperature: float
    precision: str
    device: str
    tokenizer: str
    truncation_side: str


class Worker:
    """A process that has loaded a run and answers with it.

    It ends when this object or its process does, whatever signals it is sent but SIGKILL.

    Args:
        load: a function of a module, which loads the run; called there.
        run, settings: what `load` is given.

    Attributes:
        loaded: what it has loaded.

    Raises:
        UserError: whatever `load` has raised, or that the process has ended.
    """

    def __init__(self, load: Load, run: Path, settings: ServeConfig) -> None:
        path = os.pathsep.join(place or os.getcwd() for place in sys.path)  # the same packages as here
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {__name__} import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._end = weakref.finalize(self, _end, self._process)
        found = self._ask((load, run, settings))
        if isinstance(found, UserError):
            self.close()
            raise found
        assert isinstance(found, Loaded)
        self.loaded = found

    @property
    def alive(self) -> bool:
        """Whether it is there."""
        return self._process.poll() is None

    def logits_batch(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """One batch's logits by each model: float32 [rows, models, classes]; for one thread.

        Args:
            rows: token ids, int [length] each.

        Raises:
            UserError: it has ended.
        """
        found = self._ask(rows)
        assert isinstance(found, np.ndarray)
        return found

    def close(self) -> None:
        """End it."""
        self._end()

    def _ask(self, what: object) -> object:
        assert self._process.stdin and self._process.stdout, "both are pipes"
        try:
            _send(what, self._process.stdin)
            return pickle.load(self._process.stdout)
        except (OSError, EOFError):
            code = self._process.wait()
            told = f"by signal {-code}" if code < 0 else f"with exit code {code}; what it said is above"
            raise UserError(f"the model's process has ended {told}") from None


def _end(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin and process.stdout, "both are pipes"
    with suppress(BrokenPipeError):  # it has ended before it has read all
        process.stdin.close()
    try:
        process.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:  # amid a batch that nobody waits for any more
        process.kill()
        process.wait()
    process.stdout.close()  # last: a thread that still reads it has its lock


def _send(what: object, to: IO[bytes]) -> None:
    pickle.dump(what, to, pickle.HIGHEST_PROTOCOL)
    to.flush()


def load(run: Path, settings: ServeConfig) -> "Predictor":
    """Load a run as the server's settings say.

    Raises:
        ConfigError: the folder is not a trained run's; or int8 costs more accuracy than it may.
    """
    import torch

    from accel_clf.inference.bulk import check_int8_accuracy
    from accel_clf.inference.predictor import Predictor

    if settings.threads:
        torch.set_num_threads(settings.threads)
    if settings.precision == "int8":
        assert settings.check is not None
        check_int8_accuracy(run, settings.check, settings.max_loss)
    predictor = Predictor(run, settings.precision, low_latency=True)
    predictor.warm_up(batch_tokens(settings, str(predictor.strategy.device)))
    return predictor


def batch_tokens(settings: ServeConfig, device: str) -> int:
    """Most that a batch may have, padding counted."""
    return settings.batch_tokens or BATCH_TOKENS.get(device, BATCH_TOKENS_ELSEWHERE)


def main() -> None:
    """What the process does: load, tell, and answer until nobody asks any more."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to all at once, it would end before requests are answered
        signal.signal(number, signal.SIG_IGN)
    if hasattr(os, "nice"):  # not on Windows
        os.nice(WORKER_NICENESS)
    asked, answered = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what libraries print is not an answer
    try:
        make, run, settings = pickle.load(asked)
        try:
            predictor = make(run, settings)
        except UserError as error:
            _send(error, answered)
            return
        _send(
            Loaded(
                config=predictor.config,
                labels=predictor.labels,
                models=len(predictor.models),
                temperature=predictor.temperature,
                precision=predictor.precision,
                device=str(predictor.strategy.device),
                tokenizer=predictor.tokenizer.backend_tokenizer.to_str(),
                truncation_side=predictor.tokenizer.truncation_side,
            ),
            answered,
        )
        while True:
            _send(predictor.logits_batch(pickle.load(asked)), answered)
    except (EOFError, BrokenPipeError):
        return
