"""The page as a browser would read it: whole, closed to the network, hostile names harmless."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from edgeexit.report import page as page_module
from edgeexit.report.gather import gather_report
from edgeexit.report.page import render_page
from edgeexit.runtime.profile import keep_profile, measure_profile
from edgeexit.runtime.runtime import Runtime
from tests.report.conftest import CLASSES

VOID = {"meta", "link", "br", "img", "hr", "input"}
SECTIONS = [
    "curve", "flow", "mistakes", "reliability", "time", "energy", "stages", "parity", "missing",
]  # fmt: skip


class Page(HTMLParser):
    """What stands in a page; refuses tags that do not nest."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words, self.open = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data.strip())

    def of(self, name):
        return [value for _, found, value in self.attributes if found == name]


def named(report, names=CLASSES):
    """Return the report as if its classes, its model and its exits had hostile names."""
    places = {flow.name: names[i % len(names)] for i, flow in enumerate(report.classes)}
    flow = tuple(
        dataclasses.replace(
            each,
            pairs=tuple(
                dataclasses.replace(pair, true=places[pair.true], answered=places[pair.answered])
                for pair in each.pairs
            ),
        )
        for each in report.flow
    )
    hostile = "'\"><script>alert(2)</script>"
    return dataclasses.replace(
        report,
        model=dataclasses.replace(report.model, name=hostile, bundle="\u202e\x07\ud800"),
        provenance=dataclasses.replace(
            report.provenance, source=hostile, tools={hostile: "</style>"}
        ),
        stages=tuple(dataclasses.replace(stage, exit=hostile) for stage in report.stages),
        classes=tuple(dataclasses.replace(c, name=places[c.name]) for c in report.classes),
        flow=flow,
    )


@pytest.fixture(scope="module")
def timed(calibrated, tmp_path_factory):
    """The report of the test set on a device with a profile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEEXIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        with Runtime(calibrated.bundle, exits=False) as runtime:
            keep_profile(runtime, measure_profile(runtime, seconds=0.05))
        return gather_report(calibrated.bundle, calibrated.test, exits=calibrated.exits)


def test_the_whole_page(timed):
    page = Page(render_page(timed))
    assert [value for value in page.of("id") if value in SECTIONS] == SECTIONS
    assert timed.verdict.sentence in page.words
    # Curve, flow and timeline at two widths, and one diagram an exit; each says what it shows.
    pictures = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "role")]
    assert pictures == ["img"] * (3 * 2 + 3)
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert len(labels) == len(pictures)
    assert all(labels)
    assert any("static model" in label for label in labels)
    for sentence in timed.missing:
        assert sentence in page.words


@pytest.mark.parametrize("which", ["full", "bare", "timed"])
def test_nothing_comes_from_elsewhere_and_nothing_runs(which, request):
    text = render_page(request.getfixturevalue(which))
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "image", "use"} & set(page.tags)
    assert not page.of("src") + page.of("href")
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "url(" not in text
    assert "@import" not in text
    assert set(re.findall(r"https?://[^'\" ]+", text)) == {"http://www.w3.org/2000/svg"}
    (policy,) = [value for value in page.of("content") if value and "default-src" in value]
    assert policy.startswith("default-src 'none'")


def test_hostile_names_are_words(full):
    text = render_page(named(full))
    page = Page(text)
    assert "script" not in page.tags
    assert "<script" not in text
    assert CLASSES[0] in page.words
    assert "'\"><script>alert(2)</script>" in page.words
    assert text.count("</style>") == 1
    assert "\u202e" not in text
    assert "\x07" not in text
    text.encode("utf-8")
    # A name of 300 letters is cut in the table and in the chart.
    assert "x" * 61 not in text


def test_every_table_names_its_columns(timed):
    page = render_page(timed)
    for table in re.findall(r"<table>.*?</table>", page, re.S):
        assert "<caption>" in table
        assert 'scope="col"' in table
        heads = len(re.findall(r"<th[^>]*scope=\"col\"", table))
        for row in re.findall(r"<tr>(.*?)</tr>", table.partition("</thead>")[2], re.S):
            cells = len(re.findall(r"<t[hd][ >]", row))
            assert cells in (heads, heads - 1) or "colspan" in row, row


def test_every_picture_is_xml(timed):
    for picture in re.findall(r"<svg.*?</svg>", render_page(timed), re.S):
        ElementTree.fromstring(picture)


def test_without_data_the_page_says_so(bare):
    page = Page(render_page(bare))
    words = " ".join(page.words)
    assert "nothing was measured for this report" in words
    assert "Not measured: it needs data with labels." in words
    assert "mistakes" not in page.of("id")


def test_a_bundle_that_is_not_calibrated_has_a_page(made):
    bare = render_page(gather_report(made.bundle))
    assert "There is no curve" in bare
    assert "Nothing to ship yet" in bare
    assert "not calibrated" in render_page(gather_report(made.bundle, made.test))


def test_without_labels_the_page_speaks_of_agreement(calibrated, arrays):
    page = render_page(gather_report(calibrated.bundle, {"x": arrays["x"]}, exits=calibrated.exits))
    assert "Agreement against cost" in page
    assert "last exit says" in page
    assert "accuracy (%)" not in page


def test_many_classes_are_cut_in_the_page_and_whole_in_the_answer(full):
    many = tuple(
        dataclasses.replace(full.classes[0], name=f"class {number}") for number in range(1000)
    )
    report = dataclasses.replace(full, classes=many)
    page = render_page(report)
    assert "the first 200 of 1000" in page
    assert "(15 of 1000)" in page
    assert "class 200<" not in page
    assert len(json.loads(json.dumps(report.as_json()))["classes"]) == 1000


def test_words_have_contrast_in_light_and_in_dark():
    """Web Content Accessibility Guidelines 2.2: 4.5 for words, 3 for what is drawn."""
    for sheet in ("page.css", "chart.css"):
        light, dark = (page_module.TEMPLATES / sheet).read_text().split("@media screen", 1)
        for part, paper in ((light, "#ffffff"), (dark, "#14181d")):
            found = re.findall(r"(?:--(ink|soft|mark): |\.(ink|soft|on-bar) \{ fill: )(#\w+)", part)
            assert found
            for _, _, color in found:
                assert contrast(color, paper) >= 4.5, (sheet, color, paper)
            drawn = re.findall(r"\.(?:fitted|held|ring|budget|ideal) \{[^}]*stroke: (#\w+)", part)
            for color in drawn:
                assert contrast(color, paper) >= 3, (sheet, color, paper)


def contrast(one, other):
    lights = sorted((luminance(one), luminance(other)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_numbers_and_the_charts_do_not_need_jinja():
    script = (
        "import sys\n"
        "sys.modules['jinja2'] = None\n"
        "import edgeexit.report.gather, edgeexit.report.charts\n"
        "from edgeexit.report.page import require_jinja\n"
        "from edgeexit.errors import InputError\n"
        "try: require_jinja()\n"
        "except InputError as error: print(error.code, error.hint)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "report.dependency install it with: pip install 'edgeexit[report]'\n"
