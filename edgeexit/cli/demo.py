"""``edgeexit demo``: compile, calibrate, run and compare a small packaged model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeexit.budget import Budget
from edgeexit.bundle.atomic import write_atomic
from edgeexit.cli.reply import Reply
from edgeexit.cli.tables import percent, shares
from edgeexit.cli.verb import PATH, verb
from edgeexit.report.curve_svg import Curve, Point, curve_svg
from edgeexit.targets.info import DeviceInfo
from edgeexit.targets.registry import available_targets

if TYPE_CHECKING:
    from edgeexit.bundle.bundle import Bundle
    from edgeexit.bundle.exits import ExitFamily
    from edgeexit.cli.reply import Progress
    from edgeexit.datasets import Dataset
    from edgeexit.runtime.bench import BenchReport
    from edgeexit.runtime.runtime import Runtime

BUDGET = 0.5
_ABOVE = 1.01
"""Keeps a budget clear of the cheapest exit's cost, below which there is none."""

DIAL = (0.3, 0.4, 0.5, 0.6, 0.8)
"""Budgets at which the test set is run, to hold the calibrated curve against."""

TITLE = "Fashion-MNIST ViT with four exits"


@dataclass(frozen=True)
class _Measured:
    """The test set at one budget."""

    budget: float
    cost: float
    accuracy: float


@verb("demo", short_help="Go the whole way on a small packaged model, in about a minute.")
@click.option(
    "-o",
    "--output",
    type=PATH,
    default="edgeexit-demo",
    show_default=True,
    help="Folder for the bundle and the picture.",
)
@click.option("--target", metavar="NAME", help="Default: x86 where OpenVINO runs, else cpu.")
def command(reply: Reply, *, output: Path, target: str | None) -> None:
    """Compile a small vision transformer to int8, calibrate its exits, and measure.

    The model and its data (Fashion-MNIST) come with the package; nothing is downloaded.
    """
    from edgeexit.calibrate.calibrate import calibrate_exits
    from edgeexit.compiler import compile_model
    from edgeexit.datasets import load_dataset
    from edgeexit.demo import CLASS_NAMES, calibration_path, evaluation_path, model_path
    from edgeexit.runtime.bench import compare
    from edgeexit.runtime.runtime import Runtime

    device = target or _device()
    output.mkdir(parents=True, exist_ok=True)
    bundle_path, picture = output / "fashion.eex", output / "curve.svg"
    with reply.progress() as progress:
        bundle = compile_model(
            model_path(),
            bundle_path,
            target=device,
            precision="int8",
            quant_data=calibration_path(),
            classes=CLASS_NAMES,
            progress=_part(progress, "compiling to int8"),
        )
        calibration = calibrate_exits(
            bundle,
            calibration_path(),
            BUDGET,
            progress=lambda done, total: progress("calibrating", done / total),
        )
        test = load_dataset(evaluation_path(), inputs=bundle.manifest.inputs, need_labels=True)
        with Runtime(bundle, BUDGET) as runtime:
            measured = _dial(runtime, test, progress)
            progress("comparing with the static model", 0.0)
            report = compare(runtime, test, batches=(1, 32))
            progress("comparing with the static model", 1.0)
            budget = _half_the_time(runtime)
        exits = output / "exits-latency.json"
        calibrate_exits(
            bundle,
            calibration_path(),
            budget,
            output=exits,
            progress=lambda done, total: progress(f"calibrating at {budget}", done / total),
        )
        with Runtime(bundle, budget, exits=exits) as runtime:
            timed = compare(runtime, test, batches=(1,))
    write_atomic(picture, curve_svg(_curve(calibration.family, measured, report)).encode())
    answer = _answer(bundle, picture, measured, report)
    answer |= {"latency_budget_ms": budget.value, "latency_bench": asdict(timed)}
    story = [*_story(bundle, report), *_time_story(budget, timed, exits)]
    reply.answer(answer, *story, *_places(bundle, picture))


def _half_the_time(runtime: Runtime) -> Budget:
    """Return half of the static model's latency here, or the cheapest exit's where that is more."""
    from edgeexit.runtime.profile import load_or_measure

    table = load_or_measure(runtime).cost_table()
    return Budget(max(BUDGET * table.static, _ABOVE * table.per_exit[0]), "latency")


def _device() -> str:
    return "x86" if isinstance(available_targets().get("openvino"), DeviceInfo) else "cpu"


def _part(progress: Progress, name: str) -> Progress:
    """Show the steps of a part as one step."""
    return lambda _step, done: progress(name, done)


def _dial(runtime: Any, test: Dataset, progress: Progress) -> list[_Measured]:
    """Run the test set at every budget of the dial, then turn it back."""
    rows = []
    for number, budget in enumerate(DIAL, start=1):
        runtime.budget = budget
        result = runtime(test.inputs)
        rows.append(_Measured(budget, result.cost, float((result.labels == test.labels).mean())))
        progress("running the test set", number / len(DIAL))
    runtime.budget = BUDGET
    return rows


def _curve(family: ExitFamily, measured: list[_Measured], report: BenchReport) -> Curve:
    static = _accuracy(report, "static")
    here = next(row for row in measured if row.budget == BUDGET)
    return Curve(
        title=f"{TITLE}, {report.precision}: accuracy against cost",
        quality="accuracy",
        fitted=[
            Point(float(cost), float(quality))
            for cost, quality in zip(family.curve("flops"), family.quality, strict=True)
        ],
        measured=[
            Point(row.cost, row.accuracy, f"budget {BUDGET}" if row is here else "")
            for row in measured
        ],
        exits=[
            Point(cost, float(quality), f"exit {number}")
            for number, (cost, quality) in enumerate(
                zip(family.costs["flops"].per_exit, family.per_exit_quality, strict=True), start=1
            )
        ],
        static=Point(1.0, static, f"static {percent(static)}"),
    )


def _accuracy(report: BenchReport, name: str) -> float:
    return next(quality.accuracy or 0.0 for quality in report.quality if quality.name == name)


def _answer(
    bundle: Bundle, picture: Path, measured: list[_Measured], report: BenchReport
) -> dict[str, Any]:
    return {
        "bundle": str(picture.parent / bundle.folder.name),
        "picture": str(picture),
        "device": bundle.manifest.device,
        "budget": BUDGET,
        "dial": [asdict(row) for row in measured],
        "bench": asdict(report),
    }


def _story(bundle: Bundle, report: BenchReport) -> list[str]:
    """Return what happened to accuracy, FLOPs and latency, in a few lines."""
    ours, static = _accuracy(report, "edgeexit"), _accuracy(report, "static")
    flops = bundle.manifest.static_flops / 1e6
    lines = [
        "",
        f"{TITLE}, {report.precision} on {report.fingerprint}",
        f"{report.samples} test images the calibration never saw, budget {BUDGET}:",
        "",
        f"  accuracy   {percent(ours)}, static model {percent(static)}: "
        f"{100 * (ours - static):+.1f} points",
        f"  FLOPs      {report.cost * flops:.1f} M an image, static model {flops:.1f} M: "
        f"{report.cost:.3f} of it",
    ]
    speeds = {(speed.name, speed.batch): speed for speed in report.speed}
    for batch in (1, 32):
        mine, other = speeds["edgeexit", batch], speeds["static", batch]
        noise = speeds["static again", batch].ratio.median
        lines.append(
            f"  batch {batch:<4} {mine.call.mean:.3f} ms a call, static model "
            f"{other.call.mean:.3f} ms: {mine.ratio.median:.3f} of it "
            f"({mine.ratio.low:.3f} to {mine.ratio.high:.3f}; static against itself {noise:.3f})"
        )
    return [
        *lines,
        f"  exits      {shares(report.shares)}",
    ]


def _time_story(budget: Budget, report: BenchReport, exits: Path) -> list[str]:
    """Return the same for a budget in milliseconds."""
    ours, static = _accuracy(report, "edgeexit"), _accuracy(report, "static")
    speed = next(speed for speed in report.speed if speed.name == "edgeexit")
    return [
        "",
        f"the same images, budget {budget}, half of the static model's time or as near as it gets:",
        "",
        f"  accuracy   {percent(ours)}: {100 * (ours - static):+.1f} points",
        f"  batch 1    {speed.call.mean:.3f} ms a call: {speed.ratio.median:.3f} of the static "
        f"model's time ({speed.ratio.low:.3f} to {speed.ratio.high:.3f})",
        f"  exits      {shares(report.shares)}",
        f"  these exits are kept in {exits}",
    ]


def _places(bundle: Bundle, picture: Path) -> list[str]:
    folder = picture.parent / bundle.folder.name
    return [
        "",
        f"bundle:  {folder}",
        f"picture: {picture}",
        f"next:    edgeexit inspect {folder}",
    ]
