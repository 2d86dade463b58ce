"""Layers as the builder's log and the engine inspector name them.

The log lines are TensorRT-RTX 1.7's own, shortened. The inspector's JSON is written after NVIDIA's
documents for TensorRT 10 and 11: these tests prove that we read what the documents show, not that
an engine on a device says it so.
"""

from __future__ import annotations

import json

import pytest

from edgeexit.targets.info import BuiltLayer
from edgeexit.targets.tensorrt.layers import (
    compare_layers,
    layers_of_inspection,
    layers_of_log,
)


def operand(dtype: str, shape: str = "1,32") -> str:
    return (
        f"{{ Name: __mye298_q8_myl0, Dimensions: [{shape}], Strides: [32,1], StrideOrder: [1,0], "
        f"Datatype: {dtype}, Format: (Linear) Row major linear format }}"
    )


def line(name: str, kind: str, inputs: list[str], constants: list[str], metadata: str = "") -> str:
    return (
        f"Name: {name}, LayerType: {kind}, Inputs: [ {', '.join(inputs)}], "
        f"Constants: [ {', '.join(constants)}], Outputs: [ {operand('Half')}], "
        f"TacticName: __myelin_CASK_STUB, StreamId: 0, Metadata: {metadata}"
    )


def log(*lines: str) -> tuple[BuiltLayer, ...]:
    return layers_of_log(
        ["Layers elsewhere", "Layers:\n" + "\n".join(lines) + "\n\nI/O Tensors:\n"]
    )


INT8, HALF, FLOAT = operand("Int8"), operand("Half"), operand("Float")
SCALE = operand("Float", "1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            line("/qkv_myl0_3", "gemm", [INT8], [INT8, SCALE], "[ONNX Layer: /qkv][ONNX Layer: q]"),
            [BuiltLayer("/qkv", "gemm", "int8")],
        ),
        (
            line("/stem_myl0_1", "correlation", [HALF], [HALF, SCALE]),
            [BuiltLayer("/stem", "conv", "fp16")],
        ),
        (
            line(
                "/k+/q_myl0_3",
                "gemm",
                [INT8],
                [INT8, SCALE],
                "[ONNX Layer: /k][ONNX Layer: /k.in_DequantizeLinear][ONNX Layer: /q]",
            ),
            [BuiltLayer("/k", "gemm", "int8"), BuiltLayer("/q", "gemm", "int8")],
        ),
        # An int8 tensor in a product with a float one is only read through its scale.
        (
            line(
                "__myl_CastMulFc_myl0_36",
                "runtime_fusion",
                [INT8, FLOAT],
                [],
                "[ONNX Layer: /attend][ONNX Layer: DequantizeLinear_value]",
            ),
            [BuiltLayer("/attend", "gemm", "f32")],
        ),
        (
            line(
                "__myl_CorrDivErf_myl0_1",
                "runtime_fusion",
                [HALF, HALF],
                [],
                "[ONNX Layer: /gelu][ONNX Layer: /stem]",
            ),
            [BuiltLayer("/gelu", "conv", "fp16"), BuiltLayer("/stem", "conv", "fp16")],
        ),
        (
            line("__mye7+__mye8_myl0_4", "gemm", [HALF], [HALF], "[ONNX Layer: /qkv]"),
            [BuiltLayer("/qkv", "gemm", "fp16")],
        ),
        (
            line("_gemm_mha_v2_myl0_8", "kgen", [HALF] * 3, [], "[ONNX Layer: /qk]"),
            [BuiltLayer("/qk", "gemm", "fp16")],
        ),
        # The epilogue of a product names it too, and does not compute it.
        (
            line("__myl_MulRelu_myl0_4", "kgen", [HALF], [HALF], "[ONNX Layer: /qkv]"),
            [BuiltLayer("__myl_MulRelu_myl0_4", "other", "fp16")],
        ),
        (
            line("__mye236_0_myl1_0", "shape_call", [], []),
            [BuiltLayer("__mye236_0_myl1_0", "other", "unknown")],
        ),
    ],
)
def test_a_line_of_the_log(text: str, expected: list[BuiltLayer]) -> None:
    assert list(log(text)) == expected


def test_a_product_that_one_profile_rewrites_is_not_called_int8() -> None:
    told = "[ONNX Layer: /head]"
    both = log(
        line("/head_myl0_1", "gemm", [INT8], [INT8], told),
        line("/head [profile 1]_myl1_1", "gemm", [INT8], [INT8], told),
    )
    assert both == (BuiltLayer("/head", "gemm", "int8"),) * 2
    assert compare_layers(["/head"], both) == ()
    one = log(
        line("/body_myl0_0", "gemm", [INT8], [INT8]),
        line("/body [profile 1]_myl1_0", "gemm", [INT8], [INT8]),
        line("__myl_ReshMulSum_myl0_1", "kgen", [INT8], [INT8], told),
        line("/head [profile 1]_myl1_1", "gemm", [INT8], [INT8], told),
    )
    assert compare_layers(["/body", "/head"], one) == ("/head",)


def test_a_layer_that_takes_over_a_bias_is_not_the_product() -> None:
    layers = log(
        line("/fc_myl0_1", "gemm", [INT8], [INT8], "[ONNX Layer: /fc]"),
        line(
            "__myl_MulAddFc_myl0_2",
            "runtime_fusion",
            [HALF, HALF],
            [],
            "[ONNX Layer: /fc][ONNX Layer: /attend]",
        ),
    )
    assert layers == (BuiltLayer("/fc", "gemm", "int8"), BuiltLayer("/attend", "gemm", "fp16"))
    assert compare_layers(["/fc"], layers) == ()


def test_what_is_missing_of_the_expected_layers() -> None:
    layers = [
        BuiltLayer("/a", "gemm", "int8"),
        BuiltLayer("/b", "gemm", "fp16"),
        BuiltLayer("/c", "gemm", "int8"),
        BuiltLayer("/c", "gemm", "fp16"),
    ]
    assert compare_layers(["/a", "/b", "/c", "/d"], layers) == ("/b", "/c", "/d")
    assert compare_layers([], layers) == ()
    assert compare_layers(["/a"], []) == ()


def inspected(**layer: object) -> list[BuiltLayer]:
    return list(layers_of_inspection(json.dumps({"Layers": [layer], "Bindings": ["x"]})))


def test_the_inspector_of_tensorrt_10() -> None:
    tensor = "Thirty-two wide channel vectorized row major Int8 format"
    layer = {
        "Name": "/stem + /relu",
        "LayerType": "CaskConvolution",
        "Inputs": [{"Name": "x", "Dimensions": [1, 16, 8, 8], "Format/Datatype": tensor}],
        "ParameterType": "Convolution",
        "Weights": {"Type": "Int8", "Count": 4608},
        "Bias": {"Type": "Float", "Count": 32},
        "TacticName": "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32",
        "Metadata": "[ONNX Layer: /stem]\u001e[ONNX Layer: /relu]",
    }
    assert inspected(**layer) == [
        BuiltLayer("/stem", "conv", "int8"),
        BuiltLayer("/relu", "conv", "int8"),
    ]
    half = {**layer, "Weights": {"Type": "Half", "Count": 4608}, "Metadata": ""}
    half["Inputs"] = [{"Name": "x", "Format/Datatype": "Row major linear FP16 format"}]
    assert [found.precision for found in inspected(**half)] == ["fp16", "fp16"]


def test_the_inspector_of_tensorrt_11() -> None:
    int8 = {"Dimensions": [1, 32], "Format": "Row major linear", "Datatype": "Int8"}
    layer = {
        "Name": "/qkv_myl0_3",
        "LayerType": "gemm",
        "Inputs": [int8],
        "Constants": [int8, {"Dimensions": [1], "Datatype": "Float"}],
        "Metadata": "[ONNX Layer: /qkv][ONNX Layer: /qkv.in_DequantizeLinear]",
    }
    assert inspected(**layer) == [BuiltLayer("/qkv", "gemm", "int8")]


@pytest.mark.parametrize(
    "text", ["", "no JSON", "[]", "{}", '{"Layers": ["/stem", "/head"]}', '{"Layers": 3}']
)
def test_an_inspector_that_tells_no_types(text: str) -> None:
    assert layers_of_inspection(text) == ()
