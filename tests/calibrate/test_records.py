"""Records on disk and in memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeexit.calibrate.records import ExitRecords
from edgeexit.errors import InputError
from tests.calibrate.synthetic import make_records


def test_round_trip(tmp_path):
    records = replace(make_records(100), group=np.arange(100) // 5)
    records.save(tmp_path / "r.npz")
    loaded = ExitRecords.load(tmp_path / "r.npz")
    assert loaded.gate == records.gate
    assert loaded.last_temperature == records.last_temperature
    assert (loaded.quality_kind, loaded.data_sha256) == ("accuracy", "synthetic")
    for name in ("features", "soft", "quality", "group"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(records, name))
        assert getattr(loaded, name).dtype == getattr(records, name).dtype
    assert [path.name for path in tmp_path.iterdir()] == ["r.npz"]


def test_round_trip_without_group_or_labels(tmp_path):
    records = make_records(60, 1, labelled=False)
    records.save(tmp_path / "r.npz")
    loaded = ExitRecords.load(tmp_path / "r.npz")
    assert loaded.group is None
    assert loaded.quality_kind == "agreement"


@pytest.mark.parametrize("keep", [0, 10, 400, -1])
def test_damaged_file(tmp_path, keep):
    path = tmp_path / "r.npz"
    make_records(100).save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="cannot be read as exit records"):
        ExitRecords.load(path)


def test_other_files(tmp_path):
    with pytest.raises(InputError, match="cannot be read as exit records"):
        ExitRecords.load(tmp_path / "missing.npz")
    np.savez(tmp_path / "x.npz", x=np.zeros(3))
    with pytest.raises(InputError, match="cannot be read as exit records"):
        ExitRecords.load(tmp_path / "x.npz")
    np.savez(tmp_path / "p.npz", features=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="cannot be read as exit records"):
        ExitRecords.load(tmp_path / "p.npz")


def test_arrays_that_do_not_fit_together():
    records = make_records(100)
    for change in (
        {"soft": records.soft[:99]},
        {"quality": records.quality[:, :3]},
        {"features": records.features[:, :, :9]},
        {"features": records.features[:, 0]},
        {"group": np.zeros(99, dtype=np.int64)},
    ):
        with pytest.raises(InputError) as error:
            replace(records, **change)
        assert error.value.code == "records.shape"
    bad = records.soft.copy()
    bad[3, 1] = np.nan
    with pytest.raises(InputError, match="not finite"):
        replace(records, soft=bad)


def test_take_keeps_samples_together():
    records = replace(make_records(100), group=np.arange(100))
    taken = records.take(np.array([5, 2]))
    assert len(taken) == 2
    np.testing.assert_array_equal(taken.group, [5, 2])
    np.testing.assert_array_equal(taken.features, records.features[[5, 2]])
