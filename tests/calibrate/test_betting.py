"""Bets on a mean: fair, exact in their error, and nearly as sharp as the normal approximation."""

from __future__ import annotations

import numpy as np
import pytest

from edgeexit.calibrate.betting import MAX_STAKE, Bets

ALPHA = 0.05


def bet(values, limit, bounds=(0.0, 1.0), block=1):
    """Which columns of ``(n, M)`` values are proven to have a mean of at most the limit."""
    bets = Bets(values.shape[1], limit, bounds, len(values), ALPHA)
    for start in range(0, len(values), block):
        bets.take(values[start : start + block])
    return bets.proven


def plug_in(values, limit):
    """The predictable plug-in of Waudby-Smith and Ramdas, for values in [0, 1]."""
    count = np.arange(1, len(values) + 1)[:, None]
    mean = (0.5 + np.cumsum(values, axis=0)) / (1 + count)
    variance = (0.25 + np.cumsum((values - mean) ** 2, axis=0)) / (1 + count)
    before = np.vstack([np.full((1, values.shape[1]), 0.25), variance[:-1]])
    stakes = np.minimum(1, np.sqrt(2 * np.log(1 / ALPHA) / (len(values) * before)))
    wealth = np.cumsum(np.log1p(-stakes * (values - limit)), axis=0)
    return wealth.max(axis=0) >= np.log(1 / ALPHA)


def test_the_first_stake_by_hand():
    bets = Bets(1, 0.5, (0.0, 1.0), 100, ALPHA)
    bets.take(np.zeros((1, 1)))
    # phi(z) / p = 2.06687 at p = 0.05 / 1.01; sigma 0.5 and 100 steps: 2.06687 / (0.5 * 10).
    assert bets._log_wealth[0] == pytest.approx(np.log(1 + 0.413373 * 0.5), abs=1e-5)


def test_no_stake_risks_more_than_the_cap():
    bets = Bets(1, 0.2, (0.0, 1.0), 2, ALPHA)
    bets.take(np.ones((1, 1)))
    assert bets._log_wealth[0] == pytest.approx(np.log(1 - MAX_STAKE))


@pytest.mark.parametrize(("low", "high", "chance"), [(0.0, 1.0, 0.3), (0.2, 1.02, 0.05)])
def test_no_step_is_won_on_average_where_the_mean_is_the_limit(low, high, chance):
    limit = low + chance * (high - low)
    past = np.where(np.random.default_rng(0).random((40, 1)) < chance, high, low)
    outcomes = []
    for value in (low, high):
        bets = Bets(1, limit, (low, high), 60, ALPHA)
        for row in past:
            bets.take(row[None])
        before = bets._log_wealth[0]
        bets.take(np.array([[value]]))
        outcomes.append(np.exp(bets._log_wealth[0] - before))
    assert outcomes[0] != outcomes[1]
    assert (1 - chance) * outcomes[0] + chance * outcomes[1] == pytest.approx(1)


@pytest.mark.parametrize("block", [1, 7])
@pytest.mark.parametrize("chance", [0.5, 0.02, 0.9])
def test_a_mean_at_the_limit_passes_in_at_most_alpha_of_cases(chance, block):
    values = (np.random.default_rng(1).random((200, 4000)) < chance).astype(float)
    passed = bet(values, chance, block=block).mean()
    assert passed <= ALPHA + 3 * np.sqrt(ALPHA * (1 - ALPHA) / 4000)


def test_bets_are_nearly_as_sharp_as_the_normal_approximation():
    rng = np.random.default_rng(2)
    for gap, least in ((2.0, 0.5), (3.0, 0.85)):
        chance = 0.5 - gap * 0.5 / np.sqrt(700)
        values = (rng.random((700, 2000)) < chance).astype(float)
        mine = bet(values, 0.5).mean()
        normal = (values.mean(axis=0) + 1.645 * values.std(axis=0) / np.sqrt(700) <= 0.5).mean()
        assert mine > least
        assert mine > plug_in(values, 0.5).mean() + 0.05
        assert mine > normal - 0.09


def test_what_is_proven_stays_proven():
    bets = Bets(1, 0.5, (0.0, 1.0), 200, ALPHA)
    for _ in range(60):
        bets.take(np.zeros((1, 1)))
    assert bets.proven.all()
    for _ in range(140):
        bets.take(np.ones((1, 1)))
    assert bets.proven.all()


def test_a_limit_that_nothing_can_exceed_needs_no_data():
    assert Bets(3, 1.0, (0.0, 1.0), 10, ALPHA).proven.all()
    assert not Bets(3, 0.99, (0.0, 1.0), 10, ALPHA).proven.any()
