"""Stacked bars and the timeline: lengths are the numbers."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from edgeexit.report.flow_svg import Bar, flow_svg, opacity
from edgeexit.report.plot import ticks
from edgeexit.report.timeline_svg import timeline_svg

SVG = "{http://www.w3.org/2000/svg}"


def rects(picture, kind):
    root = ElementTree.fromstring(picture)
    found = root.findall(f"{SVG}rect[@class='{kind}']")
    return [(float(e.get("x")), float(e.get("width"))) for e in found]


def texts(picture):
    return [element.text for element in ElementTree.fromstring(picture).iter(f"{SVG}text")]


@pytest.mark.parametrize("width", [820, 320])
def test_segments_are_as_wide_as_their_shares_and_fill_the_bar(width):
    picture = flow_svg("where", [Bar("cat", (0.5, 0.0, 0.2, 0.3))], width)
    found = rects(picture, "share")
    widths = [size for _, size in found]
    assert [size / sum(widths) for size in widths] == pytest.approx([0.5, 0.2, 0.3], abs=0.002)
    assert found[-1][0] + found[-1][1] == pytest.approx(width - 2, abs=0.2)
    assert texts(picture) == ["cat", "50", "20", "30"]


def test_a_long_name_is_cut_and_leaves_room_for_the_bar():
    picture = flow_svg("where", [Bar("n" * 400, (0.5, 0.5))], 320)
    name = texts(picture)[0]
    assert name.endswith("\u2026")
    assert len(name) < 20
    assert sum(size for _, size in rects(picture, "share")) > 0.6 * 320


def test_names_are_words_of_the_picture():
    picture = flow_svg("a < b & 'c'", [Bar("<b>\x00</b>", (1.0,))], 820)
    assert texts(picture)[0] == "<b>\ufffd</b>"
    assert ElementTree.fromstring(picture).get("aria-label") == "a < b & 'c'"


@pytest.mark.parametrize("exits", [2, 3, 4, 12])
def test_shades_rise_and_the_last_exit_stands_out(exits):
    shades = [opacity(number, exits) for number in range(1, exits + 1)]
    assert shades == sorted(shades)
    assert shades[-1] == 1.0
    assert max(shades[:-1]) <= 0.5


@pytest.mark.parametrize("width", [820, 320])
def test_the_timeline_is_to_scale(width):
    picture = timeline_svg("time", [1.0, 2.0, 3.0], 0.5, 5.0, 2.5, width)
    stages = rects(picture, "share")
    (overhead, static) = rects(picture, "rest")
    scale = static[1] / 5.0
    assert [size / scale for _, size in stages] == pytest.approx([1.0, 2.0, 3.0], abs=0.01)
    assert stages[0][0] == pytest.approx(overhead[0] + 0.5 * scale, abs=0.11)
    (mark,) = ElementTree.fromstring(picture).findall(f"{SVG}line[@class='budget']")
    assert float(mark.get("x1")) == pytest.approx(static[0] + 2.5 * scale, abs=0.11)
    assert stages[-1][0] + stages[-1][1] < width
    assert "mean at the budget 2.5 ms" in texts(picture)


def test_the_timeline_without_a_budget_has_no_mark():
    picture = timeline_svg("time", [1.0], 0.0, 1.0, None, 820)
    assert "budget" not in picture


@pytest.mark.parametrize(
    ("low", "high", "first", "last"),
    [(0, 1, 0, 1), (0, 1.022, 0, 1.2), (87.3, 89.4, 87, 89.5), (5, 5, 5, 5.001), (0, 7e4, 0, 8e4)],
)
def test_ticks_are_round_and_enclose_the_range(low, high, first, last):
    found = ticks(low, high)
    assert (found[0], found[-1]) == pytest.approx((first, last), abs=1e-3)
    assert 2 <= len(found) <= 9
