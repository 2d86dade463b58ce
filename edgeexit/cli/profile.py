"""``edgeexit profile``: measure every stage of a bundle on this device, in time and in joules."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeexit.cli.reply import Progress, Reply, Table
from edgeexit.cli.verb import bundle_argument, target_option, verb
from edgeexit.errors import EdgeExitError

if TYPE_CHECKING:
    from edgeexit.runtime.batch_modes import ModeCost
    from edgeexit.runtime.power.profile import EnergyProfile, Estimate
    from edgeexit.runtime.profile import BatchProfile, DeviceProfile
    from edgeexit.runtime.runtime import Runtime
    from edgeexit.runtime.timing import TimeStats


_LARGEST_BATCH = 1024
_LONGEST_SECONDS = 86_400.0


def _sizes(context: click.Context, parameter: click.Parameter, value: Any) -> tuple[int, ...]:
    """Parse batch sizes separated by commas."""
    words = [word.strip() for word in str(value).split(",") if word.strip()]
    if not all(word.isdecimal() and 0 < int(word[:9]) <= _LARGEST_BATCH for word in words):
        raise click.BadParameter(
            f"{value!r} is not a list of whole numbers from 1 to {_LARGEST_BATCH}, such as 1,8,32."
        )
    return tuple(int(word) for word in words)


def _time(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Check seconds; NaN and infinity are numbers to Click."""
    if value is not None and not 0 < value <= _LONGEST_SECONDS:
        raise click.BadParameter(f"{value:g} s is no time from 0 to {_LONGEST_SECONDS:g} s.")
    return value


@verb("profile", short_help="Measure each stage of a bundle on this device.")
@bundle_argument
@click.option(
    "--batches", default="1", metavar="N,...", callback=_sizes, help="Batch sizes, e.g. 1,8,32."
)
@click.option("--energy", is_flag=True, help="Measure joules as well.")
@click.option(
    "--seconds",
    type=float,
    callback=_time,
    help="Time a batch size, and for the joules. Default: 4, and 30.",
)
@click.option("--threads", type=int, help="Threads an inference; default: the device file's.")
@target_option
def command(
    reply: Reply,
    *,
    bundle: Path,
    batches: tuple[int, ...],
    energy: bool,
    seconds: float | None,
    threads: int | None,
    target: str | None,
) -> None:
    """Measure the stages of BUNDLE and the static model in turn, on the bundle's golden inputs.

    What was measured is kept for this device: calibrating in milliseconds goes by it. With
    --energy the joules of a call are measured too, by the best meter that the machine has; where
    it has none they are estimated, and marked so.
    """
    from edgeexit.runtime.profile import MEASURE_SECONDS, keep_profile, measure_profile
    from edgeexit.runtime.runtime import Runtime

    runtime = Runtime(bundle, target=target, threads=threads, exits=False)
    with runtime, reply.progress() as progress:
        if max(batches, default=1) > 1 and not runtime.plan.compacts:
            reply.log("rows must not leave a batch of this bundle: only batch 1 is measured.")
        progress("measuring time", 0.0)
        spent = MEASURE_SECONDS if seconds is None else seconds
        measured = measure_profile(runtime, batches, spent)
        keep_profile(runtime, measured)
        progress("measuring time", 1.0)
        drawn = _measure_energy(runtime, seconds, reply, progress) if energy else None
    modes = _mode_costs(runtime, measured, reply)
    reply.answer(
        {
            "bundle": str(bundle),
            "costs": asdict(measured.cost_table()),
            **asdict(measured),
            "modes": [{**asdict(mode), "cost": mode.cost} for mode in modes],
            "energy": None if drawn is None else asdict(drawn),
        },
        f"{measured.fingerprint}\nbefore: {measured.before.summary}\n"
        f"after: {measured.after.summary}\n",
        *_time_tables(measured),
        *_mode_blocks(modes),
        *([] if drawn is None else _energy_blocks(drawn)),
    )


def _measure_energy(
    runtime: Runtime, seconds: float | None, reply: Reply, progress: Progress
) -> EnergyProfile:
    from edgeexit.runtime.energy import keep_energy, measure_energy

    profile = measure_energy(
        runtime, seconds, progress=lambda done: progress("measuring energy", done)
    )
    keep_energy(runtime, profile)
    for reason in profile.refused:
        reply.log(f"warning: meter not used: {reason}")
    return profile


def _mode_costs(runtime: Runtime, profile: DeviceProfile, reply: Reply) -> tuple[ModeCost, ...]:
    """Return what the calibrated budget comes to; nothing where there is none, or one size."""
    from edgeexit.runtime.batch_modes import calibrated_shares, mode_costs

    try:
        shares = calibrated_shares(runtime.bundle.exits())
    except EdgeExitError as error:
        reply.log(f"warning: {error.message}")
        return ()
    if shares is None or len(profile.batches) == 1:
        return ()
    return mode_costs(profile.batches, shares, runtime.machine.buckets)


def _mode_blocks(modes: tuple[ModeCost, ...]) -> list[Table | str]:
    words = {"single": "one by one", "compacted": "samples leave the batch", "whole": "all wait"}
    rows = [
        (str(mode.batch), words[mode.mode], f"{mode.milliseconds:.4f}", f"{mode.cost:.3f}")
        for mode in modes
    ]
    columns = ("calibrated budget at batch", "", "ms a sample", "of the static model's time")
    return ["", Table(columns, rows)] if rows else []


def _time_tables(profile: DeviceProfile) -> list[Table | str]:
    blocks: list[Table | str] = [_table(batch) for batch in profile.batches]
    return blocks if len(blocks) == 1 else [_overview(profile.batches), "", *blocks]


def _overview(batches: tuple[BatchProfile, ...]) -> Table:
    """Return median milliseconds, what was measured down and batch sizes across."""
    columns = ("median ms", *(f"batch {batch.batch}" for batch in batches))
    every = [_named(batch) for batch in batches]
    rows = [(name, *(f"{named[name].p50:.3f}" for named in every)) for name in every[0]]
    return Table(columns, rows)


def _table(batch: BatchProfile) -> Table:
    rows = [_row(name, times) for name, times in _named(batch).items()]
    columns = ("batch " + str(batch.batch), "median ms", "min", "p90", "p95", "p99", "count")
    return Table(columns, rows)


def _named(batch: BatchProfile) -> dict[str, TimeStats]:
    stages = {f"stage {number}": times for number, times in enumerate(batch.stages, start=1)}
    return {**stages, "call, all stages": batch.call, "static model": batch.static}


def _row(name: str, times: TimeStats) -> tuple[str, ...]:
    milliseconds = (times.p50, times.minimum, times.p90, times.p95, times.p99)
    return (name, *(f"{value:.3f}" for value in milliseconds), str(times.count))


def _energy_blocks(profile: EnergyProfile) -> list[Table | str]:
    meter = profile.meter
    how = "estimated, not measured, by" if meter.estimated else "measured with"
    word = "estimated mJ" if meter.estimated else "mJ"
    columns = (
        "energy of a call", f"{word} beyond idle", "of its last stage", f"{word} with idle",
    )  # fmt: skip
    rows = [
        (f"leaves at exit {number}", *(_millijoules(e) for e in estimates))
        for number, estimates in enumerate(
            zip(profile.exits, profile.stages, profile.exits_total, strict=True), start=1
        )
    ]
    static = (profile.static, profile.static_total)
    rows.append(("static model", _millijoules(static[0]), "", _millijoules(static[1])))
    idle = f"{profile.idle.value:.3g} ± {profile.idle.error:.1g} W idle"
    return [
        f"\nenergy {how} {meter.source}: {meter.covers}; {idle}; {profile.rounds} rounds of "
        f"{1000 * profile.window_seconds:.0f} ms windows",
        Table(columns, rows),
    ]


def _millijoules(estimate: Estimate) -> str:
    return f"{1000 * estimate.value:.4g} ± {1000 * estimate.error:.2g}"
