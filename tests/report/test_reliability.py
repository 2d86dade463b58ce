from __future__ import annotations

import numpy as np
import pytest

from edgeexit.report.reliability import BINS, reliability


def test_the_error_is_that_of_the_paper_worked_out_by_hand():
    confidence = np.array([0.95, 0.97, 0.55, 0.55])
    right = np.array([1.0, 0.0, 1.0, 1.0])
    found = reliability(2, confidence, right)
    # One bin believes 0.96 and is right half the time, the other believes 0.55 and is always right.
    assert found.ece == pytest.approx(0.5 * abs(0.5 - 0.96) + 0.5 * abs(1 - 0.55))
    assert (found.exit, found.confidence, found.quality) == (2, pytest.approx(0.755), 0.75)
    assert sum(part.count for part in found.bins) == 4


def test_bins_are_closed_above_and_hold_both_ends():
    found = reliability(1, np.array([0.0, 1 / BINS, 1 / BINS + 1e-9, 1.0]), np.zeros(4))
    counts = [part.count for part in found.bins]
    assert (counts[0], counts[1], counts[-1]) == (2, 1, 1)
    assert (found.bins[3].confidence, found.bins[3].quality) == (None, None)


def test_an_exit_that_is_as_good_as_it_believes_has_no_error():
    right = np.array([1.0, 1.0, 1.0, 0.0])
    assert reliability(1, np.full(4, 0.75), right).ece == 0.0
