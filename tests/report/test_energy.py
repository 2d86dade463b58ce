"""Energy that the device's cache holds: its numbers, its marks, its error bars."""

from __future__ import annotations

import dataclasses
from xml.etree import ElementTree

import pytest

from edgeexit.bundle.codec import encode
from edgeexit.report.charts import energy_chart
from edgeexit.report.gather import gather_report
from edgeexit.report.page import render_page
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.power.conditions import Conditions
from edgeexit.runtime.power.meter import MeterInfo
from edgeexit.runtime.power.profile import EnergyProfile, Estimate

SVG = "{http://www.w3.org/2000/svg}"
CALM = Conditions(0.1, (), (), None)


def profile(fingerprint, *, estimated=False, exits=3):
    """A made-up profile: exit k draws k millijoules beyond idle."""
    joules = tuple(Estimate(0.001 * k, 0.0001) for k in range(1, exits + 1))
    totals = tuple(Estimate(0.002 * k, 0.0002) for k in range(1, exits + 1))
    meter = MeterInfo("rapl", "package-0 <b>", "the processor", estimated, 0.001)
    return EnergyProfile(
        fingerprint, meter, ("nvml: no GPU",), 40, 0.05, Estimate(5.0, 0.1), joules, joules,
        Estimate(0.004, 0.0001), totals, Estimate(0.008, 0.0002), CALM, CALM,
    )  # fmt: skip


@pytest.fixture
def report(calibrated, tmp_path, monkeypatch):
    """A function that keeps a profile and reports the test set."""
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path))
    machine = Machine.of(calibrated.bundle)

    def make(**changes):
        machine.cache.write_json("energy", encode(profile(machine.fingerprint, **changes)))
        return gather_report(calibrated.bundle, calibrated.test, exits=calibrated.exits)

    return make


def test_the_mean_at_the_budget_is_that_of_the_exits_taken(report):
    found = report()
    shares = found.point.shares
    expected = sum(share * 0.001 * k for k, share in enumerate(shares, 1))
    assert found.here.energy.mean(shares) == pytest.approx(expected)
    assert found.here.energy.static.total == 0.008
    page = render_page(found)
    assert f"draws {1000 * expected:.3g} mJ beyond idle on average:" in page
    assert "Measured with package-0 &lt;b&gt;" in page
    assert "Meter not used: nvml: no GPU" in page
    assert not any("nergy" in sentence for sentence in found.missing)


def test_what_is_estimated_says_so_wherever_it_stands(report):
    found = report(estimated=True)
    page = render_page(found)
    section = page.partition('<h2 id="energy">')[2].partition("</section>")[0]
    for words in (
        "Energy on this device, estimated</h2>", "Estimated, not measured, by", "estimated mJ",
        "estimated millijoules a call", "beyond idle power, estimated.", "(estimated):",
    ):  # fmt: skip
        assert words in section, words
    assert any("Energy is estimated" in sentence for sentence in found.missing)


def test_bars_and_whiskers_are_to_scale(report):
    chart = energy_chart(report())
    for picture in (chart.wide, chart.narrow):
        root = ElementTree.fromstring(picture)
        bars = [float(e.get("width")) for e in root.findall(f"{SVG}rect")]
        assert [bar / bars[-1] for bar in bars] == pytest.approx([0.25, 0.5, 0.75, 1], abs=0.005)
        whisker = root.findall(f"{SVG}line[@class='whisker']")[-1]
        length = float(whisker.get("x2")) - float(whisker.get("x1"))
        assert length / bars[-1] == pytest.approx(4 * 0.0001 / 0.004, abs=0.005)


def test_noise_below_zero_draws_no_bar(report):
    found = report()
    drawn = found.here.energy
    first = dataclasses.replace(drawn.exits[0], marginal=-0.001, error=0.0001)
    noisy = dataclasses.replace(drawn, exits=(first, *drawn.exits[1:]))
    here = dataclasses.replace(found.here, energy=noisy)
    chart = energy_chart(dataclasses.replace(found, here=here))
    bar = ElementTree.fromstring(chart.wide).find(f"{SVG}rect")
    assert float(bar.get("width")) == 0.0


def test_a_profile_of_other_exits_counts_as_none(report):
    found = report(exits=2)
    assert found.here.energy is None
    assert any("Energy was not measured" in sentence for sentence in found.missing)
