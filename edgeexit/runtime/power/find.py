"""Which meter this machine has: the best one that works, and why the better ones do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeexit.errors import ResourceError
from edgeexit.runtime.power.cpu_time import CpuTimeMeter, PowerModel
from edgeexit.runtime.power.ina3221 import HIGHEST_POWER, Rails, find_rails
from edgeexit.runtime.power.meter import Meter, MeterInfo
from edgeexit.runtime.power.nvml import LIBRARY, Nvml, NvmlMeter
from edgeexit.runtime.power.rapl import RaplMeter, find_domains
from edgeexit.runtime.power.sampled import SampledMeter


@dataclass(frozen=True)
class Found:
    """A meter and what stood above it.

    Attributes:
        meter: The best meter that works; close it.
        refused: Why each better one is refused, with what to do; one sentence each. Sensors that
            are not there are not among them.
    """

    meter: Meter
    refused: tuple[str, ...]


def find_meter(
    root: Path = Path("/"),
    *,
    gpu: bool = False,
    model: PowerModel | None = None,
    without: Mapping[str, str] | None = None,
    library: str = LIBRARY,
) -> Found:
    """Open the best meter that sees what runs.

    In this order: INA3221 (a Jetson's whole module); for work on a GPU NVML, for work on the
    processor RAPL and then the CPU-time model. NVML sees no processor and RAPL no GPU, so neither
    stands in for the other.

    Args:
        root: What stands in place of ``/``.
        gpu: Whether the work runs on a GPU.
        model: Constants of the CPU-time model; guesses if None.
        without: Kinds of meters to leave out, and why: such as one that failed while measuring.
        library: NVML's library.

    Raises:
        ResourceError: Work on a GPU, and nothing measures that GPU (``power.none``).
    """
    openers: dict[str, Callable[[], Meter | None]] = {"ina3221": lambda: _ina3221(root)}
    if gpu:
        openers["nvml"] = lambda: _nvml(library)
    else:
        openers["rapl"] = lambda: _rapl(root)
        openers["cpu-time"] = lambda: CpuTimeMeter(model)
    refused = list((without or {}).values())
    for kind, opened in openers.items():
        if kind in (without or {}):
            continue
        try:
            meter = opened()
        except ResourceError as error:
            refused.append(f"{kind}: {error}")
            continue
        if meter is not None:
            return Found(meter, tuple(refused))
    raise _nothing(refused)


def _ina3221(root: Path) -> Meter | None:
    rails = find_rails(root)
    return None if rails is None else _proven(_of_rails(rails))


def _of_rails(rails: Rails) -> Meter:
    labels = " + ".join(rail.label for rail in rails.total)
    covers = "the whole module" if rails.known else "all rails; one that feeds another counts twice"
    info = MeterInfo("ina3221", f"INA3221 {labels}", covers, False, rails.update_seconds())
    return SampledMeter(info, HIGHEST_POWER * len(rails.total), rails.read)


def _rapl(root: Path) -> Meter | None:
    domains = find_domains(root)
    return _proven(RaplMeter(domains)) if domains else None


def _nvml(library: str) -> Meter | None:
    try:
        nvml = Nvml(library)
    except OSError:
        return None
    return _proven(NvmlMeter(nvml))


def _proven(meter: Meter) -> Meter:
    try:
        meter.prove()
    except BaseException:
        meter.close()
        raise
    return meter


def _nothing(refused: list[str]) -> ResourceError:
    why = " ".join(refused) or "there is no INA3221 and no NVML here."
    return ResourceError(
        f"nothing here measures the GPU: {why}",
        hint="measure on a device with power sensors; calibrating for FLOPs or milliseconds needs "
        "none.",
        code="power.none",
    )
