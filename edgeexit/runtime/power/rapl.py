"""RAPL: the energy counters of x86 processors, as Linux shows them under ``powercap``.

``/sys/class/powercap/intel-rapl:N`` is a domain (AMD's too), with ``name``, ``energy_uj`` and
``max_energy_range_uj`` (``Documentation/power/powercap/powercap.rst``). The packages are summed;
cores and uncore are parts of them, and ``psys`` would count them twice. Since CVE-2020-8694
only root may read ``energy_uj``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from edgeexit.errors import ResourceError
from edgeexit.runtime.power.meter import Meter, MeterInfo
from edgeexit.runtime.power.sensor_file import nonsense, optional_text, read_number

POWERCAP = "sys/class/powercap"

_DRIVER = "rapl"
_PACKAGE = re.compile(r"package-[0-9]+(-die-[0-9]+)?")
_UPDATE_SECONDS = 0.001
"""About 1 ms between updates (Intel SDM volume 3B, 15.10, "Package RAPL Domain")."""

HIGHEST_POWER = 600.0
"""Watts of one package beyond which a reading is nonsense; the largest are sold at 500 W."""

_MICROJOULES_A_JOULE = 1e6


@dataclass(frozen=True)
class Domain:
    """A counter.

    Attributes:
        name: E.g. ``package-0``.
        folder: Its folder.
        range: Microjoules at which it starts again from 0.
    """

    name: str
    folder: Path
    range: int

    def read(self) -> int:
        """Return the counter in microjoules.

        Raises:
            ResourceError: It cannot be read, or lies outside its range.
        """
        file = self.folder / "energy_uj"
        try:
            count = read_number(file, _DRIVER)
        except ResourceError as error:
            if error.code != "power.permission":
                raise
            raise _forbidden(file, error) from error
        if not 0 <= count <= self.range:
            raise nonsense(str(file), f"{count} uJ", f"0 to {self.range} uJ")
        return count


def find_domains(root: Path = Path("/")) -> tuple[Domain, ...]:
    """Return the packages' counters, none where there is no RAPL.

    Args:
        root: What stands in place of ``/``.

    Raises:
        ResourceError: A counter has no range, or an impossible one.
    """
    found = []
    for folder in sorted((root / POWERCAP).glob("intel-rapl:*")):
        name = optional_text(folder / "name", _DRIVER)
        if _PACKAGE.fullmatch(name):
            file = folder / "max_energy_range_uj"
            largest = read_number(file, _DRIVER)
            if largest <= 0:
                raise nonsense(str(file), f"{largest} uJ", "a positive range")
            found.append(Domain(name, folder, largest))
    return tuple(found)


class RaplMeter(Meter):
    """The energy of the processor packages; without memory, disks and the power supply.

    Args:
        domains: At least one.

    Raises:
        ResourceError: A counter cannot be read.
    """

    def __init__(self, domains: tuple[Domain, ...]) -> None:
        names = " + ".join(domain.name for domain in domains)
        covers = "the processor packages, without memory and power supply"
        info = MeterInfo("rapl", f"RAPL {names}", covers, False, _UPDATE_SECONDS)
        super().__init__(info, HIGHEST_POWER * len(domains))
        self._domains = domains
        self._counts = [domain.read() for domain in domains]
        self._sum = 0
        self._counted_at = perf_counter()

    def _count(self) -> tuple[float, float]:
        counts = [domain.read() for domain in self._domains]
        now = perf_counter()
        waited, self._counted_at = now - self._counted_at, now
        for domain, count, before in zip(self._domains, counts, self._counts, strict=True):
            if HIGHEST_POWER * waited * _MICROJOULES_A_JOULE > domain.range:
                raise _too_late(domain, waited)
            # A counter that wraps goes on from 0 after its range.
            self._sum += count - before if count >= before else count - before + domain.range + 1
        self._counts = counts
        return self._sum / _MICROJOULES_A_JOULE, now


def _too_late(domain: Domain, waited: float) -> ResourceError:
    longest = domain.range / _MICROJOULES_A_JOULE / HIGHEST_POWER
    return ResourceError(
        f"RAPL {domain.name} was not read for {waited:.0f} s: in more than {longest:.0f} s its "
        "counter may start again twice.",
        hint="read the meter more often, or open another one for what comes next.",
        code="power.gap",
    )


def _forbidden(file: Path, error: ResourceError) -> ResourceError:
    return ResourceError(
        error.message,
        hint=f"measure as root, or until the next start: sudo chmod a+r /{POWERCAP}/intel-rapl:*/"
        "energy_uj (kernels since 5.10 keep it to root, for it can betray secrets: CVE-2020-8694).",
        code=error.code,
    )
