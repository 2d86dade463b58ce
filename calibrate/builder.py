"""From the outputs of all exits to exit records, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeexit.calibrate.checks import Array, Integers, check_group, check_labels, check_outputs
from edgeexit.calibrate.records import ExitRecords, Floats, GateLayout
from edgeexit.calibrate.temperature import fit_temperature, log_softmax
from edgeexit.errors import InputError

HELD_SAMPLES = 2000
"""Samples whose logits are held, in memory only, to fit the last exit's temperature."""

MINIMUM_SAMPLES = 50
"""Below this a threshold is an anecdote: one sample moves an exit share by over 2 %."""

ADVISED_SAMPLES = 1000
"""From here on the realised mean cost is usually within 0.01 of the budget."""


@dataclass(frozen=True)
class _Batch:
    """One checked batch: K logits ``(b, C_k)``, ``(b, K-1, F)`` features, labels, groups."""

    logits: tuple[Array, ...]
    features: Floats
    labels: Integers | None
    group: Integers | None

    def rows(self, part: slice) -> _Batch:
        """Return copies of some rows, free of the arrays they came from."""
        return _Batch(
            tuple(array[part].copy() for array in self.logits),
            self.features[part].copy(),
            None if self.labels is None else self.labels[part].copy(),
            None if self.group is None else self.group[part].copy(),
        )

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True)
class _Reduced:
    """One batch of records: features, soft, quality, group."""

    features: Floats
    soft: Floats
    quality: Floats
    group: Integers | None


def _reduce(batch: _Batch, temperature: float) -> _Reduced:
    """Drop the logits of a batch once ``soft`` and ``quality`` are taken from them."""
    answers = np.stack([array.argmax(axis=1) for array in batch.logits], axis=1)
    truth = answers[:, -1] if batch.labels is None else batch.labels
    quality = (answers == truth[:, None]).astype(np.float32)
    soft = quality
    if len({array.shape[1] for array in batch.logits}) == 1:
        belief = np.exp(log_softmax(batch.logits[-1].astype(np.float64), temperature))
        soft = np.take_along_axis(belief, answers, axis=1).astype(np.float32)
    return _Reduced(batch.features, soft, quality, batch.group)


class RecordBuilder:
    """Reduces the outputs of all exits to records as they stream in.

    It holds the logits of the first 2,000 samples at most, fits the last exit's temperature on
    them, and reduces every later sample at once. Feed it samples in random order: data sorted by
    class would give those 2,000 too few classes.

    Args:
        gate: Layout of the model's gates.
        num_exits: K >= 2.
        held: Number of samples whose logits are held.
    """

    def __init__(self, gate: GateLayout, num_exits: int, *, held: int = HELD_SAMPLES) -> None:
        self._gate = gate
        self._num_exits = num_exits
        self._held_limit = held
        self._held: list[_Batch] = []
        self._reduced: list[_Reduced] = []
        self._temperature: float | None = None
        self._samples = 0
        self._given: tuple[bool, bool] | None = None

    def add(
        self,
        logits: Sequence[Array],
        features: Sequence[Array],
        labels: Array | None = None,
        group: Array | None = None,
    ) -> None:
        """Take one batch of b samples.

        Args:
            logits: K arrays ``(b, C_k)``.
            features: K - 1 arrays ``(b, F)``.
            labels: ``(b,)`` integers in [0, C_K), or None.
            group: ``(b,)`` integers, or None.

        Raises:
            InputError: Shapes, values or labels are not as above, or only some batches have
                labels or groups.
        """
        width = len(self._gate.features)
        check_outputs(logits, features, (self._num_exits, width), self._samples)
        batch = self._batch(logits, features, labels, group)
        self._samples += len(batch)
        if self._temperature is None:
            room = self._held_limit - sum(len(part) for part in self._held)
            self._held.append(batch.rows(slice(0, room)))
            if len(batch) < room:
                return
            self._fit()
            batch = batch.rows(slice(room, None))
        if len(batch):
            self._reduced.append(_reduce(batch.rows(slice(None)), self._known_temperature))

    def build(self, data_sha256: str = "") -> ExitRecords:
        """Return the records of all samples taken.

        Args:
            data_sha256: Digest of the data set they came from.

        Raises:
            InputError: There are fewer than 50 samples.
        """
        if self._samples < MINIMUM_SAMPLES:
            raise InputError(
                f"{self._samples} samples are too few to calibrate exits; {MINIMUM_SAMPLES} is "
                "the least.",
                hint=f"give {ADVISED_SAMPLES} samples or more: the budget is then usually met "
                "within 0.01.",
                code="data.samples",
            )
        if self._temperature is None:
            self._fit()
        parts = self._reduced
        labelled, grouped = self._given or (False, False)
        groups = [part.group for part in parts if part.group is not None]
        return ExitRecords(
            np.concatenate([part.features for part in parts]),
            np.concatenate([part.soft for part in parts]),
            np.concatenate([part.quality for part in parts]),
            "accuracy" if labelled else "agreement",
            np.concatenate(groups) if grouped else None,
            self._gate,
            self._known_temperature,
            data_sha256,
        )

    @property
    def _known_temperature(self) -> float:
        """The temperature, once it has been fitted."""
        if self._temperature is None:
            raise RuntimeError("the temperature is asked for before it was fitted")
        return self._temperature

    def _fit(self) -> None:
        """Fit the temperature on the held samples, then reduce and forget their logits."""
        labels = [part.labels for part in self._held if part.labels is not None]
        last = np.concatenate([part.logits[-1] for part in self._held]).astype(np.float64)
        self._temperature = fit_temperature(last, np.concatenate(labels)) if labels else 1.0
        self._reduced += [_reduce(part, self._temperature) for part in self._held]
        self._held = []

    def _batch(
        self,
        logits: Sequence[Array],
        features: Sequence[Array],
        labels: Array | None,
        group: Array | None,
    ) -> _Batch:
        """Return the batch with its labels and groups checked."""
        given = (labels is not None, group is not None)
        if self._given not in (None, given):
            raise InputError(
                "some batches have labels or groups and others have none; right is all or none.",
                hint="give labels for every sample, or leave them out.",
                code="data.labels",
            )
        self._given = given
        size, classes = logits[-1].shape
        return _Batch(
            tuple(logits),
            np.stack(features, axis=1).astype(np.float32, copy=False),
            None if labels is None else check_labels(labels, classes, size, self._samples),
            None if group is None else check_group(group, size),
        )
