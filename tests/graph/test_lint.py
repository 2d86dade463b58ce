from __future__ import annotations

import numpy as np
import pytest

from edgeexit.errors import ModelError
from edgeexit.graph.lint import lint, require_clean
from tests.graph.onnx_models import HEADER, text_model

GOOD = {
    "s": np.float32(0.1),
    "z": np.int8(0),
    "w": np.ones((8, 4), np.int8),
    "ws": np.full(4, 0.5, np.float32),
    "wz": np.zeros(4, np.int8),
}
BODY = """q = QuantizeLinear(x, s, z)
    d = DequantizeLinear(q, s, z)
    e = DequantizeLinear<axis=1>(w, ws, wz)
    y = MatMul(d, e)"""


def rules(body: str = BODY, stage: int | None = None, output: str = "float[2,4] y", **change):
    model = text_model(f"{HEADER} g (float[2,8] x) => ({output}) {{ {body} }}", **(GOOD | change))
    return [finding.rule for finding in lint(model, stage)]


def test_a_graph_in_the_common_form_is_clean():
    assert rules() == []
    assert rules(stage=1) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"z": np.int8(3)}, ["zero-point", "zero-point"]),
        ({"z": np.uint8(0)}, ["unsigned", "unsigned"]),
        ({"s": np.float32(0)}, ["scale", "scale"]),
        ({"s": np.float32(-1)}, ["scale", "scale"]),
        ({"s": np.float32("nan")}, ["scale", "scale"]),
        ({"wz": np.array([0, 1, 0, 0], np.int8)}, ["zero-point"]),
        ({"w": np.ones((8, 4), np.uint8), "wz": np.zeros(4, np.uint8)}, ["unsigned"]),
    ],
)
def test_parameters(change: dict[str, np.ndarray], expected: list[str]):
    assert rules(**change) == expected


def test_weights_scaled_along_the_inputs_are_found():
    body = BODY.replace("<axis=1>", "<axis=0>")
    assert rules(body, ws=np.ones(8, np.float32), wz=np.zeros(8, np.int8)) == ["weight-axis"]
    gemm = BODY.replace("MatMul", "Gemm<transB=1>")
    assert rules(
        gemm, w=np.ones((4, 8), np.int8), ws=np.ones(8, np.float32), wz=np.zeros(8, np.int8)
    ) == ["weight-axis"]
    assert rules(gemm.replace("<axis=1>", "<axis=0>"), w=np.ones((4, 8), np.int8)) == []
    assert rules(BODY.replace("<axis=1>", "<axis=-1>")) == []


def test_activations_scaled_per_channel_are_found():
    per_channel = {"s": np.ones(8, np.float32), "z": np.zeros(8, np.int8)}
    assert rules(**per_channel) == ["activation-axis", "activation-axis"]


def test_a_stage_that_ends_behind_a_dequantizer_is_found():
    output = "float[2,4] y, float[2,8] d"
    assert rules(stage=2, output=output) == ["boundary"]
    assert rules(output=output) == []


def test_foreign_operators_and_control_flow_are_found():
    text = HEADER.replace("20]", '20, "com.vendor" : 1]')
    model = text_model(f"{text} g (float[2,8] x) => (y) {{ y = com.vendor.Fused(x) }}")
    (finding,) = lint(model, 3)
    assert (finding.rule, finding.stage) == ("domain", 3)
    assert "com.vendor.Fused is no ONNX operator" in str(finding)
    body = """t = ReduceMax<keepdims=0>(x) c = Cast<to=9>(t)
        y = If (c) <then_branch = a () => (float[2,8] u) { u = Neg(x) },
                    else_branch = b () => (float[2,8] v) { v = Abs(x) }>"""
    assert rules(body, output="float[2,8] y") == ["control-flow"]


def test_require_clean_names_the_first_finding():
    model = text_model(
        f"{HEADER} g (float[2,8] x) => (float[2,4] y) {{ {BODY} }}", **(GOOD | {"z": np.int8(3)})
    )
    with pytest.raises(ModelError, match=r"2 findings .* its zero point is 3") as caught:
        require_clean(model)
    assert caught.value.code == "model.lint.zero-point"
