"""An embedding's gradient on a CPU: the rows that a step's tokens have, in a table of zeros that stays.

torch makes a new table at every step, as large as the embedding. Where a vocabulary of 250,000 stands before an encoder
as small as MiniLM, that is a tenth of the step.
"""

from typing import cast

import torch
from torch import nn

LARGE = 1 << 20  # elements, from which on it pays


class SparseEmbeddingGrad:
    """Takes the sparse gradients of a model's embeddings, and gives the optimizer dense ones with the same bits.

    Args:
        model: its large embeddings are told, in place, to have sparse gradients.
    """

    def __init__(self, model: nn.Module) -> None:
        self.tables: dict[nn.Parameter, torch.Tensor] = {}
        for module in model.modules():
            if type(module) is nn.Embedding:
                weight = cast(nn.Parameter, module.weight)
                if weight.requires_grad and weight.numel() >= LARGE:
                    module.sparse = True
                    self.tables[weight] = torch.zeros_like(weight)
        self.rows: list[tuple[torch.Tensor, torch.Tensor]] = []

    def fill(self) -> None:
        """Before gradients are clipped: make those of this step's backward dense."""
        for weight, table in self.tables.items():
            if weight.grad is not None and weight.grad.is_sparse:
                # Not coalesced: one row after another, as torch adds them up in a dense gradient.
                rows = weight.grad._indices()[0]
                table.index_add_(0, rows, weight.grad._values())
                self.rows.append((table, rows))
                weight.grad = table

    def clear(self) -> None:
        """After the optimizer's step: zeros again."""
        for table, rows in self.rows:
            table.index_fill_(0, rows, 0)
        self.rows.clear()
