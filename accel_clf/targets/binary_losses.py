"""The losses of several labels a text, of an order's steps, and of numbers. Imports torch."""

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from accel_clf.config.schema import TargetConfig
from accel_clf.targets.cross_entropy import FOCAL_EXPONENT, with_constant
from accel_clf.targets.objective import Loss


def multi_label_loss(settings: TargetConfig, shares: np.ndarray) -> Loss:
    """Make the loss of several labels a text: the mean over labels, summed over rows.

    Args:
        settings: which, and label smoothing.
        shares: float [labels], of the training rows, that have the label; between 0 and 1, exclusive.

    Returns:
        A function of outputs, float32 [rows, labels], and labels, int8 [rows, labels]: 0, 1, or -1 in padding rows.
    """
    smoothing = settings.label_smoothing

    def terms(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        targets = labels.clamp(min=0).to(logits.dtype) * (1 - smoothing) + smoothing / 2
        return binary_cross_entropy_with_logits(logits, targets, reduction="none")

    def mean(values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return (values * (labels >= 0)).sum() / values.shape[1]

    if settings.loss == "focal":
        # Lin et al., 2017: what is answered well already counts less.
        def focal(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            values = terms(logits, labels)
            return mean((-torch.expm1(-values)) ** FOCAL_EXPONENT * values, labels)

        return focal
    if settings.loss == "weighted":
        # Having a label and not having it weigh the same in all; the mean weight of a training row is 1.
        weights = np.stack([0.5 / (1 - shares), 0.5 / shares])
        return with_constant(
            weights,
            lambda logits, labels, pair: mean(
                terms(logits, labels) * torch.where(labels > 0, pair[1], pair[0]), labels
            ),
        )
    if settings.loss == "logit_adjusted":
        # Menon et al., 2021, of each label: what is learned is the evidence beyond its share.
        return with_constant(
            log_odds(shares), lambda logits, labels, prior: mean(terms(logits + prior, labels), labels)
        )
    return lambda logits, labels: mean(terms(logits, labels), labels)


def continuation_loss(settings: TargetConfig, counts: np.ndarray) -> Loss:
    """Make the loss of an order's steps: a label's negative log-likelihood, summed over rows.

    Output k is the log-odds that a text that is at step k goes on to the next: the conditional outputs of CORN (Shi et
    al., 2023), known in statistics as the continuation-ratio model.

    Args:
        settings: which.
        counts: int [labels], the training rows of each label.

    Returns:
        A function of outputs, float32 [rows, labels - 1], and labels, int64 [rows], below 0 in padding rows.
    """

    def of_rows(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        step = torch.arange(logits.shape[1], device=logits.device)
        goes_on, is_reached = labels[:, None] > step, labels[:, None] >= step  # neither is true of padding rows
        return (softplus(torch.where(goes_on, -logits, logits)) * is_reached).sum(dim=1)

    if settings.loss == "focal":

        def focal(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            values = of_rows(logits, labels)
            return ((-torch.expm1(-values)) ** FOCAL_EXPONENT * values).sum()

        return focal
    if settings.loss == "weighted":
        weights = counts.sum() / (len(counts) * np.maximum(counts, 1))
        return with_constant(
            weights,
            lambda logits, labels, of_labels: (of_labels[labels.clamp(min=0)] * of_rows(logits, labels)).sum(),
        )
    return lambda logits, labels: of_rows(logits, labels).sum()


def squared_error(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum the squared errors of outputs, float32 [rows, 1], from labels, float32 [rows], NaN in padding rows."""
    is_row = ~labels.isnan()
    return ((outputs[:, 0] - torch.where(is_row, labels, outputs[:, 0].detach())) ** 2).sum()


def log_odds(shares: np.ndarray) -> np.ndarray:
    """Return log(p / (1 - p)) of shares between 0 and 1, exclusive."""
    odds: np.ndarray = np.log(shares) - np.log1p(-shares)
    return odds
