"""Whole networks in every flavour are clean, and TensorRT-RTX reads and builds them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgeexit.demo import model_path
from edgeexit.errors import ModelError
from edgeexit.graph.axes import describe_input
from edgeexit.graph.export import load_model
from edgeexit.graph.normalize import normalize
from edgeexit.graph.quantize import quantize_int8
from edgeexit.graph.slicing import slice_model
from edgeexit.graph.strong import strongly_typed
from edgeexit.graph.tensorrt.lint import lint_tensorrt, require_buildable
from tests import architectures
from tests.bundle.fake_bundle import fake_manifest
from tests.graph import networks
from tests.graph.tensorrt.linted import LATEST, errors
from tests.graph.tensorrt.rtx_parser import MISSING, Profile, Rtx


def images(count: int, size: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [{"image": rng.standard_normal((1, 3, size, size), np.float32)} for _ in range(count)]


def assert_clean(model: ir.Model, profile: Profile | None, build: bool = True) -> None:
    for version in ("10.3", "10.13", "10.16", LATEST):
        assert [str(finding) for finding in errors(lint_tensorrt(model, version=version))] == []
    if not MISSING:
        rtx = Rtx()
        assert rtx.parse(ir.serde.serialize_model(model))
        assert not build or rtx.build(profile)


IMAGES: Profile = {"image": ((1, 3, 16, 16), (2, 3, 16, 16), (4, 3, 16, 16))}


@pytest.mark.parametrize(
    "factory", [f"{networks.__name__}:cnn", f"{architectures.__name__}:multi_scale"]
)
def test_convolutional_networks_are_clean_in_every_flavour(factory: str, tmp_path: Path):
    model = normalize(load_model(factory, workdir=tmp_path, input_shape=(None, 3, 16, 16)))
    assert_clean(model, IMAGES, build=False)
    rows = images(4, 16)
    quantized = quantize_int8(model, rows)
    assert_clean(quantized, IMAGES)
    strongly_typed(quantized, rows, workdir=tmp_path)
    assert_clean(quantized, IMAGES)


def test_a_text_encoder_with_a_mask_is_clean_in_every_flavour(tmp_path: Path):
    rng = np.random.default_rng(0)
    rows = [
        {"ids": rng.integers(0, 40, (2, 6)), "mask": np.ones((2, 6), np.int64)} for _ in range(2)
    ]
    factory = f"{architectures.__name__}:masked_text"
    model = normalize(load_model(factory, workdir=tmp_path, samples=rows[0]))
    sizes = ((1, 6), (2, 6), (4, 6))
    profile: Profile = {"ids": sizes, "mask": sizes}
    assert_clean(model, profile, build=False)
    strongly_typed(model, rows, workdir=tmp_path)
    assert_clean(model, profile)
    inputs = {finding.node for finding in lint_tensorrt(model) if finding.rule == "int64"}
    assert {"ids", "mask"} <= inputs


@pytest.mark.parametrize("strong", [False, True])
def test_written_stages_are_buildable_until_one_is_changed(strong: bool, tmp_path: Path):
    source = f"{architectures.__name__}:windows"
    model = normalize(load_model(source, workdir=tmp_path, input_shape=(None, 16, 12)))
    if strong:
        strongly_typed(model, None, workdir=tmp_path)
    inputs = tuple(describe_input(value) for value in model.graph.inputs)
    graphs = tmp_path / "graphs"
    graphs.mkdir()
    sliced = slice_model(model, inputs, graphs, gate="confidence", probe=None)
    manifest = replace(fake_manifest(), stages=sliced.stages)
    assert require_buildable(tmp_path, manifest) == ()
    second = tmp_path / sliced.stages[1].file
    changed = onnx.load(second, load_external_data=False)
    (softmax, *_) = [node for node in changed.graph.node if node.op_type == "Softmax"]
    softmax.op_type = "Compress"
    onnx.save(changed, second)
    with pytest.raises(ModelError, match=r"stage 2, .*does not know the operator Compress"):
        require_buildable(tmp_path, manifest)


@pytest.mark.slow
def test_the_demo_is_clean_in_every_flavour(tmp_path: Path):
    rng = np.random.default_rng(0)
    rows = [{"image": rng.integers(0, 256, (1, 1, 28, 28), np.uint8)} for _ in range(4)]
    profile: Profile = {"image": ((1, 1, 28, 28), (2, 1, 28, 28), (4, 1, 28, 28))}
    model = normalize(load_model(model_path(), workdir=tmp_path))
    assert_clean(model, profile, build=False)
    quantized = quantize_int8(model, rows)
    assert_clean(quantized, profile, build=False)
    strongly_typed(quantized, rows, workdir=tmp_path)
    assert_clean(quantized, profile)
    assert lint_tensorrt(quantized) == ()
