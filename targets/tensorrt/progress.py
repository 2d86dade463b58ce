"""How far a build is: TensorRT's nested phases as one fraction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeexit.targets.info import Report


@dataclass
class _Phase:
    name: str
    steps: int
    done: int = 0


class Progress:
    """Phases that begin and end inside each other, as one fraction that never falls.

    A phase of n steps of which k are done is at ``(k + f) / n``, where f is how far the phase
    inside it is. Steps do not take equal times, so this orders builds but is no clock.

    Args:
        report: Told the outermost phase but one, and the fraction.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._phases: list[_Phase] = []
        self._fraction = 0.0
        self._told: tuple[str, int] | None = None

    def start(self, name: str, steps: int) -> None:
        """Begin a phase inside those that have begun."""
        self._phases.append(_Phase(name, max(steps, 1)))
        self._tell()

    def step(self, name: str, number: int) -> None:
        """End a step, counted from 0, of a phase; those inside it have ended too."""
        self._drop_inside(name)
        if self._phases:
            self._phases[-1].done = min(number + 1, self._phases[-1].steps)
            self._tell()

    def finish(self, name: str) -> None:
        """End a phase."""
        self._drop_inside(name)
        if self._phases:
            self._phases[-1].done = self._phases[-1].steps
            self._tell()
            self._phases.pop()

    def _drop_inside(self, name: str) -> None:
        if any(phase.name == name for phase in self._phases):
            while self._phases[-1].name != name:
                self._phases.pop()

    def _tell(self) -> None:
        inside = 0.0
        for phase in reversed(self._phases):
            inside = min((phase.done + inside) / phase.steps, 1.0)
        self._fraction = max(self._fraction, inside)
        shown = self._phases[min(1, len(self._phases) - 1)].name
        # TensorRT tells thousands of steps: a hundredth is news enough.
        news = shown, int(self._fraction * 100)
        if news != self._told:
            self._told = news
            self._report(shown, self._fraction)


def monitor(module: Any, report: Report) -> Any:
    """Return an ``IProgressMonitor`` of ``module`` that tells ``report``."""
    progress = Progress(report)

    class Monitor(module.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress.step(phase_name, step)
            return True

        def phase_finish(self, phase_name: str) -> None:
            progress.finish(phase_name)

    return Monitor()
