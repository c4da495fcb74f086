"""Every row goes through the model exactly once, and its logits come back at its index."""

import numpy as np
import pytest
import torch
from torch import nn

from accel_clf.core.errors import UserError
from accel_clf.data.collate import Padding
from accel_clf.data.tokenization import TokenizedDataset
from accel_clf.inference.forward import compute_logits
from accel_clf.strategies.accelerate import AccelerateStrategy

PAD = Padding(0)


class FirstTokenModel(nn.Module):
    """A classifier whose logits are a row's first token and its length, so that each output can be traced."""

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> object:
        class Output:
            logits = torch.stack([input_ids[:, 0], attention_mask.sum(1)], dim=1).float()

        return Output


@pytest.mark.parametrize("layout", ["padded", "bucketed"])
@pytest.mark.parametrize("count", [1, 7, 8, 103])
def test_each_row_gets_its_own_logits(layout: str, count: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 30, count)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    tokens = TokenizedDataset(np.arange(starts[-1], dtype=np.int32), starts[:-1], starts[1:], int(starts[-1]))
    strategy = AccelerateStrategy("fp32")
    logits = compute_logits(
        FirstTokenModel(),
        tokens,
        strategy,
        size=8,
        layout=layout,
        max_length=32,
        padding=Padding(0),
        show_progress=False,
    )
    assert logits[:, 0].tolist() == starts[:-1].tolist()
    assert logits[:, 1].tolist() == lengths.tolist()


def test_missing_rows_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = AccelerateStrategy("fp32")
    tokens = TokenizedDataset(np.arange(10, dtype=np.int32), np.arange(10), np.arange(1, 11), 9)
    all_batches = strategy.batches
    monkeypatch.setattr(strategy, "batches", lambda batches, collate: list(all_batches(batches, collate))[:-1])
    with pytest.raises(UserError, match="answered 8 rows"):
        compute_logits(
            FirstTokenModel(),
            tokens,
            strategy,
            size=4,
            layout="padded",
            max_length=8,
            padding=Padding(0),
            show_progress=False,
        )
