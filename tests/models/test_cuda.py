"""What only a GPU shows: that the host does not wait for it, and that its packed attention is the CPU's."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.utils import send_to_device

from accel_clf.data.collate import pack
from accel_clf.models.families import FAMILIES
from accel_clf.models.packed import pack_model
from tests.models.test_packed import make, rows_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_as_on_the_cpu(dtype: torch.dtype) -> None:
    model = make("bert").eval()
    pack_model(model, FAMILIES["bert"])
    batch = pack(rows_of([9, 512, 1, 130]))
    there = send_to_device(batch, "cuda")
    with torch.no_grad():
        here = model(**batch).logits
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            found = model.cuda()(**there).logits.float().cpu()
    torch.testing.assert_close(found, here, rtol=0, atol=1e-4 if dtype == torch.float32 else 0.1)


def test_a_step_does_not_wait(tmp_path: Path, reviews: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sync debug mode: torch raises at anything that makes the host wait inside of a step, once all is warm."""
    import accel_clf.training.loop
    from accel_clf.config.load import load
    from accel_clf.training.trainer import train

    step, seen = accel_clf.training.loop.train_step, [0]

    def watched(*given: Any) -> Any:
        seen[0] += 1
        torch.cuda.set_sync_debug_mode("error" if seen[0] > 3 else "default")
        try:
            return step(*given)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(accel_clf.training.loop, "train_step", watched)
    data = {"train": str(reviews), "max_length": 64}
    train(load(None, {"model": {"name": str(tiny_bert)}, "data": data, "output": str(tmp_path / "run")}))
    assert seen[0] > 3
