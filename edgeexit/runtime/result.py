"""What a call returns: plain numpy arrays, one row a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Result:
    """The answers to n samples.

    Attributes:
        logits: ``(n, C)``, each row from the exit its sample left at; a list of n arrays where
            the exits' logits differ in shape.
        exits: ``(n,) int32`` exits taken, numbered from 1.
        scores: ``(n,) float32`` score of the gate that let a sample go; NaN at the last exit.
        outputs: Where exits have more outputs than logits: by tensor name an array with one row
            for each sample that left at the exit it belongs to, in the order of the samples.
        exit_costs: ``c_k``, the FLOPs of leaving at each exit as fractions of the static model.
        rejected: ``(n,) bool`` samples whose input held NaN or infinity (these were sent to the
            last exit), or None.
    """

    logits: npt.NDArray[Any] | list[npt.NDArray[Any]]
    exits: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    outputs: Mapping[str, npt.NDArray[Any]]
    exit_costs: tuple[float, ...]
    rejected: npt.NDArray[np.bool_] | None = None

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """``(n,) int64`` classes with the largest logit (along the last axis)."""
        if isinstance(self.logits, list):
            return np.asarray([row.argmax(axis=-1) for row in self.logits], dtype=np.int64)
        labels: npt.NDArray[np.int64] = self.logits.argmax(axis=-1)
        return labels

    @property
    def costs(self) -> npt.NDArray[np.float64]:
        """``(n,) float64`` FLOPs spent on each sample, as fractions of the static model."""
        return np.asarray(self.exit_costs)[self.exits - 1]

    @property
    def cost(self) -> float:
        """Mean of :attr:`costs`."""
        return float(self.costs.mean())

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """``(n,) bool``: False where the input or the logits hold NaN or infinity."""
        rows: Sequence[npt.NDArray[Any]] | npt.NDArray[Any] = self.logits
        finite = np.asarray([bool(np.isfinite(row).all()) for row in rows])
        return finite if self.rejected is None else finite & ~self.rejected


@dataclass(frozen=True, slots=True)
class AllExits:
    """What every exit says of n samples, for calibration and parity.

    Attributes:
        logits: K arrays ``(n, C_k)``.
        features: K - 1 arrays ``(n, F) float32`` of gate features.
        scores: K - 1 arrays ``(n,) float32`` of gate scores, under the parameters of the present
            budget (the gate's default ones where the runtime is not calibrated).
    """

    logits: list[npt.NDArray[Any]]
    features: list[npt.NDArray[np.float32]]
    scores: list[npt.NDArray[np.float32]]
