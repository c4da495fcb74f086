"""Batches made ahead: in order, by a thread that ends with its iterator, and safely across a GPU's streams."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from accel_clf.config.load import load
from accel_clf.strategies import accelerate
from accel_clf.strategies.accelerate import AccelerateStrategy
from accel_clf.strategies.loader import prefetch_to_gpu, run_ahead


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("batches")}


def test_items_come_in_order_and_the_thread_ends() -> None:
    assert list(run_ahead(range(100), 3)) == list(range(100))
    assert list(run_ahead([], 3)) == []
    assert not threads()


def test_only_so_many_are_made_ahead() -> None:
    made = []

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    ahead = run_ahead(items(), 3)
    assert [next(ahead) for _ in range(5)] == [0, 1, 2, 3, 4]
    ahead.close()
    assert len(made) <= 5 + 3
    assert not threads()


def test_error_comes_in_the_place_of_its_item() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("disk")

    ahead = run_ahead(items(), 4)
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(OSError, match="disk"):
        next(ahead)
    assert not threads()


def test_steps_wait_for_the_copy_and_keep_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """With streams that only write down what is asked of them."""
    log: list[tuple[Any, ...]] = []
    current = ["steps"]

    class Stream:
        def __init__(self, name: Any) -> None:
            self.name = name if name == "steps" else "copies"

        def record_event(self) -> str:
            log.append(("record", self.name))
            return "arrival"

        def wait_event(self, event: str) -> None:
            log.append(("wait", self.name, event))

    @contextmanager
    def stream_context(stream: Stream) -> Iterator[None]:
        before, current[0] = current[0], stream.name
        yield
        current[0] = before

    def batches() -> Iterator[dict[str, Any]]:
        for number in range(2):
            log.append(("copy", current[0]))
            yield {"input_ids": torch.tensor([number]), "max_seqlen": 8}

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", stream_context)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream("steps"))
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, stream: log.append(("keep", stream.name)))
    yielded = [int(batch["input_ids"]) for batch in prefetch_to_gpu(batches(), torch.device("cuda"), 1)]
    assert yielded == [0, 1]
    assert log.count(("copy", "copies")) == 2
    assert log.count(("wait", "steps", "arrival")) == log.count(("keep", "steps")) == 2
    assert log.index(("copy", "copies")) < log.index(("record", "copies")) < log.index(("wait", "steps", "arrival"))


def test_gpu_takes_the_varlen_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerate.Accelerator, "device", torch.device("cuda"))
    monkeypatch.setattr(accelerate, "_device_name", lambda device: "a GPU")
    strategy = AccelerateStrategy("fp32")
    assert strategy.layout == "varlen"
    for setting, layout in (("auto", "varlen"), ("packed", "varlen"), ("padded", "padded")):
        assert strategy.layout_for(load(None, {"batch": {"layout": setting}})) == layout
    monkeypatch.undo()
    assert AccelerateStrategy("fp32").layout == "packed"
