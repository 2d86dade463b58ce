"""Bundles for engines that are built on the device, as far as a machine without a GPU can go.

Six architectures in float16 and int8: every stage builds with TensorRT-RTX for SM86, and runs on
ONNX Runtime, where it answers as the float32 flavour does. Neither shows that it runs on a Jetson.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import edgeexit
from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.specs import BATCH
from edgeexit.compiler import compile_model
from edgeexit.errors import InputError
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.result import AllExits
from edgeexit.targets.device import load_device

pytest.importorskip("torch")

from edgeexit.dmpo import export  # needs torch
from tests.dmpo import tiny

Arrays = dict[str, npt.NDArray[Any]]
SAMPLES = 200
RANDOM = np.random.default_rng(0)

LOGIT_TOLERANCE = {"fp16": 0.01, "int8": 0.1}
"""Largest difference of a logit from that of the float32 flavour, as a share of the largest logit.

float16 has 11 bits: a relative step of 5e-4, and some twenty roundings in a row. In int8 such a
rounding may tip a value into the next of 255 steps, and steps behind it in turn."""

FLIPPED = {"fp16": 0.02, "int8": 0.1}
"""Share of samples that may leave at another exit: those whose score lies that near a threshold."""


@dataclass(frozen=True)
class Case:
    """A model as the compiler takes it, and inputs for it.

    Attributes:
        model: Returns the model, given a folder to write it to.
        inputs: Arrays by name.
        settings: Further arguments of ``compile_model``.
        crossing: Tensors at the first boundary, the gate's own state aside.
    """

    model: Callable[[Path], str | Path]
    inputs: Arrays
    crossing: int
    settings: dict[str, Any] = field(default_factory=dict)


def _tuned(family: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / f"{family}.onnx"
        export.export_model(
            export.merge(export.on_cpu(tiny.model(family))), tiny.inputs(family, 1), path
        )
        return path

    return write


def _factory(name: str) -> Callable[[Path], str]:
    return lambda folder: f"tests.architectures:{name}"


def _floats(*shape: int) -> npt.NDArray[np.float32]:
    return RANDOM.standard_normal((SAMPLES, *shape)).astype(np.float32)


_TEXT = {
    "ids": RANDOM.integers(0, 40, (SAMPLES, 12)),
    "mask": (np.arange(12) < RANDOM.integers(4, 13, (SAMPLES, 1))).astype(np.int64),
}

CASES = {
    # A ViT, a CNN and a text encoder with a mask, each with second-order and other heads.
    "vit": Case(_tuned("vit"), tiny.inputs("vit", SAMPLES), 1),
    "resnet": Case(_tuned("resnet"), tiny.inputs("resnet", SAMPLES), 1),
    "bert": Case(_tuned("bert"), tiny.inputs("bert", SAMPLES), 4),
    # Several boundary tensors, an exit that feeds the next.
    "two_branches": Case(
        _factory("two_branches"),
        {"image": _floats(1, 16, 16)},
        3,
        {"input_shape": ("batch", 1, 16, 16)},
    ),
    # A boundary tensor of four rows a sample, and a gate that counts from exit to exit.
    "windows": Case(
        _factory("windows"),
        {"tokens": _floats(16, 12)},
        1,
        {"input_shape": ("batch", 16, 12), "gate": "patience"},
    ),
    # A second dynamic axis.
    "masked_text": Case(
        _factory("masked_text"),
        _TEXT,
        2,
        {
            "input_shape": {"ids": ("batch", "length"), "mask": ("batch", "length")},
            "ranges": {"length": (4, 12, 32)},
        },
    ),
}

REFERENCE = {"fp16": "f32", "int8": "int8"}
"""Precision of the float32 flavour that a precision is compared with."""


@dataclass(frozen=True)
class Prepared:
    """A bundle for a Jetson, and the same model compiled in the float32 flavour."""

    name: str
    precision: str
    bundle: Bundle
    reference: Bundle
    inputs: Arrays


@pytest.fixture(scope="module", params=list(CASES))
def model(request: pytest.FixtureRequest, tmp_path_factory: Any) -> tuple[str, Path, str | Path]:
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, CASES[request.param].model(folder)


@pytest.fixture(scope="module", params=["fp16", "int8"])
def prepared(request: pytest.FixtureRequest, model: tuple[str, Path, str | Path]) -> Prepared:
    name, folder, source = model
    case, precision = CASES[name], request.param

    def compiled(target: str, precision: str, **settings: Any) -> Bundle:
        return compile_model(
            source,
            folder / f"{target}-{precision}.eex",
            target=target,
            precision=precision,
            data=case.inputs,
            quant_data=case.inputs if precision == "int8" else None,
            **settings,
        )

    plain = {key: value for key, value in case.settings.items() if key != "ranges"}
    reference = compiled("cpu", REFERENCE[precision], **plain)
    return Prepared(
        name, precision, compiled("jetson", precision, **case.settings), reference, case.inputs
    )


def answers(bundle: Bundle, inputs: Arrays) -> AllExits:
    with edgeexit.Runtime(bundle, target="cpu", threads=1, exits=False) as runtime:
        return runtime.all_exits(inputs)


def test_the_bundle_is_prepared_and_checked_here(prepared: Prepared) -> None:
    bundle, recipe = prepared.bundle, prepared.bundle.recipe()
    assert recipe is not None
    assert recipe.float_type == "float16"
    assert 19 <= recipe.opset <= 20
    largest = load_device("jetson").batch_buckets[-1]
    assert recipe.ranges[BATCH] == (1, largest, largest)
    stages = bundle.manifest.stages
    state = stages[0].gate.state if stages[0].gate else ()
    crossing = [spec for spec in stages[1].carried_in if spec.name not in state]
    assert len(crossing) == CASES[prepared.name].crossing
    assert {spec.dtype for stage in stages for spec in stage.exit.outputs} == {"float32"}
    for stage in stages[:-1]:
        assert stage.gate is not None
        kept = {spec.name: spec.dtype for spec in stage.carried_out}
        assert {kept[name] for name in stage.gate.state if name in kept} <= {"float32", "int32"}
    engines = {engine["device"]: engine for engine in bundle.parity()["engines"]}
    assert engines["cpu"]["agrees"]
    assert "built on the device" in bundle.parity()["skipped"]["jetson"]
    products = [len(g.int8_layers) for g in recipe.graphs if g.file.startswith("graphs/stage")]
    assert all(products) if prepared.precision == "int8" else not any(products)


def test_on_onnxruntime_it_answers_as_the_float32_flavour(prepared: Prepared) -> None:
    ours, theirs = (
        answers(prepared.bundle, prepared.inputs),
        answers(prepared.reference, prepared.inputs),
    )
    for logits, expected in zip(ours.logits, theirs.logits, strict=True):
        allowed = LOGIT_TOLERANCE[prepared.precision] * np.abs(expected).max()
        assert np.isfinite(logits).all()
        np.testing.assert_allclose(logits, expected, rtol=0, atol=allowed)
    leaving = np.full(SAMPLES, len(ours.logits)), np.full(SAMPLES, len(ours.logits))
    for k in range(len(ours.scores) - 1, -1, -1):
        # Between the values of a counter; the score of patience's first exit is always 0.
        spread = len(np.unique(theirs.scores[k])) > 1
        threshold = theirs.scores[k].mean() if spread else np.inf
        for exits, found in zip(leaving, (ours.scores[k], theirs.scores[k]), strict=True):
            exits[found >= threshold] = k + 1
    flips = float((leaving[0] != leaving[1]).mean())
    assert flips <= FLIPPED[prepared.precision], flips
    assert len(set(leaving[1])) > 1


def test_scores_are_float32_arithmetic_on_the_logits(prepared: Prepared) -> None:
    """The gate computes in float32 even where the stage is float16: its parts tell them apart."""
    found = answers(prepared.bundle, prepared.inputs)
    stage = prepared.bundle.manifest.stages[0]
    assert stage.gate is not None
    if stage.gate.name == "patience":
        assert not found.scores[0].any()
        return
    logits = found.logits[0].astype(np.float64)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=1) / np.log(shares.shape[1])
    column = stage.gate.features.index("entropy")
    np.testing.assert_allclose(found.features[0][:, column], entropy, rtol=0, atol=2e-6)


@pytest.mark.slow
def test_every_stage_builds_with_tensorrt_rtx_for_sm86(prepared: Prepared) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    from edgeexit.runtime.build_check import check_build

    report = check_build(prepared.bundle, "86")
    recipe = prepared.bundle.recipe()
    assert recipe is not None
    assert len(report.graphs) == len(prepared.bundle.manifest.stages)
    for graph in report.graphs:
        entry = recipe.graph(graph.file)
        assert entry is not None
        assert graph.built.layers, "the builder told no layers"
        int8 = {layer.name for layer in graph.built.layers if layer.precision == "int8"}
        kinds = {layer.kind for layer in graph.built.layers}
        assert kinds & {"gemm", "conv"}
        assert graph.missing == ()
        # What was not quantized is the control: none of it may come out in int8.
        assert set(entry.int8_layers) <= int8
        assert not int8 & set(entry.float_layers)
        if prepared.precision == "fp16":
            assert not [layer for layer in graph.built.layers if layer.precision == "int8"]


def test_a_dynamic_axis_without_a_range_is_refused(tmp_path: Path) -> None:
    settings = {key: v for key, v in CASES["masked_text"].settings.items() if key != "ranges"}
    with pytest.raises(InputError, match="dimension 'length' is dynamic") as caught:
        compile_model(
            "tests.architectures:masked_text",
            tmp_path / "text.eex",
            target="jetson",
            samples=_TEXT,
            **settings,
        )
    assert "--range length=" in caught.value.hint
    assert not (tmp_path / "text.eex").exists()


def test_the_machine_takes_its_ranges_from_the_recipe(model: Any, prepared: Prepared) -> None:
    machine = Machine.of(prepared.bundle, "cpu")
    recipe = prepared.bundle.recipe()
    assert recipe is not None
    assert machine.options({}).ranges == recipe.sizes()
    assert machine.options({}).cache is machine.cache


@pytest.mark.slow
def test_a_batch_fixed_to_one_builds_too(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    from edgeexit.runtime.build_check import check_build

    case = CASES["two_branches"]
    bundle = compile_model(
        case.model(tmp_path),
        tmp_path / "one.eex",
        target="jetson",
        data=case.inputs,
        ranges={"batch": (1, 1, 1)},
        **case.settings,
    )
    report = check_build(bundle, "86")
    assert [graph.built.built for graph in report.graphs] == [True] * 3
    profiles = [layer.name for layer in report.graphs[0].built.layers]
    assert len(profiles) == len(set(profiles)), "every layer once: one profile, not two"
