"""The demo model in torch, with the weights of its ONNX file: only the race imports this."""

from __future__ import annotations

import json
from collections import OrderedDict

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from edgeexit import demo
from edgeexit.dmpo.build import build_model
from edgeexit.dmpo.config_file import config_from_json
from edgeexit.dmpo.data.normalize import Normalize
from edgeexit.dmpo.export import merge
from edgeexit.dmpo.families.base import Backbone, Hidden
from edgeexit.dmpo.model import MultiExitModel
from tests.benchmarks.race.torch_form import TorchForm

_SIDE = 28


class Start(nn.Module):
    """From images to the tokens that the first block reads."""

    def __init__(self, model: MultiExitModel) -> None:
        super().__init__()
        assert model.preprocess is not None
        self.preprocess, self.backbone = model.preprocess, model.backbone

    def forward(self, image: Tensor) -> Tensor:
        """Return ``(B, T, d)`` of ``(B, 1, 28, 28) uint8``."""
        tokens: Tensor = self.backbone.start(self.preprocess(image)).values
        return tokens


class Head(nn.Module):
    """An exit that reads the tokens of its block."""

    def __init__(self, leave: nn.Module, backbone: Backbone) -> None:
        super().__init__()
        self.leave = leave
        self._features = backbone.features

    def forward(self, tokens: Tensor) -> Tensor:
        """Return ``(B, classes)`` logits of ``(B, T, d)``."""
        logits: Tensor = self.leave(self._features(Hidden(tokens)))
        return logits


def demo_in_torch() -> TorchForm:
    """Return the demo model as a sequence of its blocks, with its exits beside it."""
    model = load_demo()
    trunk = model.backbone
    parts: list[tuple[str, nn.Module]] = [("start", Start(model))]
    blocks = trunk.get_submodule("blocks")
    parts += [(f"block_{i}", block) for i, block in enumerate(blocks.children(), start=1)]
    heads = [Head(each, trunk) for each in model.exits]
    parts.append(("head", heads[-1]))
    return TorchForm(
        nn.Sequential(OrderedDict(parts)).eval(),
        tuple(f"block_{number}" for number in model.after[:-1]),
        tuple(head.eval() for head in heads[:-1]),
        (1, 1, _SIDE, _SIDE),
    )


def load_demo() -> MultiExitModel:
    """Return the demo model as it was tuned, from its recipe and its ONNX file.

    Raises:
        RuntimeError: The file's weights do not fit the recipe's model.
    """
    config = config_from_json(json.loads(demo.recipe_path().read_text())["config"])
    scaling = Normalize(config.data.mean or (), config.data.std or ())
    model = merge(build_model(config, len(demo.CLASS_NAMES), scaling)).eval()
    graph = onnx.load(str(demo.model_path())).graph
    kept = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    own = model.state_dict()
    weights = {name: kept[name] for name in own if name in kept}
    # The exporter transposes the weights of products and takes away their names, not their order.
    products = [
        node.input[1] for node in graph.node if node.op_type == "MatMul" and node.input[1] in kept
    ]
    unnamed = [name for name in _called_in_order(model) if name not in kept]
    if len(products) != len(unnamed):
        raise RuntimeError(f"{len(products)} products in the file, {len(unnamed)} in the model")
    weights |= {name: kept[given].T for name, given in zip(unnamed, products, strict=True)}
    model.load_state_dict(
        {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}
    )
    return model.requires_grad_(requires_grad=False)


def _called_in_order(model: MultiExitModel) -> list[str]:
    """Return the weights of the linear layers in the order in which a forward uses them."""
    order: list[str] = []
    handles = [
        layer.register_forward_hook(lambda *_, name=name: order.append(f"{name}.weight"))
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear)
    ]
    with torch.inference_mode():
        model(torch.zeros((1, 1, _SIDE, _SIDE), dtype=torch.uint8))
    for handle in handles:
        handle.remove()
    return order
