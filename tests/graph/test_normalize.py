from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from edgeexit.errors import ModelError
from edgeexit.graph.normalize import normalize
from tests.graph.onnx_models import HEADER, text_model, two_exits, weight


def outputs(model: ir.Model) -> list[str]:
    return [str(value.name) for value in model.graph.outputs]


def operations(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def run(model: ir.Model, **inputs: np.ndarray) -> list[np.ndarray]:
    proto = ir.serde.serialize_model(model)
    onnx.checker.check_model(proto, full_check=True)
    return ReferenceEvaluator(proto).run(None, inputs)


def stacked(body: str, output: str) -> ir.Model:
    text = f"""{HEADER} g (float[N,8] x) => ({output}) {{
        one = Constant <value_ints = [1]> ()
        p = MatMul(x, wa)
        r = Relu(x)
        q = MatMul(r, wb)
        {body}
    }}"""
    return text_model(text, wa=weight(8, 3), wb=weight(8, 3, seed=1))


X = weight(5, 8, seed=7)


def test_outputs_in_order_are_the_exits_and_the_batch_axis_is_named():
    model = normalize(two_exits())
    assert outputs(model) == ["a", "b"]
    assert [str(d) for d in model.graph.inputs[0].shape] == ["batch", "8"]
    assert str(model.graph.outputs[1].shape[0]) == "batch"
    assert all(value.dtype == ir.DataType.FLOAT for value in model.graph.outputs)


def test_named_exits_are_taken_in_the_order_given_and_the_rest_is_dropped():
    model = two_exits("c = MatMul(b, wc)", "float[N,3] a, float[N,4] b, float[N,2] c")
    value = ir.Value(name="wc", const_value=ir.tensor(weight(4, 2), name="wc"))
    value.shape = ir.Shape([4, 2])
    wanted = next(n for n in model.graph if n.outputs[0].name == "c")
    wanted.replace_input_with(1, value)
    model.graph.register_initializer(value)
    normalize(model, ["b", "c"])
    assert outputs(model) == ["b", "c"]
    assert "wa" not in model.graph.initializers


def test_an_inner_tensor_can_be_named_as_an_exit():
    model = normalize(two_exits("d = Tanh(b)", "float[N,3] a, float[N,4] d"), ["a", "b"])
    assert outputs(model) == ["a", "b"]
    assert operations(model) == ["MatMul", "Relu", "MatMul"]


def test_unknown_and_duplicate_names_are_refused_with_the_outputs_listed():
    with pytest.raises(ModelError, match="no tensor 'z'; its outputs are a, b") as caught:
        normalize(two_exits(), ["a", "z"])
    assert caught.value.code == "model.unknown-exit"
    with pytest.raises(ModelError, match="'a' is named twice") as caught:
        normalize(two_exits(), ["a", "a"])
    assert caught.value.code == "model.duplicate-exit"


def test_a_single_output_is_told_what_a_multi_exit_model_is():
    with pytest.raises(ModelError, match="has one exit \\('b'\\)") as caught:
        normalize(two_exits(outputs="float[N,4] b"))
    assert caught.value.code == "model.single-output"
    assert "--exits" in caught.value.hint


@pytest.mark.parametrize(
    ("body", "output"),
    [
        (
            "u = Unsqueeze(p, one) v = Unsqueeze(q, one) s = Concat<axis=1>(u, v)",
            "float[N,2,3] s",
        ),
        (
            "u = Unsqueeze(p, one) v = Unsqueeze(q, one) t = Concat<axis=1>(u, v)"
            " s = Transpose<perm=[1,0,2]>(t)",
            "float[2,N,3] s",
        ),
        (
            "u = Unsqueeze(p, one) v = Unsqueeze(q, one) t = Concat<axis=1>(u, v)"
            " s = Softmax<axis=-1>(t)",
            "float[N,2,3] s",
        ),
        (
            "l = SequenceConstruct(p, q) s = ConcatFromSequence<axis=1, new_axis=1>(l)",
            "float[N,2,3] s",
        ),
    ],
    ids=["concat", "transposed", "softmax", "sequence"],
)
def test_stacked_exits_are_cut_before_the_stacking(body: str, output: str):
    model = normalize(stacked(body, output))
    assert outputs(model) == ["exit_1", "exit_2"]
    assert operations(model) == ["MatMul", "Relu", "MatMul"]
    first, second = run(model, x=X)
    np.testing.assert_allclose(first, X @ weight(8, 3), rtol=1e-5)
    np.testing.assert_allclose(second, np.maximum(X, 0) @ weight(8, 3, seed=1), rtol=1e-5)


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
def test_a_final_softmax_gives_way_to_the_logits_and_the_exit_keeps_its_name(operator: str):
    body = f"pa = {operator}<axis=1>(a) pb = {operator}<axis=-1>(b)"
    model = normalize(two_exits(body, "float[N,3] pa, float[N,4] pb"))
    assert outputs(model) == ["pa", "pb"]
    assert operations(model) == ["MatMul", "Relu", "MatMul"]
    np.testing.assert_allclose(run(model, x=X)[0], X @ weight(8, 3), rtol=1e-5)


def test_a_softmax_over_the_batch_stays():
    body = "pb = Softmax<axis=0>(b)"
    assert "Softmax" in operations(normalize(two_exits(body, "float[N,3] a, float[N,4] pb")))


def test_logits_and_their_softmax_are_one_exit():
    with pytest.raises(ModelError, match="same logits") as caught:
        normalize(two_exits("p = Softmax(b)", "float[N,4] b, float[N,4] p"))
    assert caught.value.code == "model.duplicate-exit"


def test_one_class_and_maps_are_refused():
    model = two_exits("z = ReduceSum<keepdims=1>(b, axes)", "float[N,3] a, float[N,1] z")
    axes = ir.Value(name="axes", const_value=ir.tensor(np.array([1]), name="axes"))
    next(n for n in model.graph if n.op_type == "ReduceSum").replace_input_with(1, axes)
    model.graph.register_initializer(axes)
    with pytest.raises(ModelError, match="'z' has one class") as caught:
        normalize(model)
    assert caught.value.code == "model.one-class"
    body = "u = Constant <value_ints = [2]> () m = Unsqueeze(b, u)"
    with pytest.raises(ModelError, match=r"\(batch, classes\)") as caught:
        normalize(two_exits(body, "float[N,3] a, float[N,4,1] m"))
    assert caught.value.code == "model.exit-shape"


def test_control_flow_is_refused_only_where_an_exit_needs_it():
    branch = "then_branch = t () => (float[N,4] y) { y = Identity(b) }"
    other = "else_branch = e () => (float[N,4] y) { y = Neg(b) }"
    body = f"s = ReduceMax<keepdims=0>(x) f = Cast<to=9>(s) c = If (f) <{branch}, {other}>"
    with pytest.raises(ModelError, match="is an If") as caught:
        normalize(two_exits(body, "float[N,3] a, float[N,4] c"))
    assert caught.value.code == "model.control-flow"
    assert outputs(normalize(two_exits(body, "float[N,3] a, float[N,4] c"), ["a", "b"])) == [
        "a",
        "b",
    ]


def test_identity_and_dropout_go_and_shapes_are_folded():
    body = """
        i = Identity(b)
        d = Dropout(i)
        s = Shape(d)
        k = Constant <value_ints = [1]> ()
        n = Gather(s, k)
        m = Constant <value_ints = [-1]> ()
        t = Concat<axis=0>(m, n)
        e = Reshape(d, t)
        f = Dropout(e)
    """
    model = normalize(two_exits(body, "float[N,3] a, float[N,4] f"))
    assert outputs(model) == ["a", "f"]
    assert operations(model) == ["MatMul", "Relu", "MatMul", "Reshape"]
    reshape = next(node for node in model.graph if node.op_type == "Reshape")
    assert reshape.inputs[1].const_value.numpy().tolist() == [-1, 4]
    np.testing.assert_allclose(
        run(model, x=X)[1], np.maximum(X, 0) @ weight(8, 4, seed=1), rtol=1e-5
    )


def test_a_dropout_in_training_mode_is_refused():
    body = """h = Constant <value_float = 0.5> ()
        t = Constant <value = bool {1}> ()
        f = Dropout(b, h, t)"""
    with pytest.raises(ModelError, match="training mode") as caught:
        normalize(two_exits(body, "float[N,3] a, float[N,4] f"))
    assert caught.value.code == "model.training-mode"


def test_functions_are_inlined_and_names_are_unique():
    header = HEADER.replace("20]", '20, "local" : 1]')
    text = f"""{header} g (float[N,8] x) => (float[N,3] a, float[N,3] b) {{
        a = local.head(x)
        r = Relu(x)
        b = local.head(r)
    }}
    <domain: "local", opset_import: ["" : 20]>
    head (v) => (y) {{
        h = Softsign(v)
        s = Constant <value_ints = [0, 0]> ()
        e = Constant <value_ints = [100, 3]> ()
        y = Slice(h, s, e)
    }}"""
    model = normalize(text_model(text))
    names = [node.name for node in model.graph]
    assert len(set(names)) == len(names)
    assert all(names)
    assert not model.functions
    np.testing.assert_allclose(run(model, x=X)[0], (X / (1 + abs(X)))[:100, :3], rtol=1e-6)


def test_an_old_opset_is_refused():
    model = two_exits()
    model.graph.opset_imports[""] = 11
    with pytest.raises(ModelError, match="opset 11") as caught:
        normalize(model)
    assert caught.value.code == "model.opset"


def test_other_dynamic_axes_keep_a_clean_name():
    model = text_model(f"""{HEADER} g (float[batch_size,L,8] x, float[n,L] m)
        => (float[batch_size,L,8] a, float[n,L] b) {{
        a = Relu(x)
        b = Relu(m)
    }}""")
    model.graph.inputs[0].shape = ir.Shape(["batch_size", "seq-len", 8])
    model.graph.inputs[1].shape = ir.Shape(["n", "seq-len"])
    with pytest.raises(ModelError, match="exit 'a' has the shape"):
        normalize(model)
    shapes = [[str(d) for d in value.shape] for value in model.graph.inputs]
    assert shapes == [["batch", "seq_len", "8"], ["batch", "seq_len"]]


def test_a_constant_that_would_fill_the_memory_is_not_folded():
    body = """n = Constant <value_ints = [100000000000, 4]> ()
        z = ConstantOfShape(n)
        i = Constant <value_ints = [0]> ()
        g = Gather(z, i)
        c = Add(b, g)"""
    model = normalize(two_exits(body, "float[N,3] a, float[N,4] c"))
    assert "ConstantOfShape" in operations(model)
