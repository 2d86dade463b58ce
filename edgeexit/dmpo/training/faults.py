"""A loss or gradient that is no number: which, where, and what to do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from edgeexit.errors import ModelError


def nan_error(
    what: str, *, epoch: int, step: int, rates: Mapping[str, float], checkpoint: Path | None
) -> ModelError:
    """Return the error for a training that has diverged.

    Args:
        what: What is not finite, with its value.
        epoch: The epoch, from 1.
        step: The optimizer step, from 1.
        rates: Learning rate of each part.
        checkpoint: The last checkpoint, from before it, or None.
    """
    present = ", ".join(f"{rate:.3g} of the {part}" for part, rate in rates.items())
    kept = f"{checkpoint} holds the training before it; " if checkpoint else ""
    return ModelError(
        f"{what} in epoch {epoch}, step {step}, at a learning rate of {present}; "
        "a finite number was expected.",
        hint=f"{kept}start anew (--restart) with a lower training.lr and training.head_lr, for "
        f"example {max(rates.values(), default=1e-3) / 10:.1g}, or with a longer training.warm_up.",
        code="tune.nan",
    )


def loss_fault(objective: float, losses: Sequence[float]) -> str | None:
    """Return which loss is not finite, with its value, or None.

    Args:
        objective: The loss that is minimised.
        losses: Cross-entropy of each exit.
    """
    for number, loss in enumerate(losses, start=1):
        if not math.isfinite(loss):
            return f"the loss of exit {number} of {len(losses)} is {loss}"
    if not math.isfinite(objective):
        return f"the objective is {objective}, though every exit's own loss is finite,"
    return None


def weight_fault(weights: Mapping[str, Tensor]) -> str | None:
    """Return which weight is not finite, or None."""
    for name, value in weights.items():
        if not value.isfinite().all():
            return f"the weight {name} is not finite"
    return None


def gradient_fault(parameters: Iterable[tuple[str, nn.Parameter]]) -> str:
    """Return which gradient is not finite; the caller knows that one is."""
    for name, parameter in parameters:
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            return f"the gradient of {name} is not finite"
    return "the norm of the gradient is not finite"
