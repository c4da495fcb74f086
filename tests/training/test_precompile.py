"""The programs announced are those that the batches need, no more and no fewer."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from accel_clf.data.collate import GlobalBatchSampler
from accel_clf.data.sampling import global_batches, permutation
from accel_clf.inference.forward import GATHERED_ROWS
from accel_clf.strategies.base import CompiledGraph
from accel_clf.training.precompile import expected_graphs


@given(st.integers(1, 80), st.integers(1, 3), st.integers(1, 4), st.sampled_from([1, 2, 4]), st.integers(1, 3))
def test_training_programs(rows: int, size: int, accumulate: int, processes: int, epochs: int) -> None:
    lengths = np.random.default_rng(rows).integers(1, 64, rows)
    together = size * processes
    orders = [permutation(rows, 0, epoch) for epoch in range(epochs)]
    made = [GlobalBatchSampler(global_batches(order, together), lengths, "bucketed", 64) for order in orders]
    announced = {
        program for program in expected_graphs(made, accumulate, [], processes, 2) if program.kind == "training"
    }
    needed = set()
    for order, epoch in zip(orders, made, strict=True):
        given_out = iter(epoch)
        for start in range(0, rows, together * accumulate):
            count = -(-len(order[start : start + together * accumulate]) // together)
            for number in range(count):
                width = next(given_out)[0].width
                assert width is not None
                needed.add(CompiledGraph("training", (size, width), number == 0, number == count - 1))
        assert next(given_out, None) is None
    assert announced == needed


def test_evaluation_programs() -> None:
    lengths = np.array([3, 20, 20, 50])
    found = GlobalBatchSampler(np.array([[3, 1], [2, 0]]), lengths, "bucketed", 64)
    programs = expected_graphs([], 1, [found], 2, 3)
    assert {program.shape for program in programs if program.kind == "evaluation"} == {(1, 64), (1, 32)}
    assert CompiledGraph("gather torch.float32", (GATHERED_ROWS, 3)) in programs
    assert CompiledGraph("gather torch.int64", (GATHERED_ROWS,)) in programs


def test_a_program_is_named_by_its_shape() -> None:
    assert str(CompiledGraph("training", (4, 64), True, False)) == "training [4, 64], first"
    assert str(CompiledGraph("evaluation", (4, 64))) == "evaluation [4, 64]"
