"""Build the engines of a bundle on this device, and compare them with what the host expected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeexit.bundle.atomic import writing
from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.cache import DeviceCache
from edgeexit.bundle.recipe import Recipe
from edgeexit.bundle.specs import TensorSpec
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.plan import Plan
from edgeexit.runtime.progress import Progress
from edgeexit.targets.info import Built, BuiltLayer, Report
from edgeexit.targets.tensorrt.layers import compare_layers
from edgeexit.targets.tensorrt.private import machine_id


@dataclass(frozen=True)
class Graph:
    """One graph of a bundle that an engine is built of.

    Attributes:
        name: ``stage 1``, ``static`` or ``whole``.
        file: POSIX path of its ONNX file, relative to the bundle.
        inputs: Tensors it reads.
        outputs: Tensors it writes.
        native: Boundary tensors that may stay in the engine's compute type.
    """

    name: str
    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    native: frozenset[str] = frozenset()


@dataclass(frozen=True)
class GraphReport:
    """What came of building one graph.

    Attributes:
        graph: The graph's name.
        file: Its path in the bundle.
        built: What the target says.
        expected: Names of the layers that the recipe expects in int8.
        missing: Those of them that the engine computes in another precision. Empty where it does
            not tell its layers.
    """

    graph: str
    file: str
    built: Built
    expected: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def told(self) -> bool:
        """Whether the engine told its layers."""
        return bool(self.built.layers)


@dataclass(frozen=True)
class BuildReport:
    """What came of building a bundle.

    Attributes:
        engine: The engine and its version.
        graphs: One entry a graph in the order in which they were built; empty where the engine
            compiles when it opens a graph, so that there is nothing to build.
    """

    engine: str
    graphs: tuple[GraphReport, ...]

    @property
    def agrees(self) -> bool:
        """Whether no layer that was expected in int8 computes in another precision."""
        return not any(graph.missing for graph in self.graphs)


def bundle_graphs(bundle: Bundle, *, everything: bool = False) -> tuple[Graph, ...]:
    """Return the stages of a bundle and, with ``everything``, its static and its whole graph."""
    manifest = bundle.manifest
    native = Plan.of(manifest).native
    stages = tuple(
        Graph(f"stage {stage.number}", stage.file, stage.fed, stage.produced, native)
        for stage in manifest.stages
    )
    if not everything:
        return stages
    outputs = {spec.name: spec for stage in manifest.stages for spec in stage.exit.outputs}
    last = manifest.stages[-1].exit.outputs
    return (
        *stages,
        Graph("static", manifest.static, manifest.inputs, last),
        Graph("whole", manifest.whole, manifest.inputs, tuple(outputs.values())),
    )


def build_bundle(
    bundle: Bundle, machine: Machine, report: Report | None = None, *, everything: bool = False
) -> BuildReport:
    """Build every engine of a bundle that this device lacks, and keep them in its cache.

    Args:
        bundle: The bundle.
        machine: This device, its engine and its cache.
        report: Told the graph at hand with the time left, and the share of the work done.
        everything: Build the graphs that ``bench`` compares with as well.

    Raises:
        TargetError: The engine refuses a graph.
        ResourceError: The cache cannot be written.
    """

    def build(graph: Graph, told: Report) -> Built:
        file = bundle.file(graph.file)
        return machine.build(file, graph.inputs, graph.outputs, graph.native, told)

    if not machine.target.builds_on_device:
        return BuildReport(machine.info.engine, ())
    graphs = bundle_graphs(bundle, everything=everything)
    return BuildReport(machine.info.engine, build_graphs(bundle, graphs, build, report))


def kept_plans(cache: DeviceCache) -> dict[str, Mapping[str, Any]]:
    """Return what is noted of each engine that is kept of a bundle, by its entry's name."""
    names = sorted(file.stem for file in cache.folder.glob("plan-*.json"))
    records = ((name, cache.read_json(name)) for name in names)
    return {name: record for name, record in records if isinstance(record, dict)}


def missing_int8(bundle: Bundle, cache: DeviceCache) -> dict[str, tuple[str, ...]]:
    """Return the layers expected in int8 that kept engines compute otherwise, by graph's file."""
    recipe = bundle.recipe()
    missing: dict[str, tuple[str, ...]] = {}
    for record in kept_plans(cache).values():
        entry = None if recipe is None else recipe.graph(str(record.get("model")))
        if entry is not None:
            layers = [BuiltLayer(*layer) for layer in record["layers"]]
            missing[entry.file] = compare_layers(entry.int8_layers, layers)
    return {file: names for file, names in missing.items() if names}


def forget_plans(cache: DeviceCache) -> None:
    """Remove the engines that are kept of a bundle, and that their answers were checked.

    Raises:
        ResourceError: The cache cannot be written.
    """
    with cache.lock(), writing(cache.folder):
        for file in cache.folder.iterdir():
            if file.name.startswith("plan-") or file.name == "golden.json":
                file.unlink()


def trust_kept_plans(cache: DeviceCache) -> int:
    """Take over the engines in the cache that another machine has built; return their number.

    Whoever can write an engine can run code as you: do this with a cache that you copied yourself.
    Engines are taken only for this very bundle, GPU, driver and TensorRT, as always.

    Raises:
        ResourceError: The cache cannot be written.
    """
    here, taken = machine_id(), 0
    with cache.lock():
        for name, record in kept_plans(cache).items():
            if record.get("machine") != here:
                cache.write_json(name, {**record, "machine": here})
                taken += 1
    return taken


def build_graphs(
    bundle: Bundle,
    graphs: Sequence[Graph],
    build: Callable[[Graph, Report], Built],
    report: Report | None = None,
) -> tuple[GraphReport, ...]:
    """Build graphs one after the other and compare their layers with the bundle's recipe.

    Args:
        bundle: The bundle.
        graphs: Some of its graphs.
        build: Builds one; it is told where to report its own progress.
        report: As for :func:`build_bundle`.
    """
    # Weights lie in a file of their own, so a graph's file counts its nodes, and nodes are what a
    # builder spends its time on.
    weights = [bundle.file(graph.file).stat().st_size for graph in graphs]
    progress = Progress(sum(weights), report)
    recipe = bundle.recipe()
    done = []
    for graph, weight in zip(graphs, weights, strict=True):
        with progress.step(graph.name, weight) as told:
            built = build(graph, told)
            progress.cached = built.cached
        done.append(_compare(recipe, graph, built))
    return tuple(done)


def _compare(recipe: Recipe | None, graph: Graph, built: Built) -> GraphReport:
    entry = None if recipe is None else recipe.graph(graph.file)
    expected = () if entry is None else entry.int8_layers
    missing = compare_layers(expected, built.layers)
    return GraphReport(graph.name, graph.file, built, expected, missing)
