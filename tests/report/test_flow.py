from __future__ import annotations

import numpy as np

from edgeexit.report.flow import Pair, class_flows, class_names, exit_flows

NAMES = ("cat", "dog", "never")
TRUTH = np.array([0, 0, 0, 0, 1, 1])
TAKEN = np.array([0, 0, 0, 2, 2, 2])
ANSWERS = np.array([0, 0, 1, 0, 0, 0])


def test_classes_that_leave_latest_come_first_and_absent_ones_not_at_all():
    right = (ANSWERS == TRUTH).astype(np.int64)
    dog, cat = class_flows(NAMES, TRUTH, TAKEN, right, 3)
    assert (dog.name, dog.count, dog.shares, dog.mean_exit, dog.quality) == (
        "dog", 2, (0.0, 0.0, 1.0), 3.0, 0.0,
    )  # fmt: skip
    assert (cat.name, cat.shares, cat.mean_exit, cat.quality) == ("cat", (0.75, 0, 0.25), 1.5, 0.75)


def test_each_exit_names_its_most_frequent_mistakes():
    first, second, last = exit_flows(NAMES, TRUTH, ANSWERS, TAKEN, 3)
    assert (first.count, first.share, first.quality, first.wrong) == (3, 0.5, 1 - 1 / 3, 1)
    assert first.pairs == (Pair("cat", "dog", 1),)
    assert (second.count, second.quality, second.pairs) == (0, None, ())
    assert last.pairs == (Pair("dog", "cat", 2),)


def test_classes_without_a_name_are_numbered():
    assert class_names(None, TRUTH, np.array([2])) == ("class 0", "class 1", "class 2")
    assert class_names(("a",), TRUTH, ANSWERS) == ("a", "class 1")
