"""On a GPU: the host does not wait for it within a step, and packed attention gives the CPU's logits."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.utils import send_to_device

from accel_clf.data.collate import pack
from accel_clf.models.families import FAMILIES
from accel_clf.models.packed import pack_model
from tests.models.test_packed import make_model, random_rows

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_logits_equal_the_cpus(dtype: torch.dtype) -> None:
    model = make_model("bert").eval()
    pack_model(model, FAMILIES["bert"])
    batch = pack(random_rows([9, 512, 1, 130]))
    cuda_batch = send_to_device(batch, "cuda")
    with torch.no_grad():
        expected = model(**batch).logits
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            logits = model.cuda()(**cuda_batch).logits.float().cpu()
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4 if dtype == torch.float32 else 0.1)


def test_step_does_not_synchronize(
    tmp_path: Path, reviews: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In torch's sync debug mode, anything that makes the host wait raises; the first three steps warm up."""
    import accel_clf.training.loop
    from accel_clf.config.load import load
    from accel_clf.training.trainer import train

    step, steps = accel_clf.training.loop.train_step, [0]

    def checked_step(*args: Any) -> Any:
        steps[0] += 1
        torch.cuda.set_sync_debug_mode("error" if steps[0] > 3 else "default")
        try:
            return step(*args)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(accel_clf.training.loop, "train_step", checked_step)
    data = {"train": str(reviews), "max_length": 64}
    train(load(None, {"model": {"name": str(tiny_bert)}, "data": data, "output": str(tmp_path / "run")}))
    assert steps[0] > 3
