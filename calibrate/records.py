"""Exit records: all that calibration keeps of a data set, and never a logit."""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.atomic import write_atomic
from edgeexit.bundle.npz import read_npz
from edgeexit.bundle.specs import GateSpec
from edgeexit.errors import InputError

Floats = npt.NDArray[np.float32]
QualityKind = Literal["accuracy", "agreement"]
"""``accuracy``: correctness, where labels were given. ``agreement``: with the last exit."""


@dataclass(frozen=True)
class GateLayout:
    """What calibration must know of the gates of one model, which all share it.

    The last F of a gate's parameters weigh its F features; those before them (an inverse
    temperature) shape the features, so records are valid only at the values they were taken at.

    Attributes:
        name: Name of the gate.
        version: Version of its feature list.
        features: Names of its F features, in order.
        default_params: The P >= F parameter values at which the records were taken.
    """

    name: str
    version: int
    features: tuple[str, ...]
    default_params: tuple[float, ...]

    @classmethod
    def of(cls, gate: GateSpec) -> GateLayout:
        """Return the layout of a compiled gate."""
        return cls(gate.name, gate.version, gate.features, gate.default_params)

    @property
    def prefix(self) -> tuple[float, ...]:
        """The parameters before the weights."""
        return self.default_params[: len(self.default_params) - len(self.features)]


@dataclass(frozen=True)
class ExitRecords:
    """What n samples did at K exits of one compiled model.

    Attributes:
        features: ``(n, K - 1, F) float32`` gate features, as the compiled gates gave them.
        soft: ``(n, K) float32``: the last exit's temperature-scaled belief in exit k's answer,
            ``softmax(L_K / T)[argmax L_k]``. Where exits differ in their class counts no such
            belief exists, and ``soft`` equals ``quality``.
        quality: ``(n, K) float32``: correctness of exit k, or its agreement with the last exit.
        quality_kind: Which of the two.
        group: ``(n,) int64`` independent unit (clip, patient, site) of each sample, or None.
        gate: Layout of the gates.
        last_temperature: T of the last exit; 1 without labels.
        data_sha256: Digest of the data set.
    """

    features: Floats
    soft: Floats
    quality: Floats
    quality_kind: QualityKind
    group: npt.NDArray[np.int64] | None
    gate: GateLayout
    last_temperature: float
    data_sha256: str

    def __post_init__(self) -> None:
        """Check that the arrays belong together.

        Raises:
            InputError: Shapes disagree, a value is not finite, or the kind of quality is unknown.
        """
        samples, gates, width = self.features.shape if self.features.ndim == 3 else (-1, -1, -1)
        exits = (samples, gates + 1)
        group_ok = self.group is None or self.group.shape == (samples,)
        shapes_ok = self.soft.shape == exits and self.quality.shape == exits and group_ok
        if not shapes_ok or width != len(self.gate.features) or gates < 1 or samples < 1:
            raise InputError(
                f"exit records do not fit together: features {self.features.shape} for "
                f"{len(self.gate.features)} named features, soft {self.soft.shape}, quality "
                f"{self.quality.shape}; right are (n, K-1, F), (n, K) and (n, K).",
                hint="build records with RecordBuilder, which keeps them in step.",
                code="records.shape",
            )
        finite = all(np.isfinite(a).all() for a in (self.features, self.soft, self.quality))
        if not finite or self.quality_kind not in ("accuracy", "agreement"):
            raise InputError(
                f"exit records hold values that are not finite, or quality of an unknown kind "
                f"({self.quality_kind!r}).",
                hint="build records with RecordBuilder from a bundle that passes `verify`.",
                code="records.values",
            )

    @property
    def num_exits(self) -> int:
        """K."""
        return int(self.quality.shape[1])

    def __len__(self) -> int:
        return len(self.quality)

    def take(self, rows: npt.NDArray[np.int64]) -> ExitRecords:
        """Return the records of the given samples."""
        group = None if self.group is None else self.group[rows]
        return ExitRecords(
            self.features[rows],
            self.soft[rows],
            self.quality[rows],
            self.quality_kind,
            group,
            self.gate,
            self.last_temperature,
            self.data_sha256,
        )

    def save(self, path: str | Path) -> None:
        """Write the records as ``.npz`` (no pickle), all of it or nothing.

        Raises:
            ResourceError: The file cannot be written.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "gate"}
        values |= {f"gate_{f.name}": getattr(self.gate, f.name) for f in fields(GateLayout)}
        arrays: dict[str, Any] = {
            name: np.asarray(value) for name, value in values.items() if value is not None
        }
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_atomic(Path(path), buffer.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> ExitRecords:
        """Read records that :meth:`save` wrote.

        Raises:
            InputError: The file is missing, damaged or holds something else.
        """
        try:
            return cls._from_arrays(read_npz(Path(path)))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{str(path)!r} cannot be read as exit records ({error}).",
                hint="give a file that ExitRecords.save wrote.",
                code="records.file",
            ) from error

    @classmethod
    def _from_arrays(cls, arrays: dict[str, npt.NDArray[Any]]) -> ExitRecords:
        """Return records from the arrays of an ``.npz``."""
        gate = GateLayout(
            str(arrays["gate_name"]),
            int(arrays["gate_version"]),
            tuple(str(name) for name in arrays["gate_features"]),
            tuple(float(value) for value in arrays["gate_default_params"]),
        )
        kind: QualityKind = "accuracy" if arrays["quality_kind"] == "accuracy" else "agreement"
        group = arrays.get("group")
        return cls(
            arrays["features"].astype(np.float32),
            arrays["soft"].astype(np.float32),
            arrays["quality"].astype(np.float32),
            kind,
            None if group is None else group.astype(np.int64),
            gate,
            float(arrays["last_temperature"]),
            str(arrays["data_sha256"]),
        )
