"""Every family exports to plain ONNX operators with a free batch axis, and ORT agrees."""

from __future__ import annotations

import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from edgeexit.dmpo.families import find_family

PLAIN = {
    *("Add", "Cast", "Concat", "Constant", "Conv", "Div", "Erf", "Gather", "Gelu", "Gemm"),
    *("GlobalAveragePool", "Identity", "LayerNormalization", "MatMul", "MaxPool", "Mul", "Pad"),
    *("ReduceMean", "Relu", "Reshape", "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub"),
    *("Transpose", "Unsqueeze"),
}
BERT = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 12,
    "patch_size": 4,
}
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
CASES = {
    "roberta": ("bert", {**BERT, "model_type": "roberta", "pad_token_id": 1}),
    "deit": ("vit", {**VIT, "model_type": "deit"}),
    "resnet": ("resnet", {**RESNET, "image_size": 32}),
    "small-vit": ("small-vit", {"width": 24, "depth": 2, "heads": 2, "image_size": 10}),
}
LENGTH = 8


class Means(nn.Module):
    """Stands for a multi-exit model: the mean token after each of two blocks."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, *inputs):
        first = self.backbone.block(1, self.backbone.start(*inputs))
        second = self.backbone.block(2, first)
        return tuple(self.backbone.features(each).tokens.mean(dim=1) for each in (first, second))


def inputs(backbone, count):
    if backbone.modality == "image":
        return (torch.randn(count, *backbone.inputs[0].shape),)
    mask = torch.ones(count, LENGTH, dtype=torch.int64)
    mask[::2, 5:] = 0
    return torch.randint(2, 50, (count, LENGTH)), mask


@pytest.mark.parametrize("case", CASES)
def test_it_exports_to_plain_operators(case):
    torch.manual_seed(4)
    name, settings = CASES[case]
    model = Means(find_family(name).from_scratch(settings, length=LENGTH)).eval()
    names = [each.name for each in model.backbone.inputs]
    batch = torch.export.Dim("batch", min=1, max=64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            inputs(model.backbone, 3),
            dynamo=True,
            opset_version=20,
            input_names=names,
            dynamic_shapes=(tuple({0: batch} for _ in names),),
            verbose=False,
        )
    used = {node.op_type for node in program.model.graph}
    assert used <= PLAIN
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    for count in (1, 5):
        fed = inputs(model.backbone, count)
        with torch.no_grad():
            expected = model(*fed)
        feed = dict(zip(names, (each.numpy() for each in fed), strict=True))
        for got, wanted in zip(session.run(None, feed), expected, strict=True):
            np.testing.assert_allclose(got, wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("case", ["roberta", "deit", "small-vit"])
def test_it_runs_under_bfloat16_autocast(case):
    torch.manual_seed(4)
    name, settings = CASES[case]
    model = Means(find_family(name).from_scratch(settings, length=LENGTH)).eval()
    fed = inputs(model.backbone, 3)
    with torch.no_grad():
        expected = model(*fed)
        with torch.autocast("cpu", torch.bfloat16):
            got = model(*fed)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one.float(), other, atol=0.1, rtol=0)
