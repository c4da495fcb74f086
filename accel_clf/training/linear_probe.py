"""Where a head begins that has few rows to learn from: as a linear model of what it reads (Kumar et al., 2022)."""

import numpy as np
import torch
from torch import nn

from accel_clf.core.console import log, progress_bar
from accel_clf.core.errors import ConfigError
from accel_clf.core.process_env import is_main_process
from accel_clf.data.collate import make_inputs
from accel_clf.models.head import last_linear
from accel_clf.models.windows import inputs_of, pool
from accel_clf.targets.objective import Objective
from accel_clf.training.batches import TrainingRows
from accel_clf.training.prepare import PreparedRun

MAX_ROWS = 20_000  # more tell a linear model little
BATCH_SIZE = 32
PENALTY = 0.05  # of squared weights, for inputs of norm 1: logistic regression's C is 10
MAX_ITERATIONS = 500


def fit_head(model: nn.Module, prepared: PreparedRun) -> None:
    """Fit the last linear layer to the training rows, towards the target's own loss, by L-BFGS; in place.

    Args:
        model: with a new head, on the host; the rest of it is left as it is.
        prepared: has the rows.

    Raises:
        ConfigError: the head does not end in a linear layer of one vector a text.
    """
    rows = prepared.training_rows("padded")
    chosen = np.arange(len(rows.tokens))
    if len(chosen) > MAX_ROWS:
        chosen = np.random.default_rng(prepared.config.training.seed).permutation(chosen)[:MAX_ROWS]
    linear_name = last_linear(model)
    if linear_name is None:
        raise _no_linear_layer(model)
    states = _states(model, linear_name, rows, chosen, prepared.config.data.max_length)
    _fit(model.get_submodule(linear_name), states, rows.objective, chosen)
    if is_main_process():
        log(f"the head begins as a linear model, fitted to the encoder's embeddings of {len(chosen)} training rows")


def _no_linear_layer(model: nn.Module) -> ConfigError:
    return ConfigError(
        f"training.method is lp_ft, and {type(model).__name__}'s head does not end in a linear layer of one vector",
        "a head that a linear model can begin",
        "--training.method fine_tune",
    )


@torch.no_grad()
def _states(
    model: nn.Module, linear_name: str, rows: TrainingRows, chosen: np.ndarray, max_length: int
) -> torch.Tensor:
    """Compute what the last linear layer reads of rows, without dropout: float32 [chosen, columns]."""
    order = np.argsort(rows.tokens.lengths[chosen], kind="stable")
    states: torch.Tensor | None = None
    model.eval()
    with progress_bar("embedding", len(order), is_main_process()) as bar:
        for part in np.split(order, range(BATCH_SIZE, len(order), BATCH_SIZE)):
            texts = [rows.tokens[row] for row in chosen[part].tolist()]
            inputs = make_inputs(texts, "padded", rows.padding, max_length=max_length)
            with inputs_of(model, linear_name) as read:
                model(**inputs)
            if read[0].dim() != 2:
                raise _no_linear_layer(model)
            members = inputs.get("members")
            of_texts = read[0] if members is None else pool(read[0], members, "mean")
            states = of_texts.new_empty(len(chosen), of_texts.shape[1]) if states is None else states
            states[torch.from_numpy(part)] = of_texts
            bar.advance(len(part))
    model.train()
    assert states is not None, "there are rows"
    return states


def _fit(linear: nn.Module, states: torch.Tensor, objective: Objective, chosen: np.ndarray) -> None:
    """Minimize the loss of a linear layer's outputs, with a penalty of its squared weights; in place."""
    assert isinstance(linear, nn.Linear), "by last_linear"
    labels = torch.from_numpy(objective.labels[chosen])
    scale = states.square().sum(dim=1).mean().rsqrt()  # inputs are then of norm 1, whatever the encoder's are
    weight = torch.zeros_like(linear.weight, requires_grad=True)
    bias = None if linear.bias is None else linear.bias.detach().clone().requires_grad_()
    inputs, penalty = scale * states, PENALTY / (labels.shape[1] if labels.dim() == 2 else 1)  # as the loss is a mean

    optimizer = torch.optim.LBFGS(
        [weight] if bias is None else [weight, bias],
        max_iter=MAX_ITERATIONS,
        tolerance_grad=1e-4,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = objective.loss(nn.functional.linear(inputs, weight, bias), labels) + penalty * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        linear.weight.copy_(scale * weight)
        if bias is not None:
            linear.bias.copy_(bias)
