"""An encoder on a CPU that calls a layer repeatedly: the last time, at each document's first token only."""

from typing import Any

import torch

from accel_clf.models.kernels.first_token import FirstTokenLayer


class LastRepeatedLayer(FirstTokenLayer):
    """The forward of the layer that is called last, and may have been called before."""

    def __call__(
        self,
        hidden: torch.Tensor,
        mask: None,
        *,
        lengths: tuple[int, ...],
        starts: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Compute the layer's output.

        Args:
            hidden: its input, [1, tokens, width].
            mask: none.
            lengths: tokens of each document.
            starts: each document's first position, in the last call; otherwise None.

        Returns:
            [1, tokens, width]; in the last call [documents, 1, width].
        """
        if starts is not None:
            return self.compute(hidden, lengths, starts)
        output: torch.Tensor = type(self.layer).forward(self.layer, hidden, mask, lengths=lengths)
        return output


class RepeatingEncoder:
    """The forward of ALBERT's encoder on packed tokens: from embeddings to its output at first tokens.

    Args:
        encoder: the encoder, without its embeddings.
    """

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder

    def __call__(
        self,
        hidden: torch.Tensor,
        mask: None,
        *,
        position_ids: torch.Tensor,
        lengths: tuple[int, ...],
        starts: torch.Tensor,
    ) -> Any:
        """Compute the output.

        Args:
            hidden: embeddings, [1, tokens, width].
            mask: none.
            position_ids: which the embeddings have read already.
            lengths: tokens of each document.
            starts: each document's first position, int64 [documents].
        """
        from transformers.modeling_outputs import BaseModelOutput

        config, groups = self.encoder.config, self.encoder.albert_layer_groups
        calls_per_group = config.num_hidden_layers / config.num_hidden_groups
        calls = [
            layer
            for call in range(config.num_hidden_layers)
            for layer in groups[int(call / calls_per_group)].albert_layers
        ]
        hidden = self.encoder.embedding_hidden_mapping_in(hidden)
        for layer in calls[:-1]:
            hidden = layer(hidden, mask, lengths=lengths)
        return BaseModelOutput(last_hidden_state=calls[-1](hidden, mask, lengths=lengths, starts=starts))
