"""On a GPU: the host does not wait for it within a step, and its layers give the CPU's logits and gradients."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.utils import send_to_device

from accel_clf.data.collate import pack_varlen, pad
from tests.models.test_packed import LONGEST, PAD, make_model, random_rows, varlen_copy

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")


@pytest.mark.parametrize("heads", [1, 4, 16])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_logits_and_gradients_equal_the_cpus(heads: int, dtype: torch.dtype, tolerance: float) -> None:
    plain = make_model("bert", num_attention_heads=heads).eval()
    rows = random_rows([9, 512, 1, 130])
    logits = plain(**pad(rows, PAD)).logits
    logits.sum().backward()
    packed = varlen_copy(plain).cuda()
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        packed_logits = packed(**send_to_device(pack_varlen(rows, PAD, LONGEST), "cuda")).logits[: len(rows)].float()
    packed_logits.sum().backward()
    torch.testing.assert_close(packed_logits.cpu(), logits, rtol=0, atol=tolerance)
    for (name, weight), packed_weight in zip(plain.named_parameters(), packed.parameters(), strict=True):
        if weight.grad is not None:
            error = (packed_weight.grad.cpu() - weight.grad).norm() / weight.grad.norm().clamp(min=1e-3)
            assert error < 10 * tolerance, name


def test_step_does_not_synchronize(
    tmp_path: Path, reviews: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In torch's sync debug mode, anything that makes the host wait raises; the first three steps warm up."""
    import accel_clf.training.loop
    from accel_clf.config.load import load
    from accel_clf.training.run import train

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
