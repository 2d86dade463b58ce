"""The device, its engine and the precision: all that opening a graph takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.cache import DeviceCache
from edgeexit.bundle.recipe import Range, batch_range
from edgeexit.bundle.specs import BATCH, TensorSpec
from edgeexit.errors import TargetError
from edgeexit.runtime.plan import feature_maps
from edgeexit.targets.base import Engine, Target
from edgeexit.targets.device import Device, load_device
from edgeexit.targets.faults import unavailable
from edgeexit.targets.info import Built, DeviceInfo, Dims, EngineOptions, Report, Unavailable
from edgeexit.targets.registry import get_target

ANYWHERE = "cpu"
"""The device whose engine runs on every machine."""


@dataclass(frozen=True)
class Machine:
    """This machine as a bundle is run on it.

    Attributes:
        device: The device file's contents.
        target: Its engine.
        info: What the engine found here.
        precision: ``f32``, ``bf16``, ``fp16`` or ``int8``.
        cache: Where what this device adds to the bundle is kept.
        ranges: Sizes between which each symbol may move, for engines built for a range.
        channels_last: Boundary tensors that cross with their channels last on this engine.
    """

    device: Device
    target: Target
    info: DeviceInfo
    precision: str
    cache: DeviceCache
    ranges: Mapping[str, Range]
    channels_last: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, bundle: Bundle, target: str | Path | None = None, threads: int | None = None
    ) -> Machine:
        """Return the machine for a bundle.

        Args:
            bundle: Names the device and the precision it was compiled for.
            target: Name of another device, or the path of a device file.
            threads: Threads an inference in place of the device file's.

        Raises:
            TargetError: The device is unknown, its engine is not installed, or it does not have
                the bundle's precision.
        """
        manifest = bundle.manifest
        device = load_device(manifest.device if target is None else target)
        if threads is not None:
            device = replace(device, threads=threads)
        engine = get_target(device.engine)
        info = engine.probe(device.threads)
        if isinstance(info, Unavailable):
            raise unavailable(info)
        device.options(manifest.precision)
        recipe = bundle.recipe()
        ranges = batch_range(device.batch_buckets) if recipe is None else recipe.sizes()
        cache = DeviceCache(bundle.digest, info.fingerprint)
        files = [bundle.file(stage.file) for stage in manifest.stages]
        last = engine.channels_last(files, feature_maps(manifest.stages))
        return cls(device, engine, info, manifest.precision, cache, ranges, last)

    @property
    def fingerprint(self) -> str:
        """One line that tells two devices apart; a bundle has one precision, so it is not in it."""
        return self.info.fingerprint

    @property
    def buckets(self) -> tuple[int, ...]:
        """Batch sizes of the device file, as far as engines are built for them."""
        largest = self.largest_batch
        sizes = self.device.batch_buckets
        return sizes if largest is None else tuple(size for size in sizes if size <= largest)

    @property
    def largest_batch(self) -> int | None:
        """Largest batch that engines are built for; None where they take any."""
        if not self.target.builds_on_device or BATCH not in self.ranges:
            return None
        return self.ranges[BATCH][2]

    @property
    def static_batches(self) -> bool:
        """Whether every batch bucket gets engines of its own."""
        return bool(self.channels_last) or self.precision in self.device.static_batches

    def open(
        self,
        model: Path,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        dims: Dims,
        native: Collection[str] = (),
    ) -> Engine:
        """Compile an ONNX file whose bytes are verified; see :meth:`Target.open`."""
        return self.target.open(model, inputs, outputs, self.options(dims, native))

    def build(
        self,
        model: Path,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        native: Collection[str] = (),
        report: Report | None = None,
    ) -> Built:
        """Build an engine of an ONNX file whose bytes are verified; see :meth:`Target.build`."""
        return self.target.build(model, inputs, outputs, self.options({}, native), report)

    def options(self, dims: Dims, native: Collection[str] = ()) -> EngineOptions:
        """Return how to compile a graph of the bundle on this machine."""
        options = self.device.options(self.precision, dims, native)
        last = self.channels_last
        return replace(options, ranges=self.ranges, cache=self.cache, channels_last=last)


def checking_device(bundle: Bundle) -> str:
    """Return the device on which a bundle can be checked here.

    That is its own; for one whose engines are built on the device, and cannot be here, ``cpu``.
    """
    name = bundle.manifest.device
    try:
        target = get_target(load_device(name).engine)
    except TargetError:
        return name
    absent = target.builds_on_device and isinstance(target.probe(), Unavailable)
    return ANYWHERE if absent else name
