"""The global predictor: cells are averages of what counts."""

import pytest
import torch

from edgeexit.dmpo.families.base import Features
from edgeexit.dmpo.predictors.global_ import GlobalPredictor


def test_a_picture_and_a_text_give_logits():
    torch.manual_seed(0)
    picture = Features(torch.randn(2, 13, 32), None, 1, (4, 3), "first")
    assert GlobalPredictor(32, 5, tokens=12, image=True)(picture).shape == (2, 5)
    text = Features(torch.randn(2, 7, 32), torch.ones(2, 7), 0, None, "mean")
    assert GlobalPredictor(32, 5, tokens=128, image=False)(text).shape == (2, 5)


@pytest.mark.parametrize("length", [6, 8, 9])
def test_a_text_is_read_the_same_with_and_without_padding(length):
    torch.manual_seed(0)
    head = GlobalPredictor(32, 5, tokens=128, image=False).eval()
    assert head.stride == 4
    short = torch.randn(1, length, 32)
    padded = torch.cat([short, 100 * torch.randn(1, 16 - length, 32)], dim=1)
    mask = torch.tensor([[1.0] * length + [0.0] * (16 - length)])
    alone = head(Features(short, torch.ones(1, length), 0, None, "mean"))
    beside = head(Features(padded, mask, 0, None, "mean"))
    torch.testing.assert_close(alone, beside)
    unmasked = head(Features(padded, torch.ones(1, 16), 0, None, "mean"))
    assert (alone - unmasked).abs().max() > 0.01


def test_uneven_cells_are_averages_of_their_own_tokens():
    head = GlobalPredictor(8, 3, tokens=90, image=True)
    seen = []
    head.norm.register_forward_hook(lambda _module, given, _out: seen.append(given[0]))
    tokens = torch.arange(90.0).reshape(1, 90, 1).expand(1, 90, 8)
    head(Features(tokens, None, 0, (9, 10), "mean"))
    cells, pooled = seen
    grid = torch.arange(90.0).reshape(9, 10)
    assert cells.shape == (1, 25, 8)  # cells of 2 x 2: 5 down, 5 across
    assert cells[0, 0, 0] == grid[:2, :2].mean()
    assert cells[0, -1, 0] == grid[8:, 8:].mean()  # its second row lies beyond the border
    assert pooled[0, 0] == grid.mean()


def test_heads_divide_the_width():
    assert GlobalPredictor(768, 3, tokens=196, image=True).heads == 6
    assert GlobalPredictor(384, 3, tokens=196, image=True).heads == 3
    assert GlobalPredictor(2 * 130, 3, tokens=4, image=True).heads == 2
    assert GlobalPredictor(2 * 131, 3, tokens=4, image=True).heads == 1
