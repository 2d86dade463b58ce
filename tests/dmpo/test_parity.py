"""Every predictor on every family: merged and exported, the model answers as before."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import edgeexit
from edgeexit.dmpo import export
from edgeexit.dmpo.bypass import Bypass
from edgeexit.dmpo.exit import Exit
from edgeexit.dmpo.families.base import Features
from edgeexit.dmpo.predictors.global_ import GlobalPredictor
from edgeexit.dmpo.predictors.linear import LinearPredictor
from edgeexit.dmpo.predictors.local import LocalPredictor
from edgeexit.dmpo.predictors.second_order import SecondOrderPredictor
from edgeexit.graph.cost import node_flops
from edgeexit.graph.export_torch import export_module
from edgeexit.graph.gates import get_gate
from tests.dmpo import tiny

FAMILIES = tuple(tiny.SETTINGS)
COUNT = 1000

USUAL = {
    *("Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Reciprocal", "Clip", "Cast", "Equal"),
    *("MatMul", "Gemm", "Conv", "AveragePool", "MaxPool", "Pad"),
    *("LayerNormalization", "BatchNormalization", "Softmax", "Gelu", "Erf", "Relu"),
    *("ReduceMean", "ReduceSum", "ReduceL2"),
    *("Reshape", "Transpose", "Unsqueeze", "Squeeze", "Concat", "Slice", "Split", "Gather"),
    *("Expand", "Shape", "Identity"),
}
"""What every engine knows."""


@pytest.fixture(scope="module", params=FAMILIES)
def exported(request, tmp_path_factory):
    """Return the family, the model before merging, and the file of the merged one."""
    model = tiny.model(request.param)
    path = tmp_path_factory.mktemp(request.param) / "model.onnx"
    merged = export.merge(export.on_cpu(model))
    export.export_model(merged, tiny.inputs(request.param, 1), path)
    return request.param, model, path


def test_merged_and_exported_logits_are_those_of_torch(exported):
    family, model, path = exported
    inputs = tiny.inputs(family, COUNT, seed=7)
    ours = export.torch_logits(model, inputs)
    theirs = export.onnx_logits(path, inputs)
    for predictor, a, b in zip(tiny.PREDICTORS, ours, theirs, strict=True):
        assert a.shape == (COUNT, len(tiny.CLASSES)), predictor
        assert np.abs(a - b).max() <= 1e-4, predictor
        assert (a.argmax(1) != b.argmax(1)).sum() == 0, predictor
        assert len(set(a.argmax(1))) > 2, f"{predictor}: few classes prove little"


def test_the_graph_holds_usual_operators_only(exported):
    family, _, path = exported
    graph = onnx.load(path)
    found = Counter(node.op_type for node in graph.graph.node)
    assert set(found) <= USUAL
    assert {node.domain for node in graph.graph.node} == {""}
    assert [(each.domain, each.version) for each in graph.opset_import] == [("", 20)]
    dims = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in graph.graph.input
    ]
    shapes = [list(array.shape[1:]) for array in tiny.inputs(family, 1).values()]
    assert dims == [["batch", *shape] for shape in shapes]
    assert [value.name for value in graph.graph.output] == ["exit_1", "exit_2", "exit_3", "exit_4"]
    assert not graph.metadata_props
    assert not any(node.doc_string or node.metadata_props for node in graph.graph.node)


def test_scales_and_adapters_leave_no_trace(exported):
    family, model, _ = exported
    merged = export.merge(export.on_cpu(model))
    names = set(merged.state_dict())
    assert not [name for name in names if "lora" in name or "beta" in name]
    assert [name for name in model.state_dict() if "lora_A" in name]
    assert [name for name in model.state_dict() if "beta" in name]
    inputs = tiny.inputs(family, 8)
    for a, b in zip(
        export.torch_logits(model, inputs), export.torch_logits(merged, inputs), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.slow
def test_the_staged_bundle_answers_as_torch_does_on_every_engine(exported, tmp_path):
    family, model, path = exported
    inputs = tiny.inputs(family, 200, seed=3)
    data = inputs | {"y": np.arange(200) % 2}
    bundle = edgeexit.compile_model(path, tmp_path / "b.eex", precision="f32", data=data)
    low, high = (bundle.manifest.flops_costs[index] for index in (0, -1))
    edgeexit.calibrate_exits(bundle, data, (low + high) / 2)
    ours = export.torch_logits(model, inputs)
    for target in ("cpu", "x86"):
        with edgeexit.Runtime(bundle, target=target) as runtime:
            result = runtime(inputs)
        assert len(set(result.exits)) > 1
        expected = np.stack([ours[k - 1][row] for row, k in enumerate(result.exits)])
        np.testing.assert_allclose(result.logits, expected, atol=1e-4)
        assert (result.labels == expected.argmax(1)).all()


@dataclass(frozen=True)
class Trunk:
    """A backbone at its real size, as an exit sees it, and its cost.

    Attributes:
        width: Of the tokens.
        tokens: Without class tokens.
        grid: Of a picture.
        blocks: Number of blocks.
        flops: Of stem and blocks: 2 a multiply-add of their products and convolutions.
    """

    width: int
    tokens: int
    grid: tuple[int, int] | None
    blocks: int
    flops: float


def transformer(width: int, tokens: int, grid: tuple[int, int] | None, blocks: int) -> Trunk:
    """Return a trunk whose feed-forward layers are 4 times its width; 16 x 16 colour patches."""
    length = tokens + (grid is not None)
    block = 2 * length * 12 * width**2 + 2 * 2 * length**2 * width
    stem = 0 if grid is None else 2 * tokens * 3 * 16 * 16 * width
    return Trunk(width, tokens, grid, blocks, stem + blocks * block)


REAL = {
    "ViT-B": transformer(768, 196, (14, 14), 12),
    "ViT-S": transformer(384, 196, (14, 14), 12),
    "MiniLM-L6": transformer(384, 64, None, 6),
}


class OneExit(nn.Module):
    """An exit as a module of its own: the trunk's tokens in, logits out."""

    def __init__(self, branch: Exit, trunk: Trunk) -> None:
        super().__init__()
        self.branch = branch
        self.trunk = trunk

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        image = self.trunk.grid is not None
        mask = None if image else torch.ones_like(tokens[:, :, 0])
        pooling = "first" if image else "mean"
        return self.branch(Features(tokens, mask, int(image), self.trunk.grid, pooling))


def exit_flops(trunk: Trunk, predictor: nn.Module, bypass: nn.Module | None) -> int:
    """Return the FLOPs of an exit for one sample, counted on its exported graph."""
    branch = Exit(predictor, norm=nn.LayerNorm(trunk.width), bypass=bypass)
    length = trunk.tokens + (trunk.grid is not None)
    tokens = np.zeros((1, length, trunk.width), np.float32)
    graph = export_module(OneExit(branch, trunk), {"tokens": tokens})
    return sum(node_flops(graph, {"batch": 1}).values())


@pytest.mark.parametrize("name", REAL)
def test_three_early_exits_and_their_gates_cost_a_twentieth_at_most(name):
    trunk, classes = REAL[name], 100
    half = trunk.width // 2
    second_order = SecondOrderPredictor(half, classes, tokens=trunk.tokens)
    early = exit_flops(trunk, second_order, Bypass(trunk.width, half, depth=1))
    last = exit_flops(trunk, LinearPredictor(trunk.width, classes), None)
    gates = 3 * get_gate("statistics").flops(classes)
    share = (3 * early + last + gates) / trunk.flops
    assert 0.005 < share <= 0.05


@pytest.mark.parametrize("kind", [LocalPredictor, GlobalPredictor])
@pytest.mark.parametrize("name", REAL)
def test_local_and_global_heads_cost_a_hundredth_at_most(name, kind):
    trunk = REAL[name]
    image = trunk.grid is not None
    options = {"image": image} | ({"tokens": trunk.tokens} if kind is GlobalPredictor else {})
    share = exit_flops(trunk, kind(trunk.width, 100, **options), None) / trunk.flops
    assert 0.0005 < share <= 0.01
