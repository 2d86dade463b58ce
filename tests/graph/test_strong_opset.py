"""The opset of the strongly typed flavour: converted where it can be, else refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeexit.errors import ModelError
from edgeexit.graph.strong import strongly_typed
from tests.graph.onnx_models import text_model, weight
from tests.graph.strong_models import answers


@pytest.mark.parametrize(("opset", "expected"), [(13, 19), (17, 19), (19, 19), (22, 20)])
def test_opset_is_converted(opset: int, expected: int, tmp_path: Path):
    axes = "<axes = [1], keepdims = 1>" if opset < 18 else "<keepdims = 1>"
    inputs = "h" if opset < 18 else "h, axes"
    text = f"""<ir_version: 8, opset_import: ["" : {opset}]>
    g (float[batch,8] x) => (float[batch,300] a, float[batch,1] b) {{
        [first] h = MatMul(x, w)
        [soft] a = Softmax <axis = -1> (h)
        [mean] b = ReduceMean {axes} ({inputs})
    }}"""
    constants = {"w": weight(8, 300)} | ({} if opset < 18 else {"axes": np.array([1])})
    model = text_model(text, **constants)
    exact = answers(model, {"x": weight(5, 8)})
    report = strongly_typed(model, [{"x": weight(5, 8)}], workdir=tmp_path)
    assert (report.opset, model.graph.opset_imports[""], model.ir_version) == (
        expected,
        expected,
        9,
    )
    assert [v.name for v in model.graph.inputs] == ["x"]
    assert [v.name for v in model.graph.outputs] == ["a", "b"]
    assert {"first", "soft", "mean"} <= {node.name for node in model.graph}
    for a, b in zip(exact, answers(model, {"x": weight(5, 8)}), strict=True):
        assert np.allclose(a, b, atol=2e-3)


def test_an_operator_of_a_later_opset_is_refused(tmp_path: Path):
    text = """<ir_version: 10, opset_import: ["" : 23]>
    g (float[batch,8] x) => (float[batch,8] a) { [norm] a = RMSNormalization(x, s) }"""
    model = text_model(text, s=np.ones(8, np.float32))
    with pytest.raises(ModelError, match="opset 23") as caught:
        strongly_typed(model, None, workdir=tmp_path)
    assert caught.value.code == "model.opset"
    assert "opset_version=20" in caught.value.hint
