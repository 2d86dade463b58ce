"""``edgeexit build``: build engines on this device, or check elsewhere that they build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeexit.bundle.bundle import Bundle
from edgeexit.cli.reply import Reply, Table
from edgeexit.cli.verb import bundle_argument, target_option, verb
from edgeexit.errors import BundleError, TargetError

if TYPE_CHECKING:
    from edgeexit.runtime.build import BuildReport, GraphReport
    from edgeexit.runtime.golden import ExitParity
    from edgeexit.runtime.machine import Machine

_NO_JETSON = (
    "NVIDIA's parser and builder take every graph, and this is the precision that they plan for "
    "each layer. It does not show that the bundle runs on a Jetson, or how fast: a device builds "
    "engines of its own."
)


@verb("build", short_help="Build a bundle's engines here, or check that they would build.")
@bundle_argument
@click.option("--all", "everything", is_flag=True, help="Also the graphs that bench compares with.")
@click.option("--rebuild", is_flag=True, help="Build again what was built before.")
@click.option(
    "--trust-plans", is_flag=True, help="Take over engines copied here from an equal device."
)
@click.option("--check", is_flag=True, help="Build for --sm with TensorRT-RTX and keep nothing.")
@click.option("--sm", help="Compute capability for --check; default: 86.")
@target_option
def command(
    reply: Reply,
    *,
    bundle: Path,
    everything: bool,
    rebuild: bool,
    trust_plans: bool,
    check: bool,
    sm: str | None,
    target: str | None,
) -> int:
    """Build the engines of BUNDLE on this device, once, and keep them in its cache.

    Loading a bundle builds what is missing too; this says what came of it. The layers are compared
    with those that the bundle expects in int8, the answers with the golden outputs. Exit code 6
    where a layer differs, 5 where an answer does.

    With --check every graph is built by TensorRT-RTX for another GPU, on any machine and without
    one, and thrown away: so a laptop finds what NVIDIA's builder would refuse on the device.
    """
    if sm is not None and not check:
        raise click.UsageError("--sm says what --check builds for; a device builds for itself.")
    if check and (rebuild or trust_plans):
        flag = "--rebuild" if rebuild else "--trust-plans"
        raise click.UsageError(f"--check keeps nothing, so {flag} says nothing beside it.")
    opened = Bundle.open(bundle)
    if check:
        return _check(reply, opened, sm or "86", everything=everything)
    machine = _machine(opened, target)
    if not machine.target.builds_on_device:
        return _nothing_to_build(reply, opened, machine)
    return _build(
        reply,
        opened,
        machine,
        target,
        everything=everything,
        rebuild=rebuild,
        trust_plans=trust_plans,
    )


def _check(reply: Reply, bundle: Bundle, sm: str, *, everything: bool) -> int:
    from edgeexit.runtime.build_check import check_build

    with reply.progress(one_bar=True) as progress:
        report = check_build(bundle, sm, progress, everything=everything)
    title = f"builds with {report.engine}"
    if not report.agrees:
        title += ", but not as expected"
    reply.answer(
        _answer(bundle, bundle.manifest.device, report) | {"check": True, "golden": None},
        _table(report, title),
        *_missing_lines(report),
        _NO_JETSON,
    )
    return 0 if report.agrees else TargetError.exit_code


def _build(
    reply: Reply,
    bundle: Bundle,
    machine: Machine,
    target: str | None,
    *,
    everything: bool,
    rebuild: bool,
    trust_plans: bool,
) -> int:
    from edgeexit.runtime.build import build_bundle, forget_plans, trust_kept_plans

    if rebuild:
        forget_plans(machine.cache)
    if trust_plans:
        reply.log(f"engines of another machine taken over: {trust_kept_plans(machine.cache)}")
    with reply.progress(one_bar=True) as progress:
        report = build_bundle(bundle, machine, progress, everything=everything)
    golden, fault = _golden(bundle, target)
    device = machine.device.name
    reply.answer(
        _answer(bundle, device, report)
        | {
            "check": False,
            "golden": {
                "agrees": fault is None,
                "fault": None if fault is None else fault.message,
                "exits": [asdict(found) for found in golden],
            },
        },
        _table(report, f"built for {device} with {report.engine}"),
        *_missing_lines(report),
        f"kept in {machine.cache.folder}",
        _golden_line(golden, fault),
    )
    if fault is not None:
        return fault.exit_code
    return 0 if report.agrees else TargetError.exit_code


def _nothing_to_build(reply: Reply, bundle: Bundle, machine: Machine) -> int:
    from edgeexit.runtime.build import BuildReport

    report = BuildReport(machine.info.engine, ())
    device = machine.device.name
    reply.answer(
        _answer(bundle, device, report) | {"check": False, "golden": None},
        f"nothing to build for {device}: {report.engine} compiles a bundle when it is opened",
    )
    return 0


def _machine(bundle: Bundle, target: str | None) -> Machine:
    from edgeexit.runtime.machine import Machine

    try:
        return Machine.of(bundle, target)
    except TargetError as error:
        if error.code != "target.unavailable" or bundle.recipe() is None:
            raise
        hint = f"{error.hint} Without the device: edgeexit build {bundle.folder} --check."
        raise TargetError(error.message, hint=hint, code=error.code) from error


def _golden(
    bundle: Bundle, target: str | None
) -> tuple[tuple[ExitParity, ...], BundleError | None]:
    from edgeexit.runtime.golden import check_golden
    from edgeexit.runtime.runtime import Runtime

    try:
        with Runtime(bundle, target=target, exits=False) as runtime:
            return check_golden(runtime), None
    except BundleError as error:
        if error.code != "bundle.golden":
            raise
        return (), error


def _answer(bundle: Bundle, device: str, report: BuildReport) -> dict[str, Any]:
    return {
        "bundle": str(bundle.folder),
        "digest": bundle.digest,
        "device": device,
        "engine": report.engine,
        "agrees": report.agrees,
        "graphs": [
            {
                "graph": graph.graph,
                "file": graph.file,
                "cached": graph.built.cached,
                "seconds": graph.built.seconds,
                "bytes": graph.built.size,
                "int8_expected": list(graph.expected),
                "int8_missing": list(graph.missing),
                "layers": [asdict(layer) for layer in graph.built.layers],
            }
            for graph in report.graphs
        ],
    }


def _table(report: BuildReport, title: str) -> Table:
    rows = [
        (
            graph.graph,
            f"{graph.built.seconds:.1f}",
            f"{graph.built.size / 1e6:.1f} MB",
            _layers(graph),
            "before" if graph.built.cached else "now",
        )
        for graph in report.graphs
    ]
    return Table(("graph", "seconds", "size", "int8 layers", "built"), rows, title)


def _layers(graph: GraphReport) -> str:
    if not graph.expected:
        return "none expected"
    if not graph.told:
        return f"{len(graph.expected)} expected, none told"
    return f"{len(graph.expected) - len(graph.missing)} of {len(graph.expected)}"


def _missing_lines(report: BuildReport) -> list[str]:
    lines = []
    for graph in report.graphs:
        precisions = {layer.name: layer.precision for layer in graph.built.layers}
        for name in graph.missing:
            found = precisions.get(name, "no layer that the engine names")
            lines.append(f"  {graph.graph}: {name} was to compute in int8; built: {found}")
    return lines


def _golden_line(golden: Sequence[ExitParity], fault: BundleError | None) -> str:
    if fault is not None:
        return f"golden outputs: {fault.message} Hint: {fault.hint}"
    worst = max(found.max_abs_difference for found in golden)
    return f"golden outputs: as compiled, to within {worst:.3g}"
