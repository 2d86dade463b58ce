"""The device, its engine and the precision: all that opening a graph takes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeexit.bundle.specs import Manifest, TensorSpec
from edgeexit.errors import TargetError
from edgeexit.targets.base import Engine, Target
from edgeexit.targets.device import Device, load_device
from edgeexit.targets.info import DeviceInfo, Dims, Unavailable
from edgeexit.targets.registry import get_target


@dataclass(frozen=True)
class Machine:
    """This machine as a bundle is run on it.

    Attributes:
        device: The device file's contents.
        target: Its engine.
        info: What the engine found here.
        precision: ``f32``, ``bf16``, ``fp16`` or ``int8``.
    """

    device: Device
    target: Target
    info: DeviceInfo
    precision: str

    @classmethod
    def of(
        cls, manifest: Manifest, target: str | Path | None = None, threads: int | None = None
    ) -> Machine:
        """Return the machine for a bundle.

        Args:
            manifest: Names the device and the precision the bundle was compiled for.
            target: Name of another device, or the path of a device file.
            threads: Threads an inference in place of the device file's.

        Raises:
            TargetError: The device is unknown, its engine is not installed, or it does not have
                the bundle's precision.
        """
        device = load_device(manifest.device if target is None else target)
        if threads is not None:
            device = replace(device, threads=threads)
        engine = get_target(device.engine)
        info = engine.probe(device.threads)
        if isinstance(info, Unavailable):
            raise TargetError(info.reason, hint=info.hint, code="target.unavailable")
        device.options(manifest.precision)
        return cls(device, engine, info, manifest.precision)

    @property
    def fingerprint(self) -> str:
        """One line that tells two devices apart; a bundle has one precision, so it is not in it."""
        return self.info.fingerprint

    @property
    def buckets(self) -> tuple[int, ...]:
        """Batch sizes of the device file."""
        return self.device.batch_buckets

    @property
    def static_batches(self) -> bool:
        """Whether every batch bucket gets engines of its own."""
        return self.precision in self.device.static_batches

    def open(
        self,
        model: Path,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        dims: Dims,
        native: Collection[str] = (),
    ) -> Engine:
        """Compile an ONNX file whose bytes are verified; see :meth:`Target.open`."""
        options = self.device.options(self.precision, dims, native)
        return self.target.open(model, inputs, outputs, options)
