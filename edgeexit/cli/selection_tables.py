"""How the choice of a bundle's exits looks to a reader."""

from __future__ import annotations

from edgeexit.bundle.selection import ExitEntry, ExitSearch, Selection
from edgeexit.cli.reply import Table
from edgeexit.cli.tables import percent


def selection_lines(selection: Selection | None) -> list[str | Table]:
    """Return which exits were kept, and why; nothing where all were, or some by name."""
    if selection is None:
        return []
    kept = _numbers(selection.kept)
    of = f"of {len(selection.exits)}"
    if selection.how == "truncated":
        return [f"cut at exit {kept} {of}: one static model, without gates"]
    if selection.search is None:
        return [f"exits kept: {kept} {of}"]
    return [
        f"exits kept: {kept} {of}; {_effort(selection.search)}",
        *_quality_lines(selection.search, len(selection.kept) == len(selection.exits)),
        "  by FLOPs alone: neither time nor energy was looked at; edgeexit bench measures time",
        _table(selection),
    ]


def _effort(search: ExitSearch) -> str:
    """Return how much was searched, and what it may have missed."""
    if search.method == "exhaustive":
        return f"searched all {search.subsets} subsets, so none is better on these samples (gap 0)"
    line = f"searched {len(search.tried)} of {search.subsets:,} subsets, one exit dropped at a time"
    line += f"; no other is more than {search.gap:.2f} points better on these samples"
    if search.relaxed_gap is not None:
        line += f", and likely none more than {search.relaxed_gap:.2f}"
    return line


def _quality_lines(search: ExitSearch, all_kept: bool) -> list[str]:
    """Return what the choice wins, and what it gives up for fewer exits."""
    budgets = ", ".join(f"{budget:g}" for budget in search.budgets)
    where = f"budget {budgets}" if len(search.budgets) == 1 else f"budgets {budgets}, on average"
    line = f"  {search.quality_kind} {percent(search.quality)} at {where}"
    if not all_kept:
        line += f"; {_points(search.gain, search.gain_error)} points against all exits"
    lines = [f"{line}; {search.policy} on {search.samples:,} samples, each judged unseen"]
    if search.given_up > 0:
        best = _numbers(search.tried[0].exits)
        lines.append(
            f"  the best subset, {best}, is {search.given_up:.2f} ± {search.given_up_error:.2f} "
            "points better, which may be chance: fewer exits were preferred"
        )
    return lines


def _table(selection: Selection) -> Table:
    """Return one row an exit."""
    rows = [
        (
            str(entry.number),
            entry.name,
            "kept" if entry.kept else "dropped",
            "" if entry.cost is None else percent(entry.cost),
            _worth(entry, last=entry is selection.exits[-1]),
        )
        for entry in selection.exits
    ]
    columns = ("exit", "name", "", "head and gate / static FLOPs", "points it is worth")
    return Table(columns, rows, text_columns=("name", ""))


def _worth(entry: ExitEntry, *, last: bool) -> str:
    if last:
        return "always stays"
    if entry.gain is None or entry.error is None:
        return "needed for the budgets"
    return _points(entry.gain, entry.error)


def _points(value: float, error: float) -> str:
    return f"{value:+.2f} ± {error:.2f}"


def _numbers(exits: tuple[int, ...]) -> str:
    return ", ".join(str(number) for number in exits)
