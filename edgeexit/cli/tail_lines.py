"""What ``calibrate --p95`` says, and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeexit.budget import Budget
    from edgeexit.bundle.exits import ExitFamily


def tail_lines(family: ExitFamily) -> list[str]:
    """Return what is forecast of the time of single calls; nothing where no limit was set."""
    tail = family.tail
    if tail is None:
        return []
    return [
        f"{100 * tail.level:g} % of single calls are forecast to take {tail.reached:.4g} ms at "
        f"most on this machine; asked for: {tail.limit:g} ms"
    ]


def refuse_sweep(p95: Budget | None) -> None:
    """Refuse a limit on times where all budgets are swept.

    Raises:
        InputError: There is a limit.
    """
    from edgeexit.calibrate.tail import refuse_beside_limit

    if p95 is not None:
        refuse_beside_limit(["--sweep"])
