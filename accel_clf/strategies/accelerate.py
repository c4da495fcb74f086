"""The hardware by Hugging Face Accelerate: CPU, one GPU, several (DDP, FSDP), under `accelerate launch` or without."""

import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any

import torch

# Where torch_xla is installed, Accelerate takes XLA for its device, unless it is told not to before it is imported.
os.environ.setdefault("USE_TORCH_XLA", "false")

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    InitProcessGroupKwargs,
    broadcast,
    is_torch_xla_available,
    send_to_device,
)
from torch import nn

from accel_clf.config.schema import Config
from accel_clf.core.console import log
from accel_clf.core.errors import ConfigError, UserError
from accel_clf.core.process_env import cpu_requested, is_torchelastic, world_size
from accel_clf.data.collate import Batch, Collate, GlobalBatchSampler, model_inputs
from accel_clf.models.kernel_selection import PACKED_LAYOUTS, optimize_for_training
from accel_clf.models.kernels.embedding_grad import SparseEmbeddingGrad
from accel_clf.models.packed import PACKED
from accel_clf.models.unused import drops_layers, without_gradient
from accel_clf.strategies import fsdp
from accel_clf.strategies.base import OptimizerOf, Strategy
from accel_clf.strategies.loader import make_loader, prefetch, prefetch_to_gpu
from accel_clf.strategies.precision import choose_precision, device_type
from accel_clf.strategies.process_groups import keep_until_exit
from accel_clf.strategies.rendezvous import RESTARTS

NAMES_IN_MESSAGE = 8


class AccelerateStrategy(Strategy):
    """One process under an Accelerator.

    Args:
        precision: "auto", "fp32", "bf16" or "fp16".
        timeout: minutes to wait for a process that does not answer.
        kernels: the setting model.kernels.
        cpu: whether to leave other devices alone.

    Raises:
        ConfigError: the device has no such precision, or no way for the launcher's processes to share a job.
        UserError: this process has used XLA cores, which Accelerate would take for its device.
    """

    def __init__(self, precision: str, timeout: float = 10.0, kernels: str = "auto", cpu: bool = False) -> None:
        if is_torch_xla_available():
            raise UserError(
                "this process has trained on XLA cores, and Accelerate keeps them for its device",
                "a process that has not, for anything else",
                "start another one, for example `accel-clf predict`",
            )
        # A launcher's file may ask for several processes on a machine without a GPU (multi_cpu.yaml): then the
        # Accelerator takes gloo only if it is told that the CPU is meant.
        on_cpu = cpu or cpu_requested() or not torch.accelerator.is_available()
        mixed_precision, why = choose_precision(precision, "cpu" if on_cpu else device_type())
        # Accelerate keeps the first precision and device of a process for good; each run has its own.
        AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
        group = InitProcessGroupKwargs(timeout=timedelta(minutes=timeout))
        if is_torchelastic():
            group.init_method = f"{RESTARTS}://"
        # Buffers are constants here. No static_graph: it reduces in a step's first micro-batch, then fails.
        self.ddp = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
        self.accelerator = Accelerator(cpu=on_cpu, mixed_precision=mixed_precision, kwargs_handlers=[group, self.ddp])
        self.kernels = kernels
        self.device = self.accelerator.device
        self.process, self.processes = self.accelerator.process_index, self.accelerator.num_processes
        if torch.distributed.is_initialized():
            # No process refuses a setting, and ends, while others still connect by the store of rank 0.
            local_ranks = [self.accelerator.local_process_index] if self.processes > 1 else None
            torch.distributed.barrier(device_ids=local_ranks)
        if self.processes != world_size():
            raise ConfigError(
                f"{world_size()} processes were launched, and on {self.device.type} each would train alone",
                "GPUs that processes can share a job on, or the CPU",
                "put ACCELERATE_USE_CPU=true before the command, or train by one process without a launcher",
            )
        self.parameters: list[nn.Parameter] = []
        self.embedding_grad: SparseEmbeddingGrad | None = None
        self._initial_scaler = self.scaler_state()
        self.sharded = self.accelerator.distributed_type == DistributedType.FSDP
        if self.sharded and not self.accelerator.is_fsdp2:
            raise ConfigError("fsdp_version is 1 in the launcher's file", "2", "fsdp_version: 2, as in fsdp.yaml")
        if self.sharded and self.accelerator.scaler:
            raise ConfigError(
                "training.precision is fp16, and FSDP shards the model: each process would scale gradients by itself",
                "bf16 or fp32",
                "--training.precision fp32",
            )
        self.layout = self.packed_layout = PACKED_LAYOUTS.get(self.device.type, "padded")
        threads = f", {torch.get_num_threads()} threads" if self.device.type == "cpu" else ""
        count = f" x {self.processes} processes" if self.processes > 1 else ""
        name = "fp32" if mixed_precision == "no" else mixed_precision
        self.description = f"{_device_name(self.device)}{count}{threads}, {name} ({why})"

    def layout_for(self, config: Config) -> str:
        if config.batch.layout == PACKED and self.device.type not in PACKED_LAYOUTS:
            raise ConfigError(
                f"batch.layout is packed, on {self.device.type}, for which torch has no kernel",
                f"one of {', '.join(PACKED_LAYOUTS)}",
                "--batch.layout auto, or padded",
            )
        return super().layout_for(config)

    def seed(self, seed: int) -> None:
        # torch.manual_seed seeds every kind of device there could be; where there is none, each call leaves a stack
        # trace in a queue that nobody empties: 1 ms a step, and memory.
        torch.default_generator.manual_seed(seed)
        if self.device.type != "cpu":
            torch.get_device_module(self.device).manual_seed(seed)

    def prepare(
        self, model: nn.Module, optimizer_of: OptimizerOf, example: Batch | None = None
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        if self.sharded and drops_layers(model):
            raise ConfigError(
                "the model leaves out layers at random (layerdrop), and FSDP's processes would wait for each other's",
                "all layers in every step, or the whole model on each process (multi_gpu.yaml)",
                'set "layerdrop" to 0 in its config.json',
            )
        self.accelerator.free_memory()  # of an earlier run
        # DDP needs dense gradients; a step that fp16's scaler skips would leave its infinities in the tables.
        sparse = self.processes == 1 and not self.accelerator.scaler
        self.embedding_grad = optimize_for_training(model, self.device, sparse_gradients=sparse, kernels=self.kernels)
        model.to(self.device)
        if self.processes > 1:
            broadcast(list(model.state_dict().values()))
        self.check_equal(model)
        if self.processes > 1 and example:
            self._freeze_unused(model, example)
        self.ddp.find_unused_parameters = drops_layers(model)
        if self.sharded:
            fsdp.configure(self.accelerator.state.fsdp_plugin, model, self.device, self.accelerator.mixed_precision)
        with fsdp.undivided_embeddings(model) if self.sharded else nullcontext():
            prepared_model, prepared_optimizer = self.accelerator.prepare(model, optimizer_of(model))
        self.parameters = list(prepared_model.parameters())  # walking through the modules at every step takes longer
        # Accelerate's wrapper is for fp16's scaler; each of its steps looks for an optional package on the disk.
        return prepared_model, prepared_optimizer if self.accelerator.scaler else prepared_optimizer.optimizer

    def _freeze_unused(self, model: nn.Module, example: Batch) -> None:
        """Freeze what gets no gradient, which several processes would wait for, and one process's AdamW skips."""
        with self.accelerator.autocast():
            names = without_gradient(model, model_inputs(self.to_device(example)))
        for name in names:
            model.get_parameter(name).requires_grad_(False)
        if names and self.is_main:
            listed = ", ".join(names[:NAMES_IN_MESSAGE]) + (", ..." if len(names) > NAMES_IN_MESSAGE else "")
            log(f"frozen, for they get no gradient: {len(names)} parameters ({listed})")

    def prepare_for_evaluation(self, model: nn.Module) -> nn.Module:
        # prepare_model leaves a model where it is under FSDP.
        prepared: nn.Module = self.accelerator.prepare_model(model.to(self.device), evaluation_mode=True)
        return prepared

    def batches(self, batches: GlobalBatchSampler, collate: Collate) -> Iterable[Batch]:
        loader = make_loader(batches, collate, self.device)
        return prefetch_to_gpu(loader, self.device) if self.device.type == "cuda" else prefetch(loader)

    def to_device(self, batch: Batch) -> Batch:
        """Move a batch's tensors to the device."""
        moved: Batch = send_to_device(batch, self.device)
        return moved

    def micro_batch(self, model: nn.Module, last: bool) -> AbstractContextManager[None]:
        context: AbstractContextManager[None] = nullcontext() if last else self.accelerator.no_sync(model)
        return context

    def backward(self, loss: torch.Tensor, rows: int) -> None:
        # DDP and FSDP average gradients over processes; the loss is a part of a sum.
        self.accelerator.backward(loss, gradient=torch.full_like(loss, self.processes / rows))

    def step(self, optimizer: torch.optim.Optimizer, max_norm: float | None) -> torch.Tensor | None:
        norm: torch.Tensor | None = None
        if self.embedding_grad:
            self.embedding_grad.fill()
        if max_norm is not None:
            norm = fsdp.whole(self.accelerator.clip_grad_norm_(self.parameters, max_norm))
        optimizer.step()
        optimizer.zero_grad()
        if self.embedding_grad:
            self.embedding_grad.clear()
        return norm

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        gathered: torch.Tensor = self.accelerator.gather(tensor.to(self.device))
        return gathered.cpu()

    def gather_weights(self, model: nn.Module) -> dict[str, torch.Tensor]:
        return self.gather_to_host(self.accelerator.unwrap_model(model).state_dict())

    def gather_to_host(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return fsdp.gather_to_host(tensors, self.is_main) if self.sharded else super().gather_to_host(tensors)

    def shard_like(self, tensor: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
        return fsdp.shard_like(tensor, parameter) if self.sharded else tensor

    def gather_optimizer_state(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
        return super().gather_optimizer_state(model, _unwrap(optimizer))

    def restore_optimizer_state(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, torch.Tensor]
    ) -> None:
        super().restore_optimizer_state(model, _unwrap(optimizer), state)

    def scaler_state(self) -> dict[str, Any]:
        return self.accelerator.scaler.state_dict() if self.accelerator.scaler else {}

    def restore_scaler(self, state: dict[str, Any]) -> None:
        if self.accelerator.scaler and state:
            self.accelerator.scaler.load_state_dict(state)

    def reset(self) -> None:
        self.parameters, self.embedding_grad = [], None
        self.accelerator.free_memory()
        self.restore_scaler(self._initial_scaler)

    def barrier(self) -> None:
        self.accelerator.wait_for_everyone()

    def close(self) -> None:
        is_group = self.processes > 1
        if is_group:
            keep_until_exit(self, torch.distributed.group.WORLD)
        self.accelerator.end_training()
        # Without its group, so that another run of these processes makes one of its own.
        AcceleratorState._reset_state(reset_partial_state=is_group)


def _unwrap(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Return an optimizer without Accelerate's wrapper."""
    unwrapped: torch.optim.Optimizer = getattr(optimizer, "optimizer", optimizer)
    return unwrapped


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
