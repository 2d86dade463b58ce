from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from edgeexit.report.curve_svg import HEIGHT, WIDTH, Band, Curve, Point, curve_svg, legend
from edgeexit.report.svg import CHARACTER

SVG = "{http://www.w3.org/2000/svg}"


def chart(low=0.8, high=0.92):
    steps = [number / 20 for number in range(21)]
    return Curve(
        title="accuracy < cost & back",
        quality="accuracy",
        fitted=[Point(0.25 + 0.8 * step, low + (high - low) * step) for step in steps],
        measured=[Point(0.5, (low + high) / 2, "budget 0.5")],
        exits=[Point(0.25, low, "exit 1"), Point(1.05, high, "exit 2")],
        static=Point(1.0, high, "static"),
    )


def texts(root):
    return [element.text for element in root.iter(f"{SVG}text")]


def test_the_picture_is_xml_with_title_axes_and_every_label():
    root = ElementTree.fromstring(curve_svg(chart()))
    assert {"accuracy < cost & back", "accuracy (%)", "budget 0.5", "exit 1", "exit 2"} <= set(
        texts(root)
    )
    assert "mean cost (1 = FLOPs of the static model)" in texts(root)


@pytest.mark.parametrize(("low", "high"), [(0.8, 0.92), (0.9, 0.9), (0.0, 1.0), (0.9123, 0.9125)])
def test_all_marks_lie_inside_the_picture(low, high):
    root = ElementTree.fromstring(curve_svg(chart(low, high)))
    places = [(float(e.get("cx")), float(e.get("cy"))) for e in root.findall(f"{SVG}circle")]
    places += [
        tuple(map(float, pair.split(",")))
        for pair in root.find(f"{SVG}polyline").get("points").split()
    ]
    assert len(places) == 3 + 21
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in places)


def test_higher_quality_is_higher_and_dearer_is_further_right():
    root = ElementTree.fromstring(curve_svg(chart()))
    line = root.find(f"{SVG}polyline").get("points")
    points = [tuple(map(float, pair.split(","))) for pair in line.split()]
    assert points == sorted(points)
    assert [y for _, y in points] == sorted((y for _, y in points), reverse=True)


def test_ticks_are_round_and_few():
    numbers = [
        t for t in texts(ElementTree.fromstring(curve_svg(chart()))) if re.fullmatch(r"[\d.]+", t)
    ]
    assert {"0", "0.2", "0.4", "0.6", "0.8", "1", "1.2"} <= set(numbers)
    assert len(numbers) <= 16


HELD = [Band(0.3, 0.82, 0.80, 0.84), Band(0.6, 0.86, 0.84, 0.88), Band(1.05, 0.9, 0.88, 0.92)]


@pytest.mark.parametrize("width", [WIDTH, 320])
def test_the_band_encloses_its_line(width):
    root = ElementTree.fromstring(curve_svg(replace(chart(), held=HELD), width, alone=False))
    band = places(root.find(f"{SVG}polygon"))
    line = places(root.find(f"{SVG}polyline[@class='held']"))
    upper, lower = band[:3], band[3:][::-1]
    assert [x for x, _ in upper] == [x for x, _ in lower] == [x for x, _ in line]
    for (_, high), (_, middle), (_, low) in zip(upper, line, lower, strict=True):
        assert high < middle < low
    assert all(0 < x < width for x, _ in band)


def places(element):
    return [tuple(map(float, pair.split(","))) for pair in element.get("points").split()]


@pytest.mark.parametrize("width", [WIDTH, 320])
@pytest.mark.parametrize("spread", [0.0, 0.002, 0.05])
def test_no_label_covers_another_or_leaves_the_picture(width, spread):
    exits = [Point(0.9 + 0.02 * k, 0.9 + spread * k, f"exit {k + 1}") for k in range(6)]
    crowded = replace(chart(), exits=exits, static=Point(1.0, 0.9, "static 90.0 %"))
    root = ElementTree.fromstring(curve_svg(crowded, width, alone=False))
    words = [e for e in root.iter(f"{SVG}text") if (e.text or "").startswith(("exit", "static"))]
    assert words
    boxes = []
    for element in words:
        half = len(element.text) * CHARACTER / 2
        x, y = float(element.get("x")), float(element.get("y"))
        assert half <= x <= width - half
        boxes.append((x - half, y - 11, x + half, y + 3))
    for number, one in enumerate(boxes):
        for other in boxes[:number]:
            apart = one[2] <= other[0] or other[2] <= one[0]
            assert apart or one[3] <= other[1] or other[3] <= one[1]


def test_the_budget_is_marked_at_its_cost():
    root = ElementTree.fromstring(curve_svg(replace(chart(), budget=0.5), alone=False))
    (line,) = root.findall(f"{SVG}line[@class='budget']")
    (dot,) = root.findall(f"{SVG}circle[@class='dot']")
    assert line.get("x1") == line.get("x2") == dot.get("cx")


def test_the_legend_names_what_is_drawn_and_nothing_else():
    assert [name for _, name in legend(chart())] == [
        "calibration set", "measured on the test set", "everything at one exit", "static model",
    ]  # fmt: skip
    names = [name for _, name in legend(replace(chart(), held=HELD, static=None, measured=[]))]
    assert names == ["calibration set", "measured, 95 % band", "everything at one exit"]


def test_a_file_of_its_own_brings_its_colours_and_a_part_of_a_page_does_not():
    assert "prefers-color-scheme: dark" in curve_svg(chart())
    assert "<style>" not in curve_svg(chart(), alone=False)
