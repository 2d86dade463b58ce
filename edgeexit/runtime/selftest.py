"""The self-test of a device: what is there, what works, and why the rest does not.

What may end the process (CUDA, engines) is tried in a process of its own, see
:mod:`edgeexit.runtime.trial`. No part raises.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeexit.errors import EdgeExitError
from edgeexit.runtime.power.ina3221 import find_rails
from edgeexit.runtime.selftest_bundle import PACKED, unpack_selftest
from edgeexit.runtime.trial import run_trial
from edgeexit.targets.cuda.library import version_text
from edgeexit.targets.cuda.probe import probe_cuda
from edgeexit.targets.cuda.runtime import CudaRuntime
from edgeexit.targets.device import Device
from edgeexit.targets.info import Unavailable
from edgeexit.targets.jetson import Clock, Jetson, read_jetson
from edgeexit.targets.registry import get_target
from edgeexit.targets.tensorrt.versions import MODULES

_ABSENT = frozenset({"target.unavailable", "target.cuda-missing"})
"""Codes of errors which say that something is not there at all."""

_ELSEWHERE = "run this on the device; elsewhere check a bundle with: edgeexit build B.eex --check."

State = Literal["ok", "failed", "not there"]


@dataclass(frozen=True)
class Part:
    """One part of a self-test.

    Attributes:
        name: What was looked at.
        state: ``ok``; ``failed``: it is there and does not work; ``not there``.
        found: What was found, or why not.
        hint: What to do next; empty where there is nothing to do.
        needed: Whether nothing can run without it.
    """

    name: str
    state: State
    found: str
    hint: str = ""
    needed: bool = True


class SelfTest:
    """Looks at the parts of a device one after the other.

    Args:
        device: What the device file says.
        place: The device's name, or the path of its file.
        say: Told each part's name before it is looked at.
        root: What stands in place of ``/``.
        packed: The small bundle that is built and asked.

    Attributes:
        parts: What has been looked at so far.
    """

    def __init__(
        self,
        device: Device,
        place: str,
        say: Callable[[str], None] = lambda part: None,
        root: Path = Path("/"),
        packed: Path = PACKED,
    ) -> None:
        self.parts: list[Part] = []
        self._device = device
        self._place = place
        self._packed = packed
        self._say = say
        self._root = root
        self._jetson: Jetson | None = None

    @property
    def usable(self) -> bool:
        """Whether all parts that are needed are there and work."""
        return all(part.state == "ok" for part in self.parts if part.needed)

    def run(self) -> tuple[Part, ...]:
        """Look at every part and return what was found; never raises."""
        needs_gpu = self._device.engine in MODULES
        if needs_gpu:
            self._look("board", self._board, needed=False)
            self._look("Python module", self._module)
            self._look("CUDA library", self._library)
            self._look("driver", self._driver)
            self._look("GPU", self._gpu)
        self._look("engine", self._engine)
        if needs_gpu:
            self._look("clocks", self._clocks, needed=False)
            self._look("power rails", self._rails, needed=False)
            self._try("CUDA round trip", "GPU", lambda: run_trial("cuda"))
        self._try("build and answers", "engine", self._answers)
        return tuple(self.parts)

    def _look(self, name: str, call: Callable[[], Part | str], *, needed: bool = True) -> None:
        self._say(name)
        try:
            found = call()
            part = Part(name, "ok", found, needed=needed) if isinstance(found, str) else found
        except EdgeExitError as error:
            state: State = "not there" if error.code in _ABSENT else "failed"
            part = Part(name, state, error.message, error.hint, needed)
        except Exception as error:  # a self-test must end with a report, whatever is broken
            words = f"{type(error).__name__}: {error}".splitlines()[0]
            part = Part(name, "failed", words, "this is a fault in edgeexit: report it.", needed)
        self.parts.append(part)

    def _try(self, name: str, needs: str, call: Callable[[], str]) -> None:
        absent = Part(name, "not there", f"not tried: there is no working {needs}.")
        self._look(name, call if self._is_ok(needs) else lambda: absent)

    def _is_ok(self, name: str) -> bool:
        return any(part.name == name and part.state == "ok" for part in self.parts)

    def _module(self) -> str:
        return run_trial("module", MODULES[self._device.engine])

    def _library(self) -> str:
        cuda = CudaRuntime.load()
        return f"CUDA {version_text(cuda.runtime_version())} ({cuda.library})"

    def _driver(self) -> Part | str:
        if not self._is_ok("CUDA library"):
            return Part("driver", "not there", "not asked: the CUDA library is missing.")
        driver = CudaRuntime.load().driver_version()
        if driver == 0:
            found = probe_cuda()
            hint = found.hint if isinstance(found, Unavailable) else ""
            return Part("driver", "not there", "there is no NVIDIA driver.", hint)
        return f"serves CUDA up to {version_text(driver)}"

    def _gpu(self) -> Part | str:
        if not self._is_ok("driver"):
            return Part("GPU", "not there", "not asked: the driver is missing.")
        found = probe_cuda()
        if isinstance(found, Unavailable):
            return Part("GPU", "failed", found.reason, found.hint)
        device = found.device
        memory = "shared with the CPU" if device.integrated else "of its own"
        sm = "".join(map(str, device.capability))
        return f"{device.name}, SM{sm}, {device.memory / 2**30:.1f} GiB {memory}"

    def _engine(self) -> Part | str:
        target = get_target(self._device.engine)
        found = target.probe(self._device.threads)
        if isinstance(found, Unavailable):
            return Part("engine", "not there", found.reason, found.hint)
        return found.fingerprint

    def _answers(self) -> str:
        with tempfile.TemporaryDirectory(prefix="edgeexit-") as folder:
            bundle = unpack_selftest(Path(folder) / "selftest.eex", self._packed)
            file = Path(self._place)
            place = str(file.absolute()) if file.suffix == ".toml" else self._place
            return run_trial("bundle", str(bundle), place)

    def _board(self) -> Part | str:
        self._jetson = read_jetson(self._root)
        if self._jetson is None:
            hint = _ELSEWHERE if self._device.name.startswith("jetson") else ""
            return Part("board", "not there", "this is no Jetson.", hint, needed=False)
        return self._jetson.summary

    def _clocks(self) -> Part | str:
        clocks = () if self._jetson is None else self._jetson.clocks
        if not clocks:
            return Part("clocks", "not there", "no clock can be read.", needed=False)
        return "; ".join(map(_clock_text, clocks))

    def _rails(self) -> Part | str:
        rails = find_rails(self._root)
        if rails is None:
            return Part("power rails", "not there", "there is no INA3221.", needed=False)
        each = ", ".join(f"{label} {watts:.2f} W" for label, watts in rails.read_each())
        total = " + ".join(rail.label for rail in rails.total)
        unknown = "" if rails.known else " (an unknown board: rails may count twice)"
        return f"{each}; the total is {total}{unknown}"


def _clock_text(clock: Clock) -> str:
    text = f"{clock.name} {clock.hertz / 1e6:.0f} MHz"
    if clock.locked:
        return f"{text}, held"
    if clock.governor is not None:
        text += f", {clock.governor}"
    if clock.lowest is not None and clock.highest is not None:
        text += f" within {clock.lowest / 1e6:.0f} to {clock.highest / 1e6:.0f}"
    return text
