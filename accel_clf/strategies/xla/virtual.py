"""N XLA cores on any CPU, with real collectives: a TPU job can be tested and debugged on a laptop.

XLA's CPU client can pretend to have several devices; torch_xla runs one thread of a process for each. Without help,
such cores hang or abort in their first all-reduce (pytorch/xla issues 5005 and 9089). There are five reasons, and
`enable` removes each:

1. **Separate compilations.** A collective joins programs by the id of their compilation. Cores that compile the same
   graph at the same time compile it separately, and each waits for partners that never come. So one core dispatches at
   a time: the first compiles, the others find its program in the cache.
2. **The interpreter's lock.** A core that has dispatched continues in Python and may free a buffer that the pending
   collective still reads. That waits for the collective with the interpreter's lock held, and the cores that have not
   dispatched yet never will. So nobody continues before all have dispatched.
3. **Threads.** The client runs programs on a pool as wide as the machine has CPUs. On two CPUs two cores wait in the
   collective for six that no thread runs. So the pools are wider than the number of cores.
4. **Delays.** A collective that has waited ten seconds for a core ends the whole process; that limit is the library's.
   So a core does not dispatch until all are there: saving a model or evaluating makes rank 0 later than that.
5. **Constants.** torch_xla writes an all-gather as a sum of arrays that each core fills at its own index, and the index
   is a constant in the program: each core has a program of its own, see 1. So here the index is data.

Real TPU cores need none of this: their runtime compiles once and joins programs by their position in the run.
"""

import os
import threading
from typing import Any

from accel_clf.core.errors import ConfigError, UserError
from accel_clf.core.exit_codes import DONE
from accel_clf.strategies.xla.detect import VIRTUAL_CORES_VARIABLE, requested_cores, require_torch_xla, tpu_chips

BARRIER_SECONDS = 24 * 3600.0  # a core that fails ends its process, and with it the waiting of the others
_enabled: list[int] = []  # the number of cores, once a process has them: the runtime cannot change it


def enable(cores: int) -> None:
    """Give this process `cores` virtual cores; before torch_xla is first used, and before anything forks.

    Raises:
        ConfigError: there is a TPU, torch_xla is missing, or the process has another number of cores already.
    """
    if _enabled:
        if _enabled != [cores]:
            raise ConfigError(
                f"{cores} virtual cores asked for, and {_enabled[0]} are there already",
                f"the same number in virtual_cores and in {VIRTUAL_CORES_VARIABLE}",
            )
        return
    if chips := tpu_chips():
        raise ConfigError(
            f"virtual cores asked for on a machine with {len(chips)} TPU chips",
            "one or the other",
            f"leave out virtual_cores and {VIRTUAL_CORES_VARIABLE} to use the TPU",
        )
    require_torch_xla()
    os.environ["PJRT_DEVICE"] = "CPU"
    os.environ["CPU_NUM_DEVICES"] = str(cores)
    os.environ["PJRT_CPU_ASYNC_CLIENT"] = "0"  # asynchronous, it has a pool of its own that nothing widens
    for pool in ("NPROC", "XLA_THREAD_POOL_SIZE", "XLA_IO_THREAD_POOL_SIZE"):
        os.environ[pool] = str(2 * cores)  # reason 3
    _enabled.append(cores)
    if cores > 1:
        _patch_collectives(cores)


def enable_requested_cores() -> int:
    """Call `enable` where the environment asks for cores; an exit code, for `run_command`."""
    if cores := requested_cores():
        enable(cores)
    return DONE


def _patch_collectives(cores: int) -> None:
    import torch
    import torch_xla
    import torch_xla.core.xla_model as xm
    import torch_xla.runtime as xr

    library: Any = torch_xla._XLAC
    step_marker, sync_multi = library._xla_step_marker, library._xla_sync_multi
    all_arrived, all_dispatched = threading.Barrier(cores), threading.Barrier(cores)
    one_at_a_time = threading.Lock()

    def dispatch_together(dispatch: Any, *args: Any, **options: Any) -> None:
        try:
            all_arrived.wait(BARRIER_SECONDS)  # reason 4
            with one_at_a_time:  # reason 1
                dispatch(*args, wait=False, **options)
            all_dispatched.wait(BARRIER_SECONDS)  # reason 2
        except threading.BrokenBarrierError:
            raise UserError("another core has failed") from None
        except BaseException:
            all_arrived.abort()
            all_dispatched.abort()
            raise

    def gated_step_marker(device: Any, devices: Any, wait: bool = True, reset_scope: bool = True) -> None:
        dispatch_together(step_marker, device, devices, reset_scope=reset_scope)
        if wait:
            library._xla_wait_device_ops(devices=[str(device)])

    def gated_sync_multi(tensors: Any, devices: Any, wait: bool = True, sync_xla_data: bool = True) -> None:
        dispatch_together(sync_multi, tensors, devices, sync_xla_data=sync_xla_data)
        if wait:
            library._xla_wait_device_ops(devices=[])

    def gather_by_masked_sum(value: torch.Tensor, dim: int = 0, groups: Any = None, pin_layout: bool = True) -> Any:
        """Gather as xm._all_gather_using_all_reduce does, with this core's index as data (reason 5)."""
        world_size, ordinal = xr.world_size(), xr.global_ordinal()
        is_this_core = torch.tensor([core == ordinal for core in range(world_size)]).to(value.device)
        rows = value.movedim(dim, 0)
        spread = torch.where(is_this_core.reshape([world_size] + [1] * rows.dim()), rows.unsqueeze(0), 0)
        flat = spread.reshape((world_size * rows.shape[0], *rows.shape[1:]))
        return xm.all_reduce(xm.REDUCE_SUM, flat, groups=groups).movedim(0, dim)

    library._xla_step_marker, library._xla_sync_multi = gated_step_marker, gated_sync_multi
    xm._all_gather_using_all_reduce = gather_by_masked_sum
