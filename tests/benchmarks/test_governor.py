"""That the governor's benchmark counts rightly; never how fast anything is."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.governor import shifted, worst_window


def test_the_worst_window_is_the_one_farthest_from_the_budget():
    costs = np.array([0.5, 0.5, 0.5, 0.9, 0.5, 0.5, 0.3])
    assert worst_window(costs, 0.5, 2) == pytest.approx(0.2)
    assert worst_window(costs, 0.5, 7) == pytest.approx(0.2 / 7)
    assert worst_window(costs[4:], 0.5, 1) == pytest.approx(0.2)


def test_shifted_images_are_fainter_and_wrap_nowhere():
    images = np.random.default_rng(0).integers(0, 256, (50, 1, 28, 28)).astype(np.uint8)
    faint = shifted(images)
    assert faint.dtype == np.uint8
    assert faint.std() < 0.7 * images.std()
    # Bright pixels stay bright: overflow would have made some of them dark.
    assert faint[images > 250].min() > 90
    np.testing.assert_array_equal(faint, shifted(images))
