"""Cross-entropy in the forms that help where some labels are rare. Imports torch."""

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from accel_clf.config.schema import TargetConfig
from accel_clf.targets.objective import Loss

PADDING_LABEL = -100  # of rows that do not count: what torch's cross-entropy ignores
FOCAL_EXPONENT = 2.0  # the paper's


def cross_entropy_loss(settings: TargetConfig, counts: np.ndarray) -> Loss:
    """Make the loss of one label a text, summed over rows; see `targets.base.Objective`.

    Args:
        settings: which, and label smoothing.
        counts: int [classes], the training rows of each label.
    """
    plain = partial(
        cross_entropy, ignore_index=PADDING_LABEL, reduction="sum", label_smoothing=settings.label_smoothing
    )
    if settings.loss == "focal":
        return _focal
    shares = np.maximum(counts, 1) / counts.sum()
    if settings.loss == "weighted":
        # The mean weight of a training row is 1, so that the learning rate keeps its meaning.
        return with_constant(1 / (len(counts) * shares), lambda logits, labels, weights: plain(logits, labels, weights))
    if settings.loss == "logit_adjusted":
        # Menon et al., 2021: what is learned is the evidence beyond the labels' shares.
        return with_constant(np.log(shares), lambda logits, labels, prior: plain(logits + prior, labels))
    return plain


def _focal(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Compute the focal loss (Lin et al., 2017): rows that are answered well already count less."""
    of_rows = cross_entropy(logits, labels, ignore_index=PADDING_LABEL, reduction="none")
    missing = -torch.expm1(-of_rows)  # 1 - the probability of the right label; its gradient is a part of the loss's
    return (missing**FOCAL_EXPONENT * of_rows).sum()


def with_constant(values: np.ndarray, loss: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]) -> Loss:
    """Bind an array to a loss, which gets it on the device of the logits."""
    constant = torch.from_numpy(values.astype(np.float32))

    @lru_cache(maxsize=8)  # one process has eight devices at most
    def on_device(device: torch.device) -> torch.Tensor:
        return constant.to(device)

    return lambda logits, labels: loss(logits, labels, on_device(logits.device))
