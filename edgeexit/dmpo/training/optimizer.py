"""AdamW in groups, and the course of its learning rates."""

from __future__ import annotations

import math

from torch import nn
from torch.optim import AdamW, Optimizer

from edgeexit.dmpo.config import TrainingConfig

BACKBONE = "backbone"
"""Name of the groups that hold what is tuned of the trunk, and prefix of its parameters."""

EXITS = "exits"
"""Name of the groups that hold everything else."""


def build_optimizer(model: nn.Module, config: TrainingConfig) -> AdamW:
    """Return AdamW over the parameters that require gradients.

    Each group has a ``part`` (``backbone`` or ``exits``) and a ``peak`` learning rate. Matrices and
    kernels decay; vectors and scalars (norms, biases, beta) do not.

    Args:
        model: Parameters under ``backbone.`` take ``lr``, all others ``head_lr``.
        config: Learning rates and weight decay.
    """
    head_rate = config.lr if config.head_lr is None else config.head_lr
    peaks = {BACKBONE: config.lr, EXITS: head_rate}
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = BACKBONE if name.startswith(f"{BACKBONE}.") else EXITS
            groups.setdefault((part, parameter.ndim > 1), []).append(parameter)
    return AdamW(
        [
            {
                "params": parameters,
                "part": part,
                "peak": peaks[part],
                "weight_decay": config.weight_decay if decays else 0.0,
            }
            for (part, decays), parameters in groups.items()
        ],
        lr=config.lr,
        # One kernel for all parameters: LoRA has many small ones.
        fused=True,
    )


def rate_share(step: int, steps: int, warm_up: float) -> float:
    """Return the learning rate of a step as a share of its peak.

    It rises linearly over the first ``warm_up`` of the steps, then falls as a half cosine towards
    0, which the step after the last one would have (Loshchilov & Hutter, "SGDR", eq. 5).

    Args:
        step: The step, from 0.
        steps: All steps of the training.
        warm_up: Share of the steps that warm up, 0 to 1.
    """
    rising = round(warm_up * steps)
    if step < rising:
        return (step + 1) / rising
    return (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising))) / 2


def set_rates(optimizer: Optimizer, share: float) -> None:
    """Give every group ``share`` of its peak learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


def rates(optimizer: Optimizer) -> dict[str, float]:
    """Return the present learning rate of each part that is tuned."""
    return {group["part"]: float(group["lr"]) for group in optimizer.param_groups}
