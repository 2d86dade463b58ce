"""The local predictor: neighbours count, padding does not."""

import torch

from edgeexit.dmpo.families.base import Features
from edgeexit.dmpo.predictors.local import LocalPredictor


def picture(batch=2, prefix=1, grid=(4, 3), width=32, pooling="first"):
    tokens = torch.randn(batch, prefix + grid[0] * grid[1], width)
    return Features(tokens, None, prefix, grid, pooling)


def test_a_picture_and_a_text_give_logits():
    torch.manual_seed(0)
    assert LocalPredictor(32, 5, image=True)(picture()).shape == (2, 5)
    text = Features(torch.randn(2, 7, 32), torch.ones(2, 7), 0, None, "mean")
    assert LocalPredictor(32, 5, image=False)(text).shape == (2, 5)


def test_a_text_is_read_the_same_with_and_without_padding():
    torch.manual_seed(0)
    head = LocalPredictor(32, 5, image=False).eval()
    short = torch.randn(1, 6, 32)
    padded = torch.cat([short, 100 * torch.randn(1, 4, 32)], dim=1)
    mask = torch.tensor([[1.0] * 6 + [0.0] * 4])
    alone = head(Features(short, torch.ones(1, 6), 1, None, "first"))
    beside = head(Features(padded, mask, 1, None, "first"))
    torch.testing.assert_close(alone, beside)
    unmasked = head(Features(padded, torch.ones(1, 10), 1, None, "first"))
    assert (alone - unmasked).abs().max() > 0.01


def test_the_order_of_positions_counts():
    torch.manual_seed(0)
    head = LocalPredictor(32, 5, image=True).eval()
    features = picture(grid=(4, 4), prefix=0, pooling="mean")
    shuffled = Features(features.tokens[:, torch.randperm(16)], None, 0, (4, 4), "mean")
    assert (head(features) - head(shuffled)).abs().max() > 1e-3


def test_its_size_is_what_the_docstring_says():
    head = LocalPredictor(384, 10, image=True)
    assert head.reduce.out_features == 96
    assert head.depthwise.weight.shape == (96, 1, 3, 3)
