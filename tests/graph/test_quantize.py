from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from edgeexit.errors import InputError, ModelError
from edgeexit.graph import quantize
from edgeexit.graph.export import load_model
from edgeexit.graph.lint import lint
from edgeexit.graph.normalize import normalize
from edgeexit.graph.quantize import quantize_int8
from edgeexit.graph.quantize_scope import (
    count_int8,
    is_transformer,
    nodes_kept_float,
)
from tests.graph import networks
from tests.graph.onnx_models import two_exits, weight

SIZE = 16


def images(count: int, seed: int, size: int = SIZE) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{"image": rng.standard_normal((1, 3, size, size), np.float32)} for _ in range(count)]


def load(name: str, size: int, folder: Path) -> ir.Model:
    source = f"{networks.__name__}:{name}"
    return normalize(load_model(source, workdir=folder, input_shape=(None, 3, size, size)))


@pytest.fixture(scope="module")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> ir.Model:
    return load("cnn", SIZE, tmp_path_factory.mktemp("cnn"))


@pytest.fixture(scope="module")
def cnn_int8(cnn: ir.Model) -> ir.Model:
    return quantize_int8(cnn, images(16, seed=0))


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> ir.Model:
    return load("vit", 32, tmp_path_factory.mktemp("vit"))


@pytest.fixture(scope="module")
def vit_int8(vit: ir.Model) -> ir.Model:
    return quantize_int8(vit, images(16, seed=0, size=32))


def answers(model: ir.Model, inputs: list[dict[str, np.ndarray]]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    proto = ir.serde.serialize_model(model)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    batch = {name: np.concatenate([sample[name] for sample in inputs]) for name in inputs[0]}
    return session.run(None, batch)


def assert_close(model: ir.Model, quantized: ir.Model, size: int) -> None:
    """Hold the error of every exit's logits under a tenth of their spread."""
    held_out = images(64, seed=1, size=size)
    pairs = zip(answers(model, held_out), answers(quantized, held_out), strict=True)
    for exact, approximate in pairs:
        assert approximate.shape == exact.shape == (64, 10)
        assert np.sqrt(np.mean((exact - approximate) ** 2)) < 0.1 * exact.std()


def stored(model: ir.Model) -> dict[ir.DataType, int]:
    sizes: dict[ir.DataType, int] = {}
    for value in model.graph.initializers.values():
        assert value.const_value is not None
        dtype = value.const_value.dtype
        sizes[dtype] = sizes.get(dtype, 0) + value.const_value.size
    return sizes


@pytest.mark.slow
def test_a_cnn_with_relu_becomes_int8_throughout(cnn: ir.Model, cnn_int8: ir.Model):
    report = count_int8(cnn_int8.graph)
    assert (report.products, report.int8, report.float_nodes) == (6, 6, ())
    assert lint(cnn_int8) == ()
    assert_close(cnn, cnn_int8, SIZE)


@pytest.mark.slow
def test_a_transformer_becomes_int8_but_for_its_attention_products(
    vit: ir.Model, vit_int8: ir.Model
):
    report = count_int8(vit_int8.graph)
    products = {node.name: node for node in vit_int8.graph}
    attention = [products[name] for name in report.float_nodes]
    assert (report.products, report.int8) == (15, 13)
    assert all(not value.is_initializer() for node in attention for value in node.inputs)
    assert lint(vit_int8) == ()
    assert_close(vit, vit_int8, 32)


@pytest.mark.slow
def test_names_survive_and_the_source_is_not_changed(cnn: ir.Model, cnn_int8: ir.Model):
    for kind in ("inputs", "outputs"):
        before, after = getattr(cnn.graph, kind), getattr(cnn_int8.graph, kind)
        assert [value.name for value in after] == [value.name for value in before]
        assert [str(v.shape) for v in after] == [str(v.shape) for v in before]
    names = {node.name for node in cnn_int8.graph}
    assert {node.name for node in cnn.graph} <= names
    assert all(node.op_type != "QuantizeLinear" for node in cnn.graph)


@pytest.mark.slow
def test_weights_are_stored_as_int8_with_a_scale_a_channel(cnn_int8: ir.Model):
    sizes = stored(cnn_int8)
    assert sizes[ir.DataType.INT8] > 3000
    assert sizes[ir.DataType.FLOAT] < 500
    assert ir.DataType.UINT8 not in sizes
    scales = [
        node.inputs[1].const_value.numpy()
        for node in cnn_int8.graph
        if node.op_type == "DequantizeLinear" and node.inputs[0].is_initializer()
    ]
    # The transposed convolution too: 16, 16, 32 and 16 channels, and two heads of 10 classes.
    assert sorted(scale.size for scale in scales) == [10, 10, 16, 16, 16, 32]


@pytest.mark.slow
def test_weights_too_large_for_one_message_are_read_from_a_file(
    cnn: ir.Model, cnn_int8: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(quantize, "_INLINE_LIMIT", 0)
    quantized = quantize_int8(cnn, images(16, seed=0), workdir=tmp_path)
    held_out = images(8, seed=1)
    for got, wanted in zip(answers(quantized, held_out), answers(cnn_int8, held_out), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-4)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_patterns_and_exit_names_keep_nodes_float(cnn: ir.Model):
    quantized = quantize_int8(cnn, images(4, seed=0), keep_float=["exit_1", "node_conv2d"])
    floats = count_int8(quantized.graph).float_nodes
    assert len(floats) == 2
    assert "node_conv2d" in floats
    assert set(floats) == set(nodes_kept_float(cnn.graph, ["exit_1", "node_conv2d"]))
    assert lint(quantized) == ()


def test_patterns_are_globs_or_regular_expressions():
    graph = normalize(two_exits()).graph
    names = [str(node.name) for node in graph]
    products = [name for name in names if "MatMul" in name]
    assert nodes_kept_float(graph, ["*MatMul*"]) == sorted(products)
    assert nodes_kept_float(graph, [".*MatMul.*"]) == sorted(products)
    assert nodes_kept_float(graph, ["b"]) == [graph.outputs[1].producer().name]
    with pytest.raises(InputError, match=r"'layer\.9' matches no node") as caught:
        nodes_kept_float(graph, ["layer.9"])
    assert caught.value.code == "input.keep-float"


def test_attention_is_recognised(cnn: ir.Model, vit: ir.Model):
    assert not is_transformer(cnn.graph)
    assert is_transformer(vit.graph)


def test_data_that_do_not_fit_are_refused(cnn: ir.Model):
    with pytest.raises(InputError, match="no quantization data") as caught:
        quantize_int8(cnn, [])
    assert caught.value.code == "input.empty"
    with pytest.raises(InputError, match="have no 'image'; they have picture"):
        quantize_int8(cnn, [{"picture": weight(1, 3, SIZE, SIZE)}])
    with pytest.raises(ModelError, match="NNCF cannot quantize the model") as refused:
        quantize_int8(cnn, [{"image": weight(1, 3, SIZE)}])
    assert refused.value.code == "model.quantize"


# A process of its own, because NNCF turns its telemetry off by itself where pytest is loaded.
_AUDITED = """
import sys
events = []
sys.addaudithook(lambda name, args: events.append((name, args))
                 if name in ("socket.connect", "socket.getaddrinfo", "urllib.Request",
                             "subprocess.Popen") else None)
if {imported_before!r} == "imported-before":
    import nncf
from pathlib import Path
import onnx_ir as ir
import numpy as np
from edgeexit.graph.quantize import quantize_int8
model = ir.load(sys.argv[1])
x = np.random.default_rng(0).standard_normal((1, 8), np.float32)
events.clear()
quantized = quantize_int8(model, [{{"x": x}}])
import nncf.telemetry.decorator as decorator
print([n.op_type for n in quantized.graph].count("QuantizeLinear"), events)
print(type(decorator.telemetry).__name__, "openvino_telemetry.main" in sys.modules)
"""


@pytest.mark.slow
@pytest.mark.parametrize("order", ["imported-here", "imported-before"])
def test_nncf_sends_nothing(order: str, tmp_path: Path):
    ir.save(normalize(two_exits()), tmp_path / "m.onnx")
    script = _AUDITED.format(imported_before=order)
    settings = {key: value for key, value in os.environ.items() if not key.startswith("NNCF_")}
    settings |= {"HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    settings.pop("CI", None)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "m.onnx")],
        env=settings,
        capture_output=True,
        text=True,
        check=True,
    )
    counted, sender = done.stdout.strip().splitlines()
    assert counted == "2 []"
    if order == "imported-here":
        # The sender keeps its client id in ~/intel.
        assert not (tmp_path / "intel").exists()
        assert sender == "MagicMock False"
