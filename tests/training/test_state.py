"""The training state's JSON: its keys are those of checkpoints that exist, and it is a copy."""

import json

from accel_clf.training.state import TrainState


def make_state() -> TrainState:
    """A state whose attributes all differ from their defaults."""
    return TrainState(
        peak_lr=1e-3,
        step=7,
        evaluated_step=6,
        best_step=4,
        evals_without_improvement=1,
        stopped_early=True,
        seconds=2.5,
        logged_seconds=2.0,
        losses=[3.5, 4.25],
        rows=[16, 3],
    )


def test_json_keys_are_those_of_existing_checkpoints() -> None:
    assert list(make_state().to_json().items()) == [
        ("peak", 1e-3),
        ("step", 7),
        ("measured", 6),
        ("best_step", 4),
        ("fruitless", 1),
        ("stopped_early", True),
        ("seconds", 2.5),
        ("logged_seconds", 2.0),
        ("losses", [3.5, 4.25]),
        ("rows", [16, 3]),
    ]


def test_round_trip() -> None:
    state = make_state()
    content = json.loads(json.dumps(state.to_json()))
    assert TrainState.from_json(content) == state
    assert TrainState.from_json(content).to_json() == content
    assert TrainState.from_json(TrainState(1.0).to_json()) == TrainState(1.0)


def test_json_shares_no_list_with_the_state() -> None:
    """The writer's thread may serialize it while training continues."""
    state = make_state()
    content = state.to_json()
    state.losses.append(1.0)
    state.rows.append(2)
    assert (content["losses"], content["rows"]) == ([3.5, 4.25], [16, 3])
    restored = TrainState.from_json(content)
    restored.losses.append(1.0)
    restored.rows.clear()
    assert (content["losses"], content["rows"]) == ([3.5, 4.25], [16, 3])


def test_run_is_finished_at_its_last_step_or_when_stopped_early() -> None:
    assert not TrainState(1.0, step=9).is_finished(10)
    assert TrainState(1.0, step=10).is_finished(10)
    assert TrainState(1.0, step=3, stopped_early=True).is_finished(10)
