from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from edgeexit.bundle.specs import TensorSpec
from edgeexit.errors import ModelError
from edgeexit.graph.cost import count_params, node_elements, node_flops, tensor_bytes
from edgeexit.graph.export import load_model
from edgeexit.graph.normalize import normalize
from tests.graph import networks
from tests.graph.onnx_models import HEADER, text_model, two_exits, weight

IDS = {"ids": np.arange(24).reshape(2, 12), "mask": np.ones((2, 12), dtype=np.int64)}
LENGTH = {"ids": (None, "length"), "mask": (None, "length")}


@pytest.mark.parametrize(
    ("name", "options", "inputs", "dims"),
    [
        ("cnn", {"input_shape": (None, 3, 32, 32)}, [torch.randn(1, 3, 32, 32)], {}),
        ("vit", {"input_shape": (None, 3, 32, 32)}, [torch.randn(1, 3, 32, 32)], {}),
        (
            "text_encoder",
            {"input_shape": LENGTH, "samples": IDS},
            [torch.from_numpy(array[:1]) for array in IDS.values()],
            {"length": 12},
        ),
    ],
)
def test_flops_and_parameters_are_those_that_torch_counts(
    name: str,
    options: dict[str, object],
    inputs: list[torch.Tensor],
    dims: dict[str, int],
    tmp_path: Path,
):
    module = getattr(networks, name)().eval()
    # torch's counter has no rule for its fused attention on CPUs and would count nothing there.
    plain = sdpa_kernel(SDPBackend.MATH)
    with plain, FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*inputs)
    model = normalize(load_model(f"{networks.__name__}:{name}", workdir=tmp_path, **options))
    counted = node_flops(model, {"batch": 1, **dims})
    assert sum(counted.values()) == pytest.approx(counter.get_total_flops(), rel=0.01)
    assert set(counted) == {node.name for node in model.graph}
    parameters = sum(p.numel() for p in module.parameters())
    assert count_params(model.graph.initializers.values()) == pytest.approx(parameters, rel=0.01)


def test_flops_scale_with_the_batch_and_leave_the_model_as_it_is():
    model = normalize(two_exits())
    one, four = node_flops(model, {"batch": 1}), node_flops(model, {"batch": 4})
    assert sum(one.values()) == 2 * 8 * 3 + 2 * 8 * 4
    assert {name: 4 * flops for name, flops in one.items()} == four
    assert str(model.graph.inputs[0].shape[0]) == "batch"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('y = Einsum<equation="bi,ij->bj">(x, w)', 2 * 2 * 8 * 8),
        ('y = Einsum<equation="...i,ij">(x, w)', 2 * 2 * 8 * 8),
        ('y = Einsum<equation="bi,ij,jk->bk">(x, w, w)', 2 * 2 * 8 * 8 * 2),
        ("y = Gemm<transB=1>(x, w)", 2 * 2 * 8 * 8),
        ("t = Transpose(x) y = Gemm<transA=1>(t, w)", 2 * 2 * 8 * 8),
        ("y = Relu(x)", 0),
        ("n = Mul(x, x) s = ReduceSum(n) y = Div(x, s)", 0),
    ],
)
def test_flops_of_single_operations(line: str, expected: int):
    model = text_model(f"{HEADER} g (float[2,8] x) => (float[2,8] y) {{ {line} }}", w=weight(8, 8))
    assert sum(node_flops(model, {}).values()) == expected


def test_elementwise_operations_are_counted_apart():
    line = "n = Mul(x, x) s = ReduceSum(n) d = Div(x, s) y = MatMul(d, w)"
    model = text_model(f"{HEADER} g (float[2,8] x) => (float[2,8] y) {{ {line} }}", w=weight(8, 8))
    assert sorted(node_elements(model, {}).values()) == [0, 16, 16, 16]


def test_quantization_costs_nothing_and_its_scales_are_no_parameters():
    line = """q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)
        e = DequantizeLinear<axis=1>(w, ws, wz) y = MatMul(d, e)"""
    model = text_model(
        f"{HEADER} g (float[2,8] x) => (float[2,4] y) {{ {line} }}",
        s=np.float32(0.1),
        z=np.int8(0),
        w=np.ones((8, 4), np.int8),
        ws=np.ones(4, np.float32),
        wz=np.zeros(4, np.int8),
    )
    assert sum(node_flops(model, {}).values()) == 2 * 2 * 8 * 4
    assert sum(node_elements(model, {}).values()) == 0
    assert count_params(model.graph.initializers.values()) == 32


def test_a_product_of_unknown_size_is_named():
    model = normalize(two_exits())
    with pytest.raises(ModelError, match=r"\(MatMul\) reads or writes") as caught:
        node_flops(model, {})
    assert caught.value.code == "model.shape"
    assert isinstance(model, ir.Model)


def test_bytes_of_a_tensor():
    spec = TensorSpec("t", "bfloat16", ("2*batch", 197, 384))
    assert tensor_bytes(spec, {"batch": 3}) == 6 * 197 * 384 * 2
    assert tensor_bytes(TensorSpec("t", "int8", ("batch", 5)), {"batch": 2}) == 10
