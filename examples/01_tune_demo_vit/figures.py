"""What the exits cost and what they are worth: FLOPs, accuracy, accuracy at half the FLOPs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from fashion import SIDE
from torch.utils.flop_counter import FlopCounterMode
from vit import EXITS_AFTER, MultiExitViT

BUDGET = 0.5
RATIOS = np.geomspace(1e-3, 1e3, 4001)

Floats = npt.NDArray[np.float64]
Logits = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Costs:
    """FLOPs of the static model (trunk and last head, 2 a multiply-add) and each exit's share."""

    static_flops: int
    per_exit: tuple[float, ...]


@dataclass(frozen=True)
class Gated:
    """What thresholds on the top probability give on a labelled set."""

    thresholds: tuple[float, ...]
    shares: tuple[float, ...]
    cost: float
    accuracy: float


def count_costs(model: MultiExitViT) -> Costs:
    """Count the FLOPs of one image with torch's own counter and return the cumulative costs."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.zeros(1, 1, SIDE, SIDE, dtype=torch.uint8))
    flops = {name: sum(kinds.values()) for name, kinds in counter.get_flop_counts().items()}
    root = type(model).__name__
    trunk = flops[f"{root}.stem"] + np.cumsum(
        [flops[f"{root}.blocks.{block}"] for block in range(len(model.blocks))]
    )
    heads = np.cumsum([flops[f"{root}.exits.{index}"] for index in range(len(EXITS_AFTER))])
    static = int(trunk[-1]) + flops[f"{root}.exits.{len(EXITS_AFTER) - 1}"]
    spent = trunk[np.asarray(EXITS_AFTER) - 1] + heads
    return Costs(static, tuple(float(value) for value in spent / static))


def accuracies(logits: Logits, labels: Labels) -> tuple[float, ...]:
    """Return the accuracy of every exit for logits ``(K, n, classes)``."""
    return tuple(float(value) for value in (logits.argmax(-1) == labels).mean(axis=1))


def top_probability(logits: Logits) -> Floats:
    """Return the probability ``(K, n)`` of the most likely class."""
    shifted = (logits - logits.max(axis=-1, keepdims=True)).astype(np.float64)
    best: Floats = 1.0 / np.exp(shifted).sum(axis=-1)
    return best


def exits_taken(confidence: Floats, thresholds: Floats) -> Labels:
    """Return for each sample the index (from 0) of the first exit at or above its threshold."""
    leaves = np.vstack([confidence[:-1] >= thresholds[:, None], np.ones(confidence.shape[1], bool)])
    taken: Labels = leaves.argmax(axis=0).astype(np.int64)
    return taken


def geometric_thresholds(confidence: Floats, costs: Floats) -> Floats:
    """Return thresholds whose exit shares are proportional to q**k and cost ``BUDGET`` on average.

    Shares by a geometric law, thresholds at the ranks they imply: Huang et al., "Multi-Scale
    Dense Networks" (ICLR 2018), section 4.
    """
    powers = RATIOS[:, None] ** np.arange(len(costs))
    shares = powers / powers.sum(axis=1, keepdims=True)
    share = shares[np.abs(shares @ costs - BUDGET).argmin()]
    alive = np.arange(confidence.shape[1])
    thresholds = np.empty(len(costs) - 1)
    for index, fraction in enumerate(share[:-1]):
        order = alive[np.argsort(-confidence[index, alive], kind="stable")]
        leaving = min(max(round(fraction * confidence.shape[1]), 1), len(order) - 1)
        thresholds[index] = confidence[index, order[leaving - 1 : leaving + 1]].mean()
        alive = alive[confidence[index, alive] < thresholds[index]]
    return thresholds


def at_half_the_flops(calibration: Logits, test: Logits, labels: Labels, costs: Costs) -> Gated:
    """Fit thresholds on ``calibration`` and return what they give on ``test``."""
    per_exit = np.asarray(costs.per_exit)
    thresholds = geometric_thresholds(top_probability(calibration), per_exit)
    taken = exits_taken(top_probability(test), thresholds)
    answers = test.argmax(-1)[taken, np.arange(len(labels))]
    shares = np.bincount(taken, minlength=len(per_exit)) / len(labels)
    return Gated(
        thresholds=tuple(thresholds.tolist()),
        shares=tuple(shares.tolist()),
        cost=float(shares @ per_exit),
        accuracy=float((answers == labels).mean()),
    )
