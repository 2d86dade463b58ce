"""Tiny models of every transformers family, and how a backbone is run block by block."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import transformers

LENGTH = 12
TINY_BERT = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 20,
}
TINY_VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": [12, 16],
    "patch_size": 4,
}
TINY_RESNET = {
    "embedding_size": 8,
    "hidden_sizes": [16, 24],
    "depths": [2, 1],
    "num_channels": 3,
}


@dataclass(frozen=True)
class Saved:
    """A folder that save_pretrained wrote, and the model in it."""

    folder: str
    model: transformers.PreTrainedModel


def build(kind: str) -> transformers.PreTrainedModel:
    torch.manual_seed(1)
    if kind == "bert":
        return transformers.BertModel(transformers.BertConfig(**TINY_BERT))
    if kind == "roberta":
        config = transformers.RobertaConfig(**TINY_BERT, pad_token_id=1, type_vocab_size=1)
        return transformers.RobertaModel(config)
    if kind == "vit":
        return transformers.ViTModel(transformers.ViTConfig(**TINY_VIT))
    if kind == "deit":
        return transformers.DeiTModel(transformers.DeiTConfig(**TINY_VIT))
    layer = kind.removeprefix("resnet-")
    return transformers.ResNetModel(transformers.ResNetConfig(**TINY_RESNET, layer_type=layer))


@pytest.fixture
def save(tmp_path):
    """Write a tiny model of a kind and return it."""

    def write(kind: str) -> Saved:
        model = build(kind).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                # Zeros, as fresh biases, class tokens and DeiT's positions are, would hide a swap.
                parameter.add_(torch.randn_like(parameter) * 0.05)
        folder = tmp_path / kind
        model.save_pretrained(folder)
        return Saved(str(folder), model)

    return write


@pytest.fixture
def through():
    """Run a backbone up to a block and return what it hands on."""

    def run(backbone, *inputs, depth=None):
        with torch.no_grad():
            hidden = backbone.start(*inputs)
            for number in range(1, (depth or backbone.depth) + 1):
                hidden = backbone.block(number, hidden)
        return hidden

    return run


@pytest.fixture
def texts():
    """Return ids and mask of 4 texts of LENGTH tokens, padded on the right to it."""

    def draw(padding: int, lengths=(12, 9, 5, 1)):
        torch.manual_seed(2)
        ids = torch.randint(5, 50, (len(lengths), LENGTH))
        mask = (torch.arange(LENGTH)[None] < torch.tensor(lengths)[:, None]).long()
        return torch.where(mask == 1, ids, padding), mask

    return draw
