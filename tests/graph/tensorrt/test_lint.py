"""The lint for TensorRT, held against the parser and builder of TensorRT-RTX.

TensorRT-RTX speaks for its own parser, of TensorRT 11's generation, and not for the TensorRT 10
of a Jetson; and nothing that it builds is run here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgeexit.errors import ModelError
from edgeexit.graph.tensorrt.lint import lint_tensorrt, require_tensorrt_clean
from tests.graph.tensorrt.cases.accepted import CLEAN, WARNED
from tests.graph.tensorrt.cases.case import Case, F
from tests.graph.tensorrt.cases.misread import MISREAD
from tests.graph.tensorrt.cases.refused import REFUSED
from tests.graph.tensorrt.linted import LATEST, errors, findings, loaded
from tests.graph.tensorrt.rtx_parser import Rtx, needs_rtx, rtx_verdict


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
