"""The hardware by Hugging Face Accelerate: CPU, one GPU, several (DDP, FSDP), under `accelerate launch` or without."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from itertools import islice
from typing import Any

import torch

# Where torch_xla is installed, Accelerate takes XLA for its device, unless it is told not to before it is imported.
os.environ.setdefault("USE_TORCH_XLA", "false")

from accelerate import Accelerator
from accelerate.data_loader import prepare_data_loader
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, InitProcessGroupKwargs, broadcast
from torch import nn
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.rendezvous import register_rendezvous_handler, rendezvous
from torch.utils.data import DataLoader, Dataset

from accel_clf.core.errors import ConfigError
from accel_clf.core.process_env import cpu_wanted, is_elastic
from accel_clf.data.collate import Batch, Collate, GlobalBatches, Place
from accel_clf.models.kernels.dropout import quicken
from accel_clf.models.kernels.embedding_grad import RowGradients
from accel_clf.strategies.base import OptimizerOf, Strategy

# What holds a group of processes stays until the process ends. Freed right after its last collective, gloo's group
# waits for its thread with the interpreter's lock held, and the thread for that lock, to free the collective's tensors.
_closed: list[object] = []
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)  # of a sharded model
WITHOUT_BF16 = "no instructions for bf16 here: fp32, which auto takes, is many times as fast"


RESTARTS = "restarts"


def _of_this_start(url: str, **options: Any) -> Iterator[tuple[Store, int, int]]:
    """env://, with names of its own for each start of a job.

    The launcher's static rendezvous keeps its store when it starts processes again, and with it the addresses of those
    that are gone, where the new ones would look for each other.
    """
    for store, process, processes in rendezvous("env://", **options):
        yield PrefixStore(f"start {os.environ['TORCHELASTIC_RESTART_COUNT']}", store), process, processes


register_rendezvous_handler(RESTARTS, _of_this_start)  # type: ignore[no-untyped-call]


class _Places(Dataset[Place]):
    """A data set whose items are their own indices: the batch sampler says all there is to say."""

    def __getitem__(self, place: Any) -> Place:
        item: Place = place
        return item


class AccelerateStrategy(Strategy):
    """One process under an Accelerator.

    Args:
        precision: "auto", "fp32", "bf16" or "fp16".
        timeout: minutes to wait for a process that does not answer.
    """

    def __init__(self, precision: str, timeout: float = 10.0) -> None:
        # A launcher's file may ask for several processes on a machine without a GPU (multi_cpu.yaml): then the
        # Accelerator takes gloo only if it is told that the CPU is meant.
        on_cpu = cpu_wanted() or not torch.accelerator.is_available()
        mixed, why = _precision(precision, on_cpu)
        # Accelerate keeps the first precision of a process for good; each run has its own.
        AcceleratorState._reset_state()
        group = InitProcessGroupKwargs(timeout=timedelta(minutes=timeout))
        if is_elastic():
            group.init_method = f"{RESTARTS}://"
        self.accelerator = Accelerator(cpu=on_cpu, mixed_precision=mixed, kwargs_handlers=[group])
        self.device = self.accelerator.device
        self.process, self.processes = self.accelerator.process_index, self.accelerator.num_processes
        self.parameters: list[nn.Parameter] = []
        self.row_gradients: RowGradients | None = None
        self._new_scaler = self.scaler_state()
        self.sharded = self.accelerator.distributed_type == DistributedType.FSDP
        self.layout = "padded" if self.sharded else "packed"
        threads = f", {torch.get_num_threads()} threads" if self.device.type == "cpu" else ""
        many = f" x {self.processes} processes" if self.processes > 1 else ""
        self.chosen = f"{_device_name(self.device)}{many}{threads}, {'fp32' if mixed == 'no' else mixed} ({why})"

    def seed(self, seed: int) -> None:
        # torch.manual_seed seeds every kind of device there could be; where there is none, each call leaves a stack
        # trace in a queue that nobody empties: 1 ms a step, and memory.
        torch.default_generator.manual_seed(seed)
        if self.device.type != "cpu":
            torch.get_device_module(self.device).manual_seed(seed)

    def prepare(self, model: nn.Module, optimizer_of: OptimizerOf) -> tuple[nn.Module, torch.optim.Optimizer]:
        self.accelerator.free_memory()  # of an earlier run
        if self.device.type == "cpu":
            quicken(model)
        model.to(self.device)
        if self.processes > 1:
            broadcast(list(model.state_dict().values()))
        self.check_equal(model)
        # DDP wants dense gradients; a step that fp16's scaler leaves out would leave its infinities in the tables.
        plain = self.device.type == "cpu" and self.processes == 1 and not self.accelerator.scaler
        self.row_gradients = RowGradients(model) if plain else None
        prepared_model, prepared_optimizer = self.accelerator.prepare(model, optimizer_of(model))
        self.parameters = list(prepared_model.parameters())  # walking through the modules at every step takes longer
        # Accelerate's wrapper is for fp16's scaler; each of its steps looks for an optional package on the disk.
        return prepared_model, prepared_optimizer if self.accelerator.scaler else prepared_optimizer.optimizer

    def prepare_for_evaluation(self, model: nn.Module) -> nn.Module:
        # prepare_model leaves a model where it is under FSDP.
        prepared: nn.Module = self.accelerator.prepare_model(model.to(self.device), evaluation_mode=True)
        return prepared

    def batches(self, batches: GlobalBatches, collate: Collate) -> Iterable[Batch]:
        return _some_at_once(make_loader(batches, collate, self.device))

    def micro_batch(self, model: nn.Module, last: bool) -> AbstractContextManager[None]:
        context: AbstractContextManager[None] = nullcontext() if last else self.accelerator.no_sync(model)
        return context

    def backward(self, loss: torch.Tensor, rows: int) -> None:
        # DDP and FSDP average gradients over processes; the loss is a part of a sum.
        self.accelerator.backward(loss, gradient=torch.full_like(loss, self.processes / rows))

    def step(self, optimizer: torch.optim.Optimizer, max_norm: float | None) -> torch.Tensor | None:
        norm: torch.Tensor | None = None
        if self.row_gradients:
            self.row_gradients.fill()
        if max_norm is not None:
            norm = self.accelerator.clip_grad_norm_(self.parameters, max_norm)
        optimizer.step()
        optimizer.zero_grad()
        if self.row_gradients:
            self.row_gradients.clear()
        return norm

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        gathered: torch.Tensor = self.accelerator.gather(tensor.to(self.device))
        return gathered.cpu()

    def host_state(self, model: nn.Module) -> dict[str, torch.Tensor]:
        state = self.accelerator.get_state_dict(model) if self.is_main or self.sharded else {}
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}

    def host_moments(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
        if not self.sharded:
            return super().host_moments(model, _bare(optimizer))
        whole: Any = get_optimizer_state_dict(model, _bare(optimizer), options=WHOLE)
        moments = whole["state"].items()
        return {f"{name}.{key}": torch.as_tensor(value) for name, of in moments for key, value in of.items()}

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer, moments: dict[str, torch.Tensor]) -> None:
        if not self.sharded:
            super().restore(model, _bare(optimizer), moments)
            return
        whole: Any = get_optimizer_state_dict(model, _bare(optimizer), options=WHOLE)
        whole["state"] = defaultdict(dict)
        for full_name, value in moments.items():
            name, _, key = full_name.rpartition(".")
            whole["state"][name][key] = value
        set_optimizer_state_dict(model, _bare(optimizer), whole, options=WHOLE)

    def scaler_state(self) -> dict[str, Any]:
        return self.accelerator.scaler.state_dict() if self.accelerator.scaler else {}

    def restore_scaler(self, state: dict[str, Any]) -> None:
        if self.accelerator.scaler and state:
            self.accelerator.scaler.load_state_dict(state)

    def renew(self) -> None:
        self.parameters, self.row_gradients = [], None
        self.accelerator.free_memory()
        self.restore_scaler(self._new_scaler)

    def barrier(self) -> None:
        self.accelerator.wait_for_everyone()

    def close(self) -> None:
        if self.processes > 1:
            _closed.append((self, torch.distributed.group.WORLD))
        self.accelerator.end_training()


def _bare(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Without Accelerate's wrapper."""
    bare: torch.optim.Optimizer = getattr(optimizer, "optimizer", optimizer)
    return bare


def make_loader(batches: GlobalBatches, collate: Collate, device: torch.device) -> Iterable[Batch]:
    """Accelerate's loader of this process's share, on its device."""
    loader: DataLoader[Place] = DataLoader(
        _Places(),
        batch_sampler=batches,
        collate_fn=collate,
        generator=torch.Generator(),  # otherwise each epoch draws from the one that decides dropout
        pin_memory=device.type == "cuda",
    )
    # split_batches: each process takes its part of every global batch, instead of every n-th batch whole.
    prepared: Iterable[Batch] = prepare_data_loader(
        loader, device, split_batches=True, put_on_device=True, non_blocking=True
    )
    return prepared


def _some_at_once(batches: Iterable[Batch], many: int = 16) -> Iterator[Batch]:
    """The same batches, made `many` at a time.

    Making one between two steps takes four times as long, of which the step's own work is to blame: it has pushed this
    code and data out of the processor's caches (benchmarks/LOG.md).
    """
    coming = iter(batches)
    while some := list(islice(coming, many)):
        yield from some


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _precision(wanted: str, on_cpu: bool) -> tuple[str, str]:
    """Accelerate's name of a precision, and why it was taken.

    Raises:
        ConfigError: the device has no such precision.
    """
    if wanted == "fp16" and on_cpu:
        raise ConfigError("training.precision is fp16 and there is no GPU", "fp32 or bf16", "--training.precision auto")
    if wanted == "bf16" and on_cpu and not fast_at_bf16(on_cpu):
        return wanted, f"as set; {WITHOUT_BF16}"
    if wanted != "auto":
        return ("no" if wanted == "fp32" else wanted), "as set"
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if launched in ("bf16", "fp16"):
        return launched, "as the launcher says"
    bf16 = fast_at_bf16(on_cpu)
    if not on_cpu and torch.cuda.is_available():
        return ("bf16", "this GPU is fast at it") if bf16 else ("fp16", "this GPU has no bf16")
    return ("bf16", "this CPU is fast at it") if bf16 else ("no", "this CPU is not fast at bf16")


def fast_at_bf16(on_cpu: bool = False) -> bool:
    """Whether the GPU, or the CPU, multiplies bf16 by instructions of its own; others take longer than for fp32."""
    if not on_cpu and torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    cpu: Any = torch.cpu
    return bool(cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported())
