"""One run, from settings to a run folder: its lock, what it begins with, its steps, its trackers and its results."""

from pathlib import Path
from typing import Any

from accel_clf.config.schema import Config
from accel_clf.core.console import log
from accel_clf.core.files import read_json, write_json
from accel_clf.core.process_env import in_xla_worker, is_main_process, shared_across_cores
from accel_clf.run_folder.lock import RunLock
from accel_clf.strategies import launch
from accel_clf.tracking.followers import Followers, TrackedRun, check_installed
from accel_clf.training import baseline
from accel_clf.training.prepare import PreparedRun, prepare_run, read_splits
from accel_clf.training.resume import InitialState
from accel_clf.training.shared_folder import appears
from accel_clf.training.trainer import Trainer


def train(config: Config) -> dict[str, Any]:
    """Train as configured, into the run folder.

    Returns:
        The contents of the run's metrics.json on rank 0; empty on others.

    Raises:
        UserError: whatever the user can fix.
        Interrupted: a signal has asked to stop; the state is saved.
    """
    check_installed(config.trackers)
    launch.join_hosts(config)
    lock = shared_across_cores(("lock", config), lambda: RunLock(config))
    try:
        return _train(config, lock.state)
    finally:
        if not in_xla_worker():  # where other cores may not be done yet: the last of them to return releases it
            lock.release()


def _train(config: Config, folder_state: str) -> dict[str, Any]:
    output = Path(config.output)
    if folder_state == "finished":
        if not is_main_process():
            return {}
        message = f"{output} is finished; for another run choose another --output"
        shared_across_cores(("finished", config), lambda: log(message))
        with _followers(config):  # what trackers have not got yet
            return {} if in_xla_worker() else read_json(output / "metrics.json")
    run_on_hardware = launch.choose(config)

    def load() -> InitialState:
        return InitialState.load(config, folder_state, lambda: prepare_run(config, read_splits(config)))

    initial = shared_across_cores(("initial state", config), load)
    with _followers(config):
        is_main = run_on_hardware(lambda strategy: Trainer(initial, strategy).run())
        if not is_main or not appears(output / "metrics.json"):  # which another of a TPU's hosts may have written
            return {}
        results = read_json(output / "metrics.json")
        if config.evaluation.baseline and initial.prepared.splits.validation:
            _add_baseline(results, initial.prepared, output)
    return results


def _followers(config: Config) -> Followers:
    output = Path(config.output)
    runs = [TrackedRun(output, output.name, config.tracking.group)]
    return shared_across_cores(("followers", config), lambda: Followers(config, runs))


def _add_baseline(results: dict[str, Any], prepared: PreparedRun, output: Path) -> None:
    assert prepared.splits.validation, "only called with validation rows"
    log(f"fitting TF-IDF with {prepared.splits.train.target.baseline_name} on the same rows")
    values = baseline.tfidf_metrics(prepared.splits.train, prepared.splits.validation)
    if values:
        results["baseline"] = values
    write_json(output / "metrics.json", results)
