from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from edgeexit.cli.curve_svg import HEIGHT, WIDTH, Curve, Point, curve_svg

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
