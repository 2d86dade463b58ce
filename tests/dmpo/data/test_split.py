from __future__ import annotations

import numpy as np
import pytest

from edgeexit.dmpo.data.split import split_rows


def test_no_row_is_in_two_parts_and_none_is_lost():
    labels = np.random.default_rng(0).integers(0, 7, 999)
    parts = split_rows(labels, (0.1, 0.25), 5)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(999))
    assert [len(part) for part in parts] == [649, 100, 250]
    assert all((np.diff(part) > 0).all() for part in parts)


def test_every_class_gives_its_share():
    labels = np.repeat(np.arange(5), [100, 50, 20, 10, 200])
    _, validation, calibration = split_rows(labels, (0.1, 0.2), 0)
    assert np.bincount(labels[validation]).tolist() == [10, 5, 2, 1, 20]
    assert np.bincount(labels[calibration]).tolist() == [20, 10, 4, 2, 40]


def test_many_small_classes_give_the_share_of_the_whole():
    labels = np.repeat(np.arange(50), 4)
    rest, drawn = split_rows(labels, (0.1,), 0)
    assert len(drawn) == 20
    assert np.bincount(labels[drawn], minlength=50).max() == 1
    assert len(rest) == 180


def test_a_class_keeps_a_sample_for_training():
    labels = np.asarray([0, 1, 1, 2, 2, 2])
    rest, *_ = split_rows(labels, (0.49, 0.49), 0)
    assert set(labels[rest]) == {0, 1, 2}


def test_the_seed_decides():
    labels = np.repeat([0, 1], 100)
    one, same, other = (split_rows(labels, (0.2,), seed)[1] for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("shares", [(), (0.0,), (0.0, 0.0)])
def test_nothing_is_drawn_where_no_share_is_asked_for(shares):
    rest, *drawn = split_rows(np.asarray([0, 1, 0]), shares, 0)
    assert rest.tolist() == [0, 1, 2]
    assert [len(part) for part in drawn] == [0] * len(shares)


def test_a_group_stays_whole_and_every_class_in_training():
    random = np.random.default_rng(0)
    group = random.integers(0, 60, 900)
    labels = np.where(group == 7, 2, group % 2)
    parts = split_rows(labels, (0.1, 0.2), 3, group)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(900))
    groups = [set(group[part]) for part in parts]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 60
    assert 7 in groups[0]
    assert [len(part) for part in parts] == pytest.approx([630, 90, 180], abs=15)
