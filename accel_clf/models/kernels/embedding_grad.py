"""An embedding's gradient on a CPU: only the rows of a step's tokens, in a table of zeros that is kept.

torch makes a new table at every step, as large as the embedding. With a vocabulary of 250,000 and an encoder as small
as MiniLM, that is a tenth of the step.
"""

from typing import cast

import torch
from torch import nn

LARGE = 1 << 20  # elements from which on it pays


class SparseEmbeddingGrad:
    """Turns the sparse gradients of a model's large embeddings into dense ones with the same bits.

    Args:
        model: its large embeddings get sparse gradients, in place.
    """

    def __init__(self, model: nn.Module) -> None:
        self.tables: dict[nn.Parameter, torch.Tensor] = {}
        for module in model.modules():
            if type(module) is nn.Embedding:
                weight = cast(nn.Parameter, module.weight)
                if weight.requires_grad and weight.numel() >= LARGE:
                    module.sparse = True
                    self.tables[weight] = torch.zeros_like(weight)
        self.touched: list[tuple[torch.Tensor, torch.Tensor]] = []  # tables, and their rows that are not zero

    def fill(self) -> None:
        """Make this step's gradients dense; to be called before they are clipped."""
        for weight, table in self.tables.items():
            if weight.grad is not None and weight.grad.is_sparse:
                # Not coalesced: one row after another, in the order in which torch adds up a dense gradient.
                rows = weight.grad._indices()[0]
                table.index_add_(0, rows, weight.grad._values())
                self.touched.append((table, rows))
                weight.grad = table

    def clear(self) -> None:
        """Zero what this step has touched; to be called after the optimizer's step."""
        for table, rows in self.touched:
            table.index_fill_(0, rows, 0)
        self.touched.clear()
