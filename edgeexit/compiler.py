"""``compile_model``: a multi-exit model in, a sealed bundle out. The pipeline, top to bottom."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgeexit.budget import Budget
from edgeexit.bundle.bundle import PARITY, Bundle
from edgeexit.bundle.integrity import seal_files
from edgeexit.bundle.manifest import manifest_bytes
from edgeexit.bundle.paths import MANIFEST
from edgeexit.bundle.recipe import RECIPE, Range, Recipe, batch_range
from edgeexit.bundle.selection import SELECTION, Selection
from edgeexit.bundle.specs import Manifest, Preprocessing, Provenance, TensorSpec
from edgeexit.bundle.writer import BundleWriter
from edgeexit.compile_data import (
    Source,
    first_rows,
    load_labelled,
    parity_inputs,
    single_rows,
    trace_samples,
)
from edgeexit.compile_exits import WantedExits, search_kept
from edgeexit.compile_graph import SourceGraph
from edgeexit.datasets import Dataset, load_dataset
from edgeexit.errors import InputError
from edgeexit.model_card import model_card
from edgeexit.provenance import provenance_of, provenance_of_tuned
from edgeexit.targets.device import Device, load_device
from edgeexit.targets.registry import get_target
from edgeexit.tuned import TunedFolder

SCHEMA = 1
"""Version of the bundle format that this compiler writes."""

STATIC = "graphs/static.onnx"
WHOLE = "graphs/whole.onnx"

Progress = Callable[[str, float], None]

_QUANT_SAMPLES = 300
_PARITY_SAMPLES = 512
_GOLDEN_SAMPLES = 4
_PROBE_SAMPLES = 8


def compile_model(
    model: str | Path,
    output: str | Path,
    *,
    target: str | Path = "cpu",
    precision: str | None = None,
    exits: Sequence[str | int] | str | None = None,
    budget: Budget | float | str | None = None,
    truncate: int | None = None,
    gate: str = "statistics",
    input_shape: Any = None,
    samples: Mapping[str, npt.NDArray[Any]] | None = None,
    quant_data: Source | None = None,
    keep_float: Sequence[str] = (),
    ranges: Mapping[str, Range] | None = None,
    preprocessing: Preprocessing | None = None,
    classes: Sequence[str] | None = None,
    data: Source | None = None,
    name: str | None = None,
    progress: Progress | None = None,
) -> Bundle:
    """Compile a multi-exit model into a bundle.

    Args:
        model: A ``.onnx`` file, a ``.pt2`` file, ``package.module:factory``, or a folder that
            ``edgeexit tune`` wrote, which also tells exits, classes, name and data that are None.
        output: Where the bundle is written; an older bundle there is replaced in one step.
        target: A device's name, e.g. ``x86``, or the path of a device file.
        precision: ``f32``, ``bf16``, ``fp16`` or ``int8``; the device's default if None.
        exits: Names of the exits' outputs in order; all outputs if None. Or numbers, from 1, of
            the exits to keep; or ``auto`` to keep those that earn their head and gate on the
            data. The others are cut out, and their stages joined with the next.
        budget: With ``auto``: the mean cost to be good at, ``0.5``; a range of them if None.
        truncate: Number of an exit: the model is cut there, without any other exit.
        gate: The gate that ends every stage but the last.
        input_shape: Shape of the sole input, or shapes by name; a torch module needs it.
        samples: Inputs by name to trace and measure the model with; random ones if None.
        quant_data: Data for the quantizer; anything :func:`~edgeexit.datasets.load_dataset` takes.
        keep_float: Patterns of node or exit names that stay out of int8.
        ranges: Smallest, typical and largest size of dynamic dimensions by their symbol, for
            devices whose engines are built for a range; the batch spans the device's buckets.
        preprocessing: Baked into stage 1, if given.
        classes: Class names.
        data: Data for the parity report; with labels it also tells each exit's accuracy.
        name: The model's name; from the file if None.
        progress: Called with what is being done and the fraction that is done.

    Returns:
        The bundle at ``output``.

    Raises:
        ModelError: The model cannot be read, sliced, gated or quantized.
        BudgetError: The budget is outside what the exits can meet.
        InputError: An argument or the data is unusable.
        TargetError: The device is unknown, or lacks the precision.
        BundleError: ``output`` exists and is no bundle, or a tuned folder is damaged.
        ResourceError: The disk is full.
    """
    device = load_device(target)
    chosen = device.options(precision).precision
    tuned = TunedFolder.open(model) if Path(model).is_dir() else None
    if tuned is not None:
        tuned.require_exits()
        model, name = tuned.model, name or tuned.record.name
        classes = classes or tuned.record.classes
        data = tuned.calibration if data is None else data
        if chosen == "int8" and quant_data is None:
            quant_data = tuned.calibration
    if chosen == "int8" and quant_data is None:
        raise InputError(
            "precision int8 needs data to find the ranges of activations.",
            hint="give some hundred inputs with --quant-data.",
            code="input.quant-data",
        )
    wanted = WantedExits.of(exits, budget, truncate, tuned.record.exits if tuned else None)
    report = progress or (lambda _label, _done: None)
    with BundleWriter(output) as writer, tempfile.TemporaryDirectory() as workdir:
        work = _Work(writer, Path(workdir), device, target, chosen)
        report("reading the model", 0.0)
        samples = samples or trace_samples(quant_data if data is None else data, _PROBE_SAMPLES)
        source = work.read(model, wanted.names, gate, input_shape, samples, preprocessing)
        selection = wanted.take(source.graph)
        report("loading data", 0.1)
        inputs = source.describe()
        sizes = work.ranges(inputs, ranges or {})
        quant = None if quant_data is None else load_dataset(quant_data, inputs=inputs)
        labelled = load_labelled(data, inputs, classes, source.class_count)
        real = labelled or quant
        wanted.require(real)
        if chosen == "int8" and quant is not None:
            report("quantizing", 0.15)
            work.quantize(source, quant, keep_float)
        names = classes or (real.classes if real else None)
        probe = first_rows(real.inputs, _PROBE_SAMPLES) if real else samples
        if device.computes_half(chosen):
            report("converting to float16", 0.45)
            work.halve(source, probe)
        if wanted.auto and real:
            report("choosing exits", 0.48)
            selection = work.choose_exits(source, gate, real, probe, wanted.budget)
        if selection is not None:
            writer.add_json(SELECTION, selection.as_json())
        report("slicing", 0.5)
        manifest = work.slice(source, gate, probe, names)
        manifest = dataclasses.replace(
            manifest,
            name=name or _model_name(model),
            preprocessing=preprocessing,
            provenance=provenance_of(model) if tuned is None else provenance_of_tuned(tuned),
        )
        recipe = None
        if sizes is not None:
            report("checking for the device's engine", 0.65)
            recipe = work.prepare(manifest, source, sizes)
        report("checking parity", 0.7)
        parity = work.check_parity(manifest, source, real)
        writer.add_json(PARITY, parity)
        writer.add_text("README.md", model_card(manifest, parity, recipe))
        report("sealing", 0.95)
        bundle = writer.seal(manifest)
        report("done", 1.0)
        return bundle


@dataclass
class _Work:
    """What all steps of one compilation share."""

    writer: BundleWriter
    folder: Path
    device: Device
    device_name: str | Path
    precision: str

    def read(
        self,
        model: str | Path,
        exits: Sequence[str] | None,
        gate: str,
        input_shape: Any,
        samples: Mapping[str, npt.NDArray[Any]] | None,
        preprocessing: Preprocessing | None,
    ) -> SourceGraph:
        """Load and normalize the model; bake preprocessing in."""
        from edgeexit.graph.export import load_model
        from edgeexit.graph.gates import get_gate
        from edgeexit.graph.normalize import normalize
        from edgeexit.graph.preprocess import bake_preprocessing

        reads = get_gate(gate).reads
        graph = load_model(
            model, workdir=self.folder, exits=exits, input_shape=input_shape, samples=samples
        )
        normalize(graph, exits, reads)
        if preprocessing is not None:
            bake_preprocessing(graph, preprocessing)
        return SourceGraph(graph)

    def quantize(self, model: SourceGraph, data: Dataset, keep_float: Sequence[str]) -> None:
        """Replace the graph by its int8 form and keep the float one for comparison."""
        from edgeexit.graph.lint import require_clean
        from edgeexit.graph.quantize import quantize_int8

        self._keep_float_copy(model)
        rows = single_rows(data, _QUANT_SAMPLES)
        model.graph = quantize_int8(model.graph, rows, keep_float=keep_float, workdir=self.folder)
        require_clean(model.graph)

    def halve(self, model: SourceGraph, samples: Mapping[str, npt.NDArray[Any]] | None) -> None:
        """Rewrite the graph to float16 where its values allow it, every type in the open."""
        from edgeexit.graph.strong import strongly_typed

        if model.float_path is None:
            self._keep_float_copy(model)
        rows = None if samples is None else [samples]
        report = strongly_typed(model.graph, rows, workdir=self.folder)
        model.float32_nodes = {node.name: node.reason for node in report.kept}

    def _keep_float_copy(self, model: SourceGraph) -> None:
        import onnx_ir as ir

        model.float_path = self.folder / "float.onnx"
        ir.save(model.graph, model.float_path, external_data="float.bin")

    def ranges(
        self, inputs: Sequence[TensorSpec], given: Mapping[str, Range]
    ) -> dict[str, Range] | None:
        """Return a range for every symbol where engines are built on the device, else None."""
        from edgeexit.graph.recipe import check_ranges

        if not get_target(self.device.engine).builds_on_device:
            return None
        return check_ranges(inputs, given, batch_range(self.device.batch_buckets))

    def prepare(
        self, manifest: Manifest, model: SourceGraph, ranges: Mapping[str, Range]
    ) -> Recipe:
        """Lint the graphs for the device's engine and write the recipe to build them by."""
        from edgeexit.graph.recipe import make_recipe
        from edgeexit.graph.tensorrt.lint import require_buildable

        files = [*(stage.file for stage in manifest.stages), manifest.whole, manifest.static]
        require_buildable(self.writer.folder, manifest)
        recipe = make_recipe(self.writer.folder, files, ranges, model.float32_nodes)
        self.writer.add_json(RECIPE, recipe.as_json())
        return recipe

    def choose_exits(
        self,
        model: SourceGraph,
        gate: str,
        data: Dataset,
        probe: Mapping[str, npt.NDArray[Any]] | None,
        budget: Budget | None,
    ) -> Selection:
        """Search which exits to keep, on a bundle with all of them, and cut the others out."""
        from edgeexit.graph.pruning import keep_exits

        with BundleWriter(self.folder / "all-exits") as writer:
            trial = dataclasses.replace(self, writer=writer)
            whole = dataclasses.replace(model, graph=model.graph.clone())
            bundle = trial._provisional(trial.slice(whole, gate, probe, None))
            found = search_kept(bundle, whole.graph, data, budget, self.device_name, probe)
        keep_exits(model.graph, found.kept)
        return found

    def slice(
        self,
        model: SourceGraph,
        gate: str,
        probe: Mapping[str, npt.NDArray[Any]] | None,
        classes: Sequence[str] | None,
    ) -> Manifest:
        """Write the stage graphs, the whole and the static one over one weights file."""
        from edgeexit.graph.slicing import slice_model

        folder = self.writer.path(STATIC).parent
        inputs = model.describe()
        sliced = slice_model(model.graph, inputs, folder, gate=gate, probe=probe)
        return Manifest(
            schema=SCHEMA,
            name="model",
            inputs=inputs,
            stages=sliced.stages,
            static=STATIC,
            whole=WHOLE,
            static_flops=sliced.static_flops,
            static_params=sliced.static_params,
            classes=None if classes is None else tuple(classes),
            preprocessing=None,
            device=self.device.name,
            precision=self.precision,
            decision_unit="sample",
            compaction=sliced.compaction,
            provenance=Provenance("", "", "", "", {}),
            files=(),
        )

    def check_parity(
        self, manifest: Manifest, model: SourceGraph, data: Dataset | None
    ) -> dict[str, Any]:
        """Run stages and whole on the engines of this machine; write golden inputs and outputs."""
        from edgeexit.parity import check_parity, compare_precisions, golden_outputs, require_finite

        inputs = parity_inputs(manifest, data, _PARITY_SAMPLES)
        golden = first_rows(inputs, _GOLDEN_SAMPLES)
        self.writer.add_golden(golden_outputs(self._provisional(manifest), golden))
        bundle = self._provisional(manifest)
        labels = None if data is None or data.labels is None else data.labels[:_PARITY_SAMPLES]
        report = check_parity(
            bundle, inputs, labels=labels, real=data is not None, device=self.device_name
        )
        if model.float_path is not None:
            compared = compare_precisions(model.float_path, bundle, inputs, labels)
            report = dataclasses.replace(report, vs_float=compared)
        require_finite(report)
        return report.as_json()

    def _provisional(self, manifest: Manifest) -> Bundle:
        """Return the bundle as it stands in the writer's folder, its manifest not yet final."""
        listed = dataclasses.replace(manifest, files=seal_files(self.writer.folder))
        data, digest = manifest_bytes(listed)
        self.writer.add_bytes(MANIFEST, data)
        return Bundle(self.writer.folder, listed, digest)


def _model_name(model: str | Path) -> str:
    text = str(model)
    return text.rpartition(":")[2] if ":" in text else Path(text).stem
