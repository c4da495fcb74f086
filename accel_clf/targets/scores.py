"""Logits to probabilities."""

import numpy as np


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Apply softmax over classes: float64 [rows, classes], so that no class is rounded to zero.

    By torch, whose bits earlier runs' files have; imported here, since the HTTP process of a server has no need of it.
    """
    import torch

    scores: np.ndarray = torch.from_numpy(logits).double().softmax(dim=-1).numpy()
    return scores
