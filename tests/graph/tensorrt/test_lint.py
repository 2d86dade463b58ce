"""The lint for TensorRT, held against the parser and builder of TensorRT-RTX.

TensorRT-RTX speaks for its own parser, of TensorRT 11's generation, and not for the TensorRT 10
of a Jetson; and nothing that it builds is run here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgeexit.demo import model_path
from edgeexit.errors import InputError, ModelError
from edgeexit.graph.axes import describe_input
from edgeexit.graph.export import load_model
from edgeexit.graph.lint import Finding
from edgeexit.graph.normalize import give_names, normalize
from edgeexit.graph.quantize import quantize_int8
from edgeexit.graph.shapes import infer_shapes
from edgeexit.graph.slicing import slice_model
from edgeexit.graph.strong import strongly_typed
from edgeexit.graph.tensorrt.lint import (
    lint_tensorrt,
    require_buildable,
    require_tensorrt_clean,
)
from edgeexit.graph.tensorrt.operators import read_operators
from tests import architectures
from tests.bundle.fake_bundle import fake_manifest
from tests.graph import networks
from tests.graph.tensorrt.cases import CLEAN, MISREAD, REFUSED, WARNED, Case, F
from tests.graph.tensorrt.operator_graphs import OPERATORS, TYPES, operator_graph
from tests.graph.tensorrt.rtx_parser import MISSING, Profile, Rtx, needs_rtx, rtx_verdict

LATEST = "11.0"
"""The version that TensorRT-RTX 1.7's parser is compared with."""


def loaded(proto: onnx.ModelProto) -> ir.Model:
    model = ir.serde.deserialize_model(proto)
    give_names(model)
    infer_shapes(model)
    return model


def findings(case: Case, version: str = LATEST, stage: int | None = None) -> tuple[Finding, ...]:
    return lint_tensorrt(loaded(case.proto()), stage, version=version)


def errors(found: tuple[Finding, ...]) -> list[Finding]:
    return [finding for finding in found if finding.severity == "error"]


@pytest.mark.parametrize("case", [*REFUSED, *MISREAD], ids=lambda case: case.name)
def test_the_lint_names_it(case: Case):
    found = errors(findings(case, stage=3))
    # Some of the graphs end in a DequantizeLinear, which is another stage rule's matter.
    assert {finding.rule for finding in found} - {"boundary"} == {case.rule} | case.also
    (first, *_) = [finding for finding in found if case.words in finding.message]
    assert (first.rule, first.stage) == (case.rule, 3)
    assert first.node
    assert first.remedy.endswith(".")


@needs_rtx
@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_rtx_refuses_it_too(case: Case):
    assert rtx_verdict(case.proto()) in ("parser", "builder")


@needs_rtx
@pytest.mark.parametrize("case", MISREAD, ids=lambda case: case.name)
def test_rtx_builds_it_all_the_same(case: Case):
    nameless = case.rule == "dynamic-axis"
    assert rtx_verdict(case.proto(), {"x": ((2, 8),) * 3} if nameless else None) == "built"


@needs_rtx
def test_rtx_takes_uint8_quantization_for_int8():
    (case,) = [case for case in MISREAD if case.name == "uint8 activations"]
    rtx = Rtx()
    assert rtx.parse(case.proto())
    assert any("Defaulting to INT8" in line for line in rtx.log.lines)


@needs_rtx
def test_rtx_binds_float64_as_float32():
    (case,) = [case for case in MISREAD if case.name == "a float64 input"]
    rtx = Rtx()
    assert rtx.parse(case.proto())
    assert rtx.network.get_input(0).dtype == rtx.trt.DataType.FLOAT


@pytest.mark.parametrize("case", WARNED, ids=lambda case: case.name)
def test_what_builds_and_computes_as_it_should_is_a_warning(case: Case):
    found = findings(case)
    assert errors(found) == []
    assert {finding.rule for finding in found} == {case.rule}
    assert case.words in found[0].message
    assert str(found[0]).startswith(f"warning: {case.rule}: ")
    assert require_tensorrt_clean(loaded(case.proto()), version=LATEST) == found


@needs_rtx
@pytest.mark.parametrize("case", WARNED, ids=lambda case: case.name)
def test_rtx_builds_what_is_a_warning(case: Case):
    assert rtx_verdict(case.proto()) == "built"


@pytest.mark.parametrize("case", CLEAN, ids=lambda case: case.name)
def test_what_is_well_formed_is_clean(case: Case):
    assert findings(case) == ()


@needs_rtx
@pytest.mark.parametrize("case", CLEAN, ids=lambda case: case.name)
def test_rtx_builds_what_is_clean(case: Case):
    assert rtx_verdict(case.proto()) == "built"


# The table of operators


@needs_rtx
def test_the_newest_table_knows_the_operators_that_rtx_knows():
    parser = Rtx().parser
    schemas = onnx.defs.get_all_schemas_with_history()
    names = {schema.name for schema in schemas if schema.domain == ""}
    known = read_operators(LATEST).types
    assert {name for name in names if parser.supports_operator(name)} - set(known) == set()
    # DeformConv is a plugin of TensorRT, and TensorRT-RTX comes without plugins.
    unknown = {name for name in known if not parser.supports_operator(name)}
    assert unknown == {"DeformConv"}


@needs_rtx
def test_the_newest_table_knows_the_types_that_rtx_reads():
    different = set()
    for operator in OPERATORS:
        for dtype in TYPES:
            graph = operator_graph(operator, dtype)
            found = lint_tensorrt(loaded(graph), version=LATEST)
            refused = any(finding.rule == "type" for finding in errors(found))
            if refused == Rtx().parse(graph):
                different.add((operator, dtype))
    # NonZero is a plugin of TensorRT, too; the lint refuses it as data-dependent.
    assert different == {("NonZero", "float32"), ("NonZero", "float16")}


@pytest.mark.parametrize(
    ("operator", "before", "since"),
    [
        ("HannWindow", "10.3", "10.4"),
        ("STFT", "10.3", "10.13"),
        ("Attention", "10.13", "10.14"),
        ("RMSNormalization", "10.13", "10.16"),
        ("Swish", "10.16", "11.4"),
    ],
)
def test_an_operator_is_known_from_a_version_on(operator: str, before: str, since: str):
    assert operator not in read_operators(before).types
    assert operator in read_operators(since).types
    assert operator in read_operators("12.0").types


def test_an_unknown_operator_says_which_version_knows_it():
    case = Case("", "", "y = RMSNormalization(x, k)", "", {"k": np.ones(8, F)}, opset=23)
    first = errors(findings(case, "10.13"))[0]
    assert first.message == (
        "TensorRT 10.13 does not know the operator RMSNormalization; 10.15 does."
    )
    assert errors(findings(case, "10.16")) == []


@pytest.mark.parametrize(
    ("case", "before", "since", "words"),
    [
        (
            Case(
                "",
                "",
                'y = Einsum<equation="...ij,jk->...ik">(x, w)',
                "",
                {"w": np.eye(8, dtype=F)},
            ),
            "10.3",
            "10.13",
            "ellipsis",
        ),
        (
            Case("", "", "h = Cast<to=10>(x) p = Pow(h, k) y = Cast<to=1>(p)", "", {"k": F(2)}),
            "10.3",
            "10.13",
            "float16 and float32",
        ),
        (
            Case(
                "", "", "i = Cast<to=6>(x) p = Pow(i, k) y = Cast<to=1>(p)", "", {"k": np.int32(2)}
            ),
            "10.3",
            "10.13",
            "does not compute Pow in int32",
        ),
        (
            Case(
                "",
                "",
                "y = GroupNormalization<num_groups=2>(x, k, k)",
                "",
                {"k": np.ones(8, F)},
                opset=21,
            ),
            "10.3",
            "10.13",
            "opset 21",
        ),
    ],
)
def test_a_form_is_read_from_a_version_on(case: Case, before: str, since: str, words: str):
    (found,) = errors(findings(case, before))
    assert words in found.message
    assert errors(findings(case, since)) == []


@pytest.mark.parametrize(("version", "last"), [("10.3", 20), ("10.13", 22), ("10.16", 24)])
def test_the_opset_is_compared_with_that_of_the_version(version: str, last: int):
    assert findings(Case("", "", "y = Neg(x)", "", opset=last), version) == ()
    (found,) = findings(Case("", "", "y = Neg(x)", "", opset=last + 1), version)
    assert (found.rule, found.severity) == ("opset", "warning")
    assert f"TensorRT {version} ends at {last}" in found.message


@pytest.mark.parametrize("version", ["", "10", "ten.three", "10.x", "-1.0"])
def test_what_is_no_version_is_refused(version: str):
    with pytest.raises(InputError, match=r"is no TensorRT version; one is written like 10\.3"):
        read_operators(version)


def test_tensorrt_8_is_refused_with_the_jetpack_to_update_to():
    with pytest.raises(InputError, match=r"TensorRT 8\.5 is too old") as caught:
        read_operators("8.5")
    assert "JetPack 6.1" in caught.value.hint


# Weights too large for a test to hold: their tensors are described, not made


def large(dtype: ir.DataType, size: int, inline: bool) -> ir.Model:
    model = loaded(Case("", "", "y = Add(x, k)", "", {"k": np.ones(8, F)}).proto())
    shape = ir.Shape([size])
    value = model.graph.initializers["k"]
    if inline:
        value.const_value = ir.LazyTensor(lambda: ir.tensor([0.0]), dtype=dtype, shape=shape)
    else:
        value.const_value = ir.ExternalTensor("w.bin", 0, size, dtype, shape=shape, name="k")
    return model


def test_weights_beyond_what_one_file_holds_are_found():
    (found,) = lint_tensorrt(large(ir.DataType.FLOAT, 1 << 29, inline=True))
    assert found.rule == "weights-size"
    assert "2147483648 bytes of weights are in the graph's file" in found.message
    assert lint_tensorrt(large(ir.DataType.FLOAT, (1 << 29) - 1, inline=True)) == ()
    assert lint_tensorrt(large(ir.DataType.FLOAT, 1 << 29, inline=False)) == ()


def test_a_tensor_of_too_many_elements_is_found():
    (found,) = lint_tensorrt(large(ir.DataType.FLOAT16, 1 << 31, inline=False))
    assert (found.rule, found.node) == ("weights-size", "k")
    assert "2147483648 elements" in found.message


def test_an_input_of_unknown_rank_is_found():
    model = loaded(Case("", "", "y = Neg(x)", "").proto())
    model.graph.inputs[0].shape = None
    (found,) = lint_tensorrt(model)
    assert (found.rule, found.message) == ("dynamic-axis", "its rank is unknown.")


def test_require_names_the_first_error_its_stage_and_their_count():
    (case,) = [case for case in REFUSED if case.name == "zero point"]
    with pytest.raises(
        ModelError,
        match=r"2 findings that TensorRT 10\.3 would refuse or misread; the first: stage 2, "
        r".*its zero point is 3",
    ) as caught:
        require_tensorrt_clean(loaded(case.proto()), 2)
    assert caught.value.code == "model.tensorrt.zero-point"
    assert caught.value.hint == "Quantize symmetrically."


def test_types_that_a_file_does_not_tell_are_inferred(tmp_path: Path):
    (case,) = [case for case in REFUSED if case.name == "Softmax of int64"]
    onnx.save(case.proto(), tmp_path / "stage-1.onnx")
    model = ir.load(tmp_path / "stage-1.onnx")
    assert [node.outputs[0].dtype for node in model.graph][:2] == [None, None]
    assert [finding.rule for finding in errors(lint_tensorrt(model))] == ["type"]


# Whole models, in each flavour


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
