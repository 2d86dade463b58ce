"""The high-order predictor: its statistics, its sizes, masks, and what only it can see."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgeexit.dmpo.families.base import Features
from edgeexit.dmpo.predictors.second_order import SecondOrderPredictor, moment_size
from edgeexit.errors import InputError


def features(tokens, mask=None, prefix=0):
    return Features(tokens, mask, prefix=prefix, grid=None, pooling="mean")


def test_covariance_equals_numpys():
    torch.manual_seed(0)
    predictor = SecondOrderPredictor(12, 3, tokens=7, size=4, heads=3)
    tokens = torch.randn(2, 8, 12)
    with torch.no_grad():
        found = predictor.covariances(features(tokens, prefix=1)).numpy()
        projected = predictor.moments(tokens[:, 1:]).reshape(2, 7, 3, 4)
        moments = predictor.moment_norm(projected).numpy().astype(np.float64)
    for sample in range(2):
        for pair in range(2):
            both = np.cov(moments[sample, :, pair].T, moments[sample, :, pair + 1].T, bias=True)
            cross = both[:4, 4:]
            rows = cross / (np.linalg.norm(cross, axis=1, keepdims=True) + 1e-3)
            assert found[sample, pair] == pytest.approx(rows, abs=1e-5)


def test_padding_changes_nothing():
    torch.manual_seed(0)
    predictor = SecondOrderPredictor(12, 3, tokens=9)
    short = torch.randn(2, 6, 12)
    padded = torch.cat([short, torch.full((2, 3, 12), 50.0)], dim=1)
    mask = torch.cat([torch.ones(2, 6), torch.zeros(2, 3)], dim=1)
    with torch.no_grad():
        alone = predictor(features(short, torch.ones(2, 6)))
        unmasked = predictor(features(short))
        masked = predictor(features(padded, mask))
    assert masked.numpy() == pytest.approx(alone.numpy(), abs=1e-5)
    assert unmasked.numpy() == pytest.approx(alone.numpy(), abs=1e-5)


def test_a_text_of_nothing_but_padding_gives_finite_logits():
    predictor = SecondOrderPredictor(12, 3, tokens=9)
    logits = predictor(features(torch.randn(1, 9, 12), torch.zeros(1, 9)))
    assert torch.isfinite(logits).all()


def test_it_separates_what_the_mean_token_cannot():
    """Two classes of equal mean whose first two features agree in sign, or do not."""
    torch.manual_seed(0)
    sign = torch.randint(0, 2, (512,)) * 2 - 1
    first = torch.randn(512, 16)
    tokens = torch.stack([first, first * sign[:, None], *torch.randn(4, 512, 16)], dim=-1)
    tokens = tokens - tokens.mean(dim=1, keepdim=True)
    labels = (sign > 0).long()
    predictor = SecondOrderPredictor(6, 2, tokens=16)
    optimizer = torch.optim.Adam(predictor.parameters(), lr=1e-2)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(predictor(features(tokens[:256])), labels[:256])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    right = predictor(features(tokens[256:])).argmax(dim=1) == labels[256:]
    assert right.float().mean().item() > 0.9
    assert tokens.mean(dim=1).abs().max().item() < 1e-6


@pytest.mark.parametrize(
    ("width", "tokens", "size"),
    [(768, 196, 128), (384, 64, 64), (192, 64, 64), (96, 81, 48), (16, 784, 32), (512, 1, 16)],
)
def test_a_moment_head_is_sized_to_features_and_tokens(width, tokens, size):
    assert moment_size(width, tokens) == size


def test_convolutions_shrink_the_covariance():
    predictor = SecondOrderPredictor(768, 10, tokens=196, heads=4, reduce="conv")
    assert predictor.second_order.in_features == 3 * 31 * 31
    logits = predictor(features(torch.randn(2, 5, 768)))
    assert logits.shape == (2, 10)


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        ({"heads": 1}, "tune.second-order-heads", "heads is 1; a cross-covariance needs 2"),
        (
            {"size": 6, "reduce": "conv"},
            "tune.second-order-size",
            "size is 6; two convolutions of stride 2 need 7 or more",
        ),
    ],
)
def test_impossible_sizes_are_refused(settings, code, message):
    with pytest.raises(InputError, match=message) as caught:
        SecondOrderPredictor(24, 2, tokens=9, **settings)
    assert caught.value.code == code
