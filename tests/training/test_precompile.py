"""The graphs registered for a compiler are exactly those that the batches need."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from accel_clf.data.collate import GlobalBatchSampler
from accel_clf.data.sampling import global_batches, permutation
from accel_clf.inference.forward import GATHERED_ROWS
from accel_clf.strategies.base import CompiledGraph
from accel_clf.training.precompile import expected_graphs


@given(st.integers(1, 80), st.integers(1, 3), st.integers(1, 4), st.sampled_from([1, 2, 4]), st.integers(1, 3))
def test_training_graphs_are_those_of_the_steps(
    rows: int, size: int, accumulate: int, processes: int, epochs: int
) -> None:
    lengths = np.random.default_rng(rows).integers(1, 64, rows)
    global_size = size * processes
    orders = [permutation(rows, 0, epoch) for epoch in range(epochs)]
    samplers = [GlobalBatchSampler(global_batches(order, global_size), lengths, "bucketed", 64) for order in orders]
    registered = {
        graph for graph in expected_graphs(samplers, accumulate, [], processes, 2) if graph.kind == "training"
    }
    needed = set()
    for order, sampler in zip(orders, samplers, strict=True):
        batches = iter(sampler)
        for start in range(0, rows, global_size * accumulate):
            count = -(-len(order[start : start + global_size * accumulate]) // global_size)
            for number in range(count):
                width = next(batches)[0].width
                assert width is not None
                needed.add(CompiledGraph("training", (size, width), number == 0, number == count - 1))
        assert next(batches, None) is None
    assert registered == needed


def test_evaluation_graphs_are_those_of_the_widths() -> None:
    lengths = np.array([3, 20, 20, 50])
    sampler = GlobalBatchSampler(np.array([[3, 1], [2, 0]]), lengths, "bucketed", 64)
    graphs = expected_graphs([], 1, [sampler], 2, 3)
    assert {graph.shape for graph in graphs if graph.kind == "evaluation"} == {(1, 64), (1, 32)}
    assert CompiledGraph("gather torch.float32", (GATHERED_ROWS, 3)) in graphs
    assert CompiledGraph("gather torch.int64", (GATHERED_ROWS,)) in graphs


def test_graph_is_named_by_its_shape() -> None:
    assert str(CompiledGraph("training", (4, 64), True, False)) == "training [4, 64], first"
    assert str(CompiledGraph("evaluation", (4, 64))) == "evaluation [4, 64]"
