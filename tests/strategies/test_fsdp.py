"""FSDP2 on two processes over gloo, by the code that several GPUs run: right, resumable, sharded layer by layer.

Accelerate takes FSDP for GPUs only: each process tells it that the CPU is one.
"""

import functools
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from accelerate.commands.launch import launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env
from safetensors.torch import load_file
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from accel_clf.core.errors import ConfigError
from accel_clf.models.families.registry import FAMILIES, layer_classes
from accel_clf.strategies.accelerate import AccelerateStrategy
from tests.conftest import REPOSITORY, make_bert
from tests.faults.harness import LaunchedRun
from tests.forked import Forked
from tests.models.test_packed import make_model
from tests.parity.test_processes import free_port

SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
OTHERS = {  # bart shares a table of embeddings between encoder and decoder, canine has none to name
    "bart": {
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
    },
    "canine": SHAPE | {"local_transformer_stride": 16, "num_hash_buckets": 64},
    "modernbert": SHAPE | {"cls_token_id": 0, "sep_token_id": 2, "bos_token_id": 0, "eos_token_id": 2},
}


def launcher_variables() -> dict[str, str]:
    """Return the variables that `accelerate launch --config_file accelerate_configs/fsdp.yaml` sets."""
    from accelerate.commands.launch import _validate_launch_command

    config_file = str(REPOSITORY / "accelerate_configs" / "fsdp.yaml")
    args = _validate_launch_command(launch_command_parser().parse_args(["--config_file", config_file, "train.py"]))[0]
    variables: dict[str, str] = prepare_multi_gpu_env(args)
    return {name: value for name, value in variables.items() if name.startswith(("ACCELERATE_", "FSDP_"))}


def take_cpus_for_gpus(rank: int, variables: dict[str, str]) -> None:
    """Make Accelerate share a model out to CPUs, over gloo."""
    import accelerate.state
    from accelerate.utils import DistributedType

    import accel_clf.strategies.accelerate  # noqa: F401 - before the last line: it is imported without a GPU

    os.environ |= variables | {"ACCELERATE_TORCH_DEVICE": "cpu"}
    os.environ.pop("ACCELERATE_USE_CPU", None)
    accelerate.state.PartialState._prepare_backend = lambda *_: ("gloo", DistributedType.MULTI_GPU)
    torch.accelerator.is_available = lambda *_, **__: True


class ShardedRun(LaunchedRun):
    """A training job of two processes that share one model."""

    def __init__(self, args: list[object], folder: Path, command: str = "train") -> None:
        super().__init__(args, folder, processes=2, command=command)

    def start(self, *_: Any) -> "LaunchedRun":
        return super().start(take_cpus_for_gpus, launcher_variables())


@pytest.fixture(scope="module")
def bert_without_dropout(tmp_path_factory: pytest.TempPathFactory, reviews: Path) -> Path:
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return make_bert(tmp_path_factory.mktemp("bert"), reviews, 64, **SHAPE, **rates)


def flags(model: Path, reviews: Path) -> list[object]:
    return [
        "--model.name", model, "--data.train", reviews, "--data.validation", 0.25, "--data.max_length", 64,
        "--training.learning_rate", 1e-3, "--training.lr_scaling", "none", "--training.precision", "fp32",
    ]  # fmt: skip


def largest_difference(first: Path, second: Path) -> float:
    weights, others = (load_file(run / "model" / "model.safetensors") for run in (first, second))
    assert weights.keys() == others.keys()
    return max(float((weights[name] - others[name]).abs().max()) for name in weights)


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_weights_equal_those_of_one_process(
    tmp_path: Path, reviews: Path, bert_without_dropout: Path, layout: str
) -> None:
    """Of accumulated, clipped steps on uneven shares; so do the answers to the validation and test rows."""
    args = [*flags(bert_without_dropout, reviews), "--batch.layout", layout, "--data.test", reviews]
    sharded = ShardedRun([*args, "--batch.size", 8, "--batch.accumulate", 2], tmp_path / "sharded").start()
    assert sharded.wait() == [0, 0], sharded.output()
    whole = LaunchedRun([*args, "--batch.size", 32], tmp_path / "whole").start()
    assert whole.wait() == [0], whole.output()
    assert f"cpu x 2 processes, 1 threads, fp32 (as set); {layout} batches" in sharded.output()
    assert "Warning" not in sharded.output()
    assert largest_difference(tmp_path / "sharded", tmp_path / "whole") < 1e-5
    answers = [(run.folder / "predictions.csv").read_text().splitlines() for run in (sharded, whole)]
    assert [line.split(",")[:2] for line in answers[0]] == [line.split(",")[:2] for line in answers[1]]


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_adapters_equal_those_of_one_process(
    tmp_path: Path, reviews: Path, bert_without_dropout: Path, layout: str
) -> None:
    """Where frozen and trained weights share a unit, with layers computed again; resumed, too."""
    args = [*flags(bert_without_dropout, reviews), "--batch.layout", layout, "--model.lora.rank", 4]
    args += ["--model.gradient_checkpointing", "true", "--checkpoint.every", 4, "--training.learning_rate", 1e-2]
    sharded = ShardedRun([*args, "--batch.size", 16], tmp_path / "sharded")
    sharded.start()
    sharded.kill_after(steps=4, seconds=0.0)
    assert sharded.start().wait() == [0, 0], sharded.output()
    whole = LaunchedRun([*args, "--batch.size", 32], tmp_path / "whole").start()
    assert whole.wait() == [0], whole.output()
    assert largest_difference(tmp_path / "sharded", tmp_path / "whole") < 1e-5
    assert "Warning" not in sharded.output()
    adapters = [load_file(run.folder / "adapter" / "adapter_model.safetensors") for run in (sharded, whole)]
    assert adapters[0].keys() == adapters[1].keys()
    assert all(torch.allclose(tensor, adapters[1][name], atol=1e-5) for name, tensor in adapters[0].items())


def test_killed_run_resumes_to_the_same_bits(tmp_path: Path, reviews: Path, tiny_bert: Path) -> None:
    """With dropout: weights, optimizer state, best model, metrics."""
    args = [*flags(tiny_bert, reviews), "--training.epochs", 3, "--evaluation.every", 7, "--checkpoint.every", 4]
    undisturbed = ShardedRun(args, tmp_path / "undisturbed").start()
    assert undisturbed.wait() == [0, 0], undisturbed.output()
    killed = ShardedRun(args, tmp_path / "killed")
    killed.start()
    assert killed.kill_after(steps=8, seconds=0.05)
    assert killed.start().wait() == [0, 0], killed.output()
    assert "resuming after step" in killed.output()
    assert killed.outcome() == undisturbed.outcome()


def test_one_process_resumes_what_two_have_sharded(tmp_path: Path, reviews: Path, bert_without_dropout: Path) -> None:
    args = [*flags(bert_without_dropout, reviews), "--training.epochs", 2, "--checkpoint.every", 4]
    whole = LaunchedRun([*args, "--batch.size", 16], tmp_path / "whole").start()
    assert whole.wait() == [0], whole.output()
    killed = ShardedRun([*args, "--batch.size", 8], tmp_path / "killed")
    killed.start()
    assert killed.kill_after(steps=8, seconds=0.0)
    resumed = LaunchedRun([*args, "--batch.size", 16], tmp_path / "killed").start()
    assert resumed.wait() == [0], resumed.output()
    assert "resuming after step" in resumed.output()
    assert largest_difference(tmp_path / "killed", tmp_path / "whole") < 1e-5


def test_two_folds_are_trained_and_aggregated(tmp_path: Path, reviews: Path, tiny_bert: Path) -> None:
    job = ShardedRun([*flags(tiny_bert, reviews)[:4], "--folds", 2, "--data.max_length", 64], tmp_path / "cv", "cv")
    assert job.start().wait() == [0, 0], job.output()
    assert len((tmp_path / "cv" / "out_of_fold.csv").read_text().splitlines()) == 404


def test_bf16_adds_up_in_float32(tmp_path: Path, reviews: Path, bert_without_dropout: Path) -> None:
    """Weights end where those of one process's autocast end."""
    args = [*flags(bert_without_dropout, reviews), "--training.precision", "bf16"]
    sharded = ShardedRun([*args, "--batch.size", 16], tmp_path / "sharded").start()
    assert sharded.wait() == [0, 0], sharded.output()
    whole = LaunchedRun([*args, "--batch.size", 32], tmp_path / "whole").start()
    assert whole.wait() == [0], whole.output()
    assert largest_difference(tmp_path / "sharded", tmp_path / "whole") < 5e-3


def in_two_processes(tmp_path: Path, work: Any, *args: Any) -> None:
    """Run `work(*args)` in two processes that share models."""
    sizes = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    paths = [tmp_path / f"rank-{rank}" for rank in range(2)]
    processes = [
        Forked(
            functools.partial(_work, launcher_variables(), work, *args),
            path, path, {**os.environ, **sizes, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank, path in enumerate(paths)
    ]  # fmt: skip
    try:
        assert [process.wait(120) for process in processes] == [0, 0], "".join(path.read_text() for path in paths)
    except subprocess.TimeoutExpired:
        raise TimeoutError("".join(path.read_text() for path in paths)) from None
    finally:
        for process in processes:
            process.kill()


def _work(variables: dict[str, str], work: Any, *args: Any) -> int:
    take_cpus_for_gpus(0, variables)
    work(*args)
    return 0


def make_other(model_type: str) -> nn.Module:
    config = transformers.AutoConfig.for_model(model_type, vocab_size=50, pad_token_id=1, **OTHERS[model_type])
    model: nn.Module = transformers.AutoModelForSequenceClassification.from_config(config)
    return model


class ReductionDtypes(TorchDispatchMode):
    """Notes in which dtypes gradients are reduced."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "reduce_scatter" in operation.name():
            self.dtypes |= {tensor.dtype for tensor in pytree.tree_leaves(args) if isinstance(tensor, torch.Tensor)}
        return operation(*args, **(kwargs or {}))


def step_of_each_encoder() -> None:
    """Take a step with each encoder: its layers are sharded one by one, and its gradients added up in float32."""
    from torch.distributed.fsdp import FSDPModule

    from accel_clf.data.collate import pad
    from tests.models.test_packed import random_rows

    strategy = AccelerateStrategy("bf16")
    assert strategy.sharded
    for model_type in (*FAMILIES, *OTHERS):
        torch.manual_seed(0)
        model = make_model(model_type) if model_type in FAMILIES else make_other(model_type)
        classes = tuple(layer_classes(model))
        layers = [module for module in model.modules() if isinstance(module, classes)]
        prepared, optimizer = strategy.prepare(model, lambda moved: torch.optim.AdamW(moved.parameters(), lr=1e-3))
        assert layers, model_type
        assert all(isinstance(layer, FSDPModule) for layer in layers), model_type
        rows = random_rows([20, 33, 17][strategy.process :], seed=strategy.process)
        batch = pad([np.append(np.maximum(row, 3), 2) for row in rows], 1)  # bart reads what follows the token 2
        logits = prepared(**batch).logits
        assert logits.dtype == torch.bfloat16
        with ReductionDtypes() as reductions:
            strategy.backward(logits.float().square().sum(), rows=5)
        assert reductions.dtypes == {torch.float32}, model_type
        norm = strategy.step(optimizer, 1.0)
        assert type(norm) is torch.Tensor
        assert norm > 0
        state = strategy.gather_optimizer_state(prepared, optimizer)
        assert bool(state) == strategy.is_main
        strategy.reset()
    strategy.close()


def test_every_encoder_is_sharded_by_layer(tmp_path: Path) -> None:
    in_two_processes(tmp_path, step_of_each_encoder)


def test_layers_are_those_of_the_family_or_of_the_models_own_list() -> None:
    for family in FAMILIES:
        (layer,) = layer_classes(make_model(family))
        assert layer.__name__.endswith(("Layer", "TransformerBlock"))
    names = {model_type: {layer.__name__ for layer in layer_classes(make_other(model_type))} for model_type in OTHERS}
    assert names == {
        "bart": {"BartDecoderLayer", "BartEncoderLayer"},
        "canine": {"CanineLayer"},
        "modernbert": {"ModernBertEncoderLayer"},  # its list has the embeddings, too, which belong to the whole model
    }


def test_fp16_and_fsdp1_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate.utils import DistributedType

    from accel_clf.strategies import accelerate

    class Accelerator:
        def __init__(self, **_: Any) -> None:
            self.device, self.process_index, self.num_processes = torch.device("cpu"), 0, 2
            self.distributed_type, self.is_fsdp2, self.scaler = (
                DistributedType.FSDP,
                is_fsdp2,
                torch.amp.GradScaler("cpu"),
            )

    monkeypatch.setattr(accelerate, "Accelerator", Accelerator)
    monkeypatch.setenv("WORLD_SIZE", "2")
    is_fsdp2 = True
    with pytest.raises(ConfigError, match="fp16, and FSDP shards the model") as error:
        accelerate.AccelerateStrategy("fp32")
    assert error.value.fix == "--training.precision fp32"
    is_fsdp2 = False
    with pytest.raises(ConfigError, match="fsdp_version is 1"):
        accelerate.AccelerateStrategy("fp32")


def test_layers_left_out_at_random_are_refused() -> None:
    """A process that gathers a layer would wait for one that has left it out."""
    strategy, model = AccelerateStrategy("fp32"), make_model("bert")
    strategy.sharded = True
    model.config.layerdrop = 0.1
    with pytest.raises(ConfigError, match="leaves out layers at random"):
        strategy.prepare(model, lambda moved: torch.optim.SGD(moved.parameters()))
