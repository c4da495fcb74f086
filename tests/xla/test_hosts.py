"""A TPU of two hosts, simulated: by torch_xla's own variables, and by two processes with virtual cores."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from accel_clf.core.process_env import rank
from accel_clf.strategies.xla import detect
from tests.conftest import make_bert, write_csv
from tests.forked import Forked, command, run_forked

METADATA = {  # of the second host of a v4-16
    "tpu-env": "ACCELERATOR_TYPE: 'v4-16'\nTPU_PROCESS_BOUNDS: '1,1,2'\nTPU_CHIPS_PER_PROCESS_BOUNDS: '2,2,1'\n"
    "WORKER_ID: '1'\n",
    "worker-network-endpoints": "unknown:unknown:10.130.0.3,unknown:unknown:10.130.0.4",
}


def print_ranks(bus: Path) -> None:
    """Print the host by torch_xla's reading of the metadata, and the ranks of the processes of its cores."""
    from torch_xla._internal import tpu

    detect.PCI_DEVICES = bus
    tpu._get_metadata = METADATA.__getitem__
    print(*detect.tpu_host(), tpu.num_tpu_workers())
    for local_rank in range(4):
        os.environ.pop("CLOUD_TPU_TASK_ID", None)
        tpu.configure_topology(local_rank, local_world_size=4)
        print(local_rank, rank())


def test_ranks_are_torch_xlas(tmp_path: Path) -> None:
    chip = tmp_path / "bus" / "0000:00:05.0"
    chip.mkdir(parents=True)
    (chip / "vendor").write_text(detect.GOOGLE)
    (chip / "device").write_text("0x005e")
    environment = {name: value for name, value in os.environ.items() if name != "TPU_WORKER_ID"}
    done = run_forked(partial(print_ranks, tmp_path / "bus"), tmp_path, environment=environment)
    assert done.stdout.splitlines() == ["1 2 2", "0 4", "1 5", "2 6", "3 7"], done.stderr


def leave_training_to_host_0() -> None:
    from accel_clf.training.trainer import Trainer

    def run(self: Trainer) -> tuple[Any, Any]:
        return None, None

    if os.environ["TPU_WORKER_ID"] != "0":
        Trainer.run = run  # type: ignore[method-assign]


@pytest.fixture(params=["xla", "accelerate"])
def args(request: pytest.FixtureRequest, tmp_path: Path) -> list[object]:
    """A short run on two virtual cores, into `run`."""
    from accel_clf.data.demo_corpus import reviews

    rows = write_csv(tmp_path / "rows.csv", [(text[:60], label) for text, label in reviews(64)])
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    encoder = make_bert(tmp_path / "encoder", rows, 16, **shape)
    flags: list[object] = ["train", "--model.name", encoder, "--data.train", rows, "--data.max_length", 16]
    flags += ["--data.validation", "null", "--batch.size", 8, "--strategy", request.param, "--virtual_cores", 2]
    return [*flags, "--output", tmp_path / "run"]


def test_host_0_claims_the_folder_and_logs(args: list[object], tmp_path: Path) -> None:
    """Two hosts run the same command; the second one's cores have a world of their own here, and do not train."""
    work = command(args, leave_training_to_host_0)
    streams = [(tmp_path / f"stdout-{host}", tmp_path / f"stderr-{host}") for host in range(2)]
    hosts = [
        Forked(work, *streams[host], {**os.environ, "TPU_WORKER_ID": str(host), "TPU_WORKER_HOSTNAMES": "a,b"})
        for host in range(2)
    ]
    assert [process.wait(300) for process in hosts] == [0, 0], [path.read_text() for _, path in streams]
    stdout, stderr = ([path.read_text() for path in paths] for paths in zip(*streams, strict=True))
    assert "run folder:" in stdout[0]
    assert "64 training" in stderr[0]
    assert (stdout[1], stderr[1]) == ("", "")
    assert not (tmp_path / "run" / ".lock").exists()


def give_core_1_a_disk_of_its_own() -> None:
    import torch_xla.runtime as xr

    from accel_clf.training import shared_folder

    shared_folder.appears = lambda path: bool(xr.global_ordinal() == 0 and path.exists())


def test_cores_without_a_shared_disk_are_refused(args: list[object], tmp_path: Path) -> None:
    done = run_forked(command(args, give_core_1_a_disk_of_its_own), tmp_path)
    assert done.returncode == 1
    assert "1 of 2 processes do not see what rank 0 writes" in done.stderr
    assert "put --output on a shared disk" in done.stderr
    assert "warning" not in done.stderr
    assert not (tmp_path / "run").exists()
