"""Logits to probabilities."""

import numpy as np


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax over classes: float64 [rows, classes], so that no class is rounded to zero.

    By torch, whose bits the files of earlier runs have; imported here, since a server's HTTP process has no use for it.
    """
    import torch

    scores: np.ndarray = torch.from_numpy(logits).double().softmax(dim=-1).numpy()
    return scores
