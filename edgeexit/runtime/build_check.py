"""Does NVIDIA's builder take a bundle? Asked of TensorRT-RTX, on any machine, without a GPU.

TensorRT-RTX has TensorRT's parser and a builder of the same family, and builds for GPUs that are
not there. Jetson's are not among them, so this shows that a graph is understood and in which
precision each layer is planned; never that it runs on a Jetson.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path

from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.recipe import Recipe
from edgeexit.errors import TargetError
from edgeexit.runtime.build import BuildReport, Graph, build_graphs, bundle_graphs
from edgeexit.targets.info import Built, EngineOptions, Report, Unavailable
from edgeexit.targets.tensorrt.building import build_plan
from edgeexit.targets.tensorrt.target import build_job
from edgeexit.targets.tensorrt.versions import load_module

MODULE = "tensorrt_rtx"

_JETSONS = {"72": "Xavier's", "87": "Orin's", "101": "Thor's (by its old number)", "110": "Thor's"}
"""Compute capabilities of Jetsons, for which TensorRT-RTX has no kernels."""

_NEAREST = {"72": "75", "87": "86", "101": "120", "110": "120"}
"""The capability of the nearest generation that it has."""


def check_build(
    bundle: Bundle, sm: str, report: Report | None = None, *, everything: bool = False
) -> BuildReport:
    """Build every stage of a bundle with TensorRT-RTX for another GPU, and keep nothing.

    Args:
        bundle: The bundle.
        sm: The compute capability: ``86``, ``sm86`` or ``8.6``.
        report: Told the graph at hand with the time left, and the share of the work done.
        everything: Build the static and the whole graph as well.

    Raises:
        TargetError: TensorRT-RTX is not installed (``target.unavailable``), does not know the
            capability (``target.gpu``), the bundle was not prepared for TensorRT
            (``target.no-recipe``), or a graph is refused.
        BundleError: The recipe is damaged.
    """
    recipe = _recipe(bundle)
    version, capability = _capability(sm)
    options = EngineOptions(bundle.manifest.precision, ranges=recipe.sizes())
    with tempfile.TemporaryDirectory(prefix="edgeexit-") as folder:

        def build(graph: Graph, told: Report) -> Built:
            file = bundle.file(graph.file)
            job = build_job(file, graph.inputs, graph.outputs, options)
            job = replace(job, compute_capability=capability)
            plan = Path(folder) / "plan"
            done = build_plan(MODULE, job, plan, told)
            size = plan.stat().st_size
            plan.unlink()
            return Built(True, False, done.seconds, size, done.layers)

        graphs = bundle_graphs(bundle, everything=everything)
        reports = build_graphs(bundle, graphs, build, report)
    return BuildReport(f"TensorRT-RTX for {capability.upper()} ({version})", reports)


def _recipe(bundle: Bundle) -> Recipe:
    recipe = bundle.recipe()
    if recipe is None:
        device = bundle.manifest.device
        raise TargetError(
            f"this bundle was compiled for {device!r}, whose engine compiles it when it is opened: "
            "it was not prepared for TensorRT.",
            hint="compile the model with --target jetson, then check that bundle.",
            code="target.no-recipe",
        )
    return recipe


def _capability(sm: str) -> tuple[str, str]:
    """Return the version of TensorRT-RTX and the capability as it calls it, e.g. ``sm86``."""
    module = load_module(MODULE)
    if isinstance(module, Unavailable):
        raise TargetError(
            f"{module.reason} It builds for other GPUs without one.",
            hint=module.hint,
            code="target.unavailable",
        )
    names = (name for name in dir(module.ComputeCapability) if re.fullmatch(r"SM\d+", name))
    known = sorted((name[2:] for name in names), key=int)
    wanted = re.sub(r"^sm_?", "", sm.strip().lower()).replace(".", "")
    if wanted in known:
        return str(module.__version__), f"sm{wanted}"
    had = f"TensorRT-RTX {module.__version__} builds for SM {', '.join(known)}"
    if wanted in _JETSONS:
        raise TargetError(
            f"SM{wanted} is Jetson {_JETSONS[wanted]}, and TensorRT-RTX has no kernels for Jetson: "
            f"{had}.",
            hint=f"check with the nearest, --sm {_NEAREST[wanted]}; the device builds its own "
            "engines.",
            code="target.gpu",
        )
    raise TargetError(
        f"there is no compute capability {sm!r} to check with: {had}.",
        hint="choose one of them.",
        code="target.gpu",
    )
