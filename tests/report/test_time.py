"""Times of this device in the verdict: they count where the machine was calm, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from edgeexit.bundle.codec import encode
from edgeexit.report.gather import gather_report
from edgeexit.report.page import render_page
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.power.conditions import Conditions
from edgeexit.runtime.profile import BatchProfile, DeviceProfile
from edgeexit.runtime.runtime import Runtime
from edgeexit.runtime.timing import TimeStats
from tests.report.conftest import BUDGET


@pytest.fixture(scope="module")
def worthwhile(calibrated, arrays):
    """Samples on which early exits win: easy ones leave at exit 1, and only hard ones need more."""
    with Runtime(calibrated.bundle, BUDGET, exits=calibrated.exits) as runtime:
        taken = runtime(arrays["x"]).exits
        first, _, last = (part.argmax(axis=1) for part in runtime.all_exits(arrays["x"]).logits)
    easy = np.flatnonzero((taken == 1) & (first == last))
    hard = np.flatnonzero((taken == 3) & (first != last))[: len(easy) // 3]
    rows = np.concatenate([easy, hard])
    return {"x": arrays["x"][rows], "y": last[rows]}


def keep_times(bundle, stage, static, load):
    """Keep a made-up profile: so many milliseconds a stage and for the static model."""
    machine = Machine.of(bundle)
    stages, call, whole = (TimeStats(9, t, t, t, t, t, t) for t in (stage, 3 * stage, static))
    conditions = Conditions(load, (), (), None)
    batch = BatchProfile(1, (stages,) * 3, call, whole)
    profile = DeviceProfile(machine.fingerprint, (batch,), conditions, conditions)
    machine.cache.write_json("profile", encode(profile))


@pytest.mark.parametrize(
    ("stage", "load", "choice"), [(0.5, 0.1, "exits"), (1.0, 0.1, "static"), (1.0, 3.0, "exits")]
)
def test_time_counts_where_it_can_be_trusted(
    calibrated, worthwhile, tmp_path, monkeypatch, stage, load, choice
):
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path))
    keep_times(calibrated.bundle, stage, 1.0, load)
    found = gather_report(calibrated.bundle, worthwhile, exits=calibrated.exits)
    assert found.curve.static.quality == 1.0
    assert found.verdict.choice == choice
    busy = load > 1
    assert busy == any("machine was busy" in sentence for sentence in found.missing)
    page = render_page(found)
    mean = found.here.profile.mean(found.point.shares)
    assert mean == pytest.approx(np.dot(found.point.shares, [stage, 2 * stage, 3 * stage]))
    assert busy != ("mean time, of static model</dt><dd>" + f"{mean:.3f}" in page)
    assert f"mean at the budget {mean:.3g} ms" in page


def test_a_profile_of_other_stages_counts_as_none(calibrated, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path))
    machine = Machine.of(calibrated.bundle)
    calm, times = Conditions(0.1, (), (), None), TimeStats(9, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    profile = DeviceProfile(
        machine.fingerprint, (BatchProfile(1, (times,) * 2, times, times),), calm, calm
    )
    machine.cache.write_json("profile", encode(profile))
    assert gather_report(calibrated.bundle, exits=calibrated.exits).here.profile is None
