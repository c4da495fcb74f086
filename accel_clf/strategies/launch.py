"""Which strategy runs here, on how many cores, and who starts them."""

import os
from collections.abc import Callable
from functools import partial

from accel_clf.config.schema import Config
from accel_clf.core.errors import ConfigError
from accel_clf.core.process_env import HOST_VARIABLE, cpu_requested, in_xla_worker, is_main_process, is_torchelastic
from accel_clf.core.signals import defer_signals, exit_when_parent_dies
from accel_clf.models.precision import precision_for
from accel_clf.strategies.base import Strategy
from accel_clf.strategies.xla.detect import requested_cores, require_torch_xla, tpu_chips, tpu_host
from accel_clf.strategies.xla.virtual import enable

Work = Callable[[Strategy], object]


def join_hosts(config: Config) -> None:
    """Find out which of a TPU's hosts this is, so that rank 0 is on one of them; before anything asks for the rank."""
    if _on_cores(config):
        os.environ[HOST_VARIABLE] = str(tpu_host().number)


def choose(config: Config) -> Callable[[Work], bool]:
    """Choose what will run a job here; to be called before anything imports Accelerate or forks.

    `accelerate launch` has started the processes of GPUs and CPUs, where there are several. XLA's cores start when the
    job is ready, unless `accelerate launch` has started them, too.

    Returns:
        A function that runs the job with a strategy, on each core or process that this one has to start, and returns
        whether this is rank 0.

    Raises:
        ConfigError: the settings ask for what this machine does not have.
    """
    cores = config.virtual_cores or requested_cores()
    if cores:
        enable(cores)
    on_cores = _on_cores(config)
    if config.strategy == "xla":
        require_torch_xla()
        if not on_cores:
            raise ConfigError(
                "strategy is xla, and there is no TPU here", "a TPU, or virtual cores", "--virtual_cores 8"
            )
    if on_cores and config.batch.layout in ("padded", "packed"):
        raise ConfigError(
            f"batch.layout is {config.batch.layout}, on XLA, which compiles a graph for each width",
            "few widths",
            "--batch.layout auto, or bucketed",
        )
    if on_cores and config.model.gradient_checkpointing:
        raise ConfigError(
            "model.gradient_checkpointing, on XLA, whose compiler would undo it",
            "false",
            "--model.gradient_checkpointing false, and smaller batches: --batch.size and --batch.accumulate",
        )
    # Accelerate takes XLA for its device wherever torch_xla is installed, unless it is told not to.
    os.environ["USE_TORCH_XLA"] = str(on_cores).lower()
    return partial(_run_on_cores if on_cores else _run_on_device, config)


def _on_cores(config: Config) -> bool:
    """Whether a job runs on XLA cores here."""
    is_virtual = config.virtual_cores or requested_cores()
    return bool(is_virtual or in_xla_worker() or (tpu_chips() and not cpu_requested()))


def _run_on_device(config: Config, work: Work) -> bool:
    from accel_clf.strategies.accelerate import AccelerateStrategy

    if is_torchelastic():
        exit_when_parent_dies(os.getppid())
    precision = precision_for(config.model, config.training.precision)
    strategy = AccelerateStrategy(precision, config.training.timeout, config.model.kernels)
    with defer_signals():
        work(strategy)
    strategy.close()  # not in a `finally`: NCCL's group waits for the other processes
    return strategy.is_main


def _run_on_cores(config: Config, work: Work) -> bool:
    require_torch_xla()
    from accel_clf.strategies.xla.spawn import spawn

    def run_on_core() -> bool:
        strategy = _xla_strategy(config)
        work(strategy)
        strategy.close()  # not in a `finally`: it waits for the other cores
        return strategy.is_main

    if in_xla_worker():
        exit_when_parent_dies(os.getppid(), at_once=True)
        return run_on_core()
    with defer_signals():
        spawn(run_on_core)
    return is_main_process()


def _xla_strategy(config: Config) -> Strategy:
    if config.strategy == "xla":
        from accel_clf.strategies.xla.torch_xla import XlaStrategy

        return XlaStrategy(config.training.precision)
    from accel_clf.strategies.xla.accelerate import AccelerateXlaStrategy

    return AccelerateXlaStrategy(config.training.precision)
