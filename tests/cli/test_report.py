"""``edgeexit report`` as a process: the file it writes, its answer, and what it refuses."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tests.cli.test_bad_input import BUDGET, BUNDLE, INPUT, RESOURCE, TARGET
from tests.cli.test_verbs import run_json


def test_the_answer_holds_the_numbers_behind_the_page(edgeexit, work):
    answer = run_json(edgeexit, "report", "model.eex", "--data", "data.npz", "-o", "a.html")
    assert answer["page"] == "a.html"
    assert answer["point"]["place"]["cost"] == pytest.approx(0.7, abs=0.02)
    assert answer["data"]["calibration_set"]
    page = (work / "a.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert answer["verdict"]["sentence"] in page
    assert f"{100 * answer['point']['place']['quality']:.1f} %" in page


def test_without_data_it_reports_what_is_stored(edgeexit, work):
    answer = run_json(edgeexit, "report", "model.eex")
    assert (answer["data"], answer["flow"], answer["reliability"]) == (None, [], [])
    done = edgeexit("report", "model.eex", "-q")
    assert done.code == 0
    assert done.stdout.splitlines()[:2] == [answer["verdict"]["sentence"], "page: report.html"]
    assert (work / "report.html").stat().st_size > 10_000


def test_another_file_of_exits_and_another_budget(edgeexit, work):
    shutil.move(work / "model.eex" / "exits.json", work / "kept.json")
    assert run_json(edgeexit, "report", "model.eex")["verdict"]["choice"] == "calibrate"
    words = ("model.eex", "--exits-file", "kept.json", "--budget", "1.0")
    answer = run_json(edgeexit, "report", *words)
    assert answer["model"]["budget"] == "1"
    assert answer["point"]["place"]["cost"] == pytest.approx(1.0, abs=0.01)


class TestRefusals:
    @pytest.fixture(autouse=True)
    def _no_page(self, work):
        (work / "report.html").write_text("the old page")
        yield
        assert (work / "report.html").read_text() == "the old page"
        assert not list(work.glob(".edgeexit-*"))

    def test_a_missing_bundle(self, edgeexit):
        edgeexit("report", "nothing.eex").failed(BUNDLE, "nothing.eex", "does not exist")

    def test_missing_data(self, edgeexit):
        edgeexit("report", "model.eex", "--data", "no.npz").failed(INPUT, "no.npz")

    def test_data_of_another_model(self, edgeexit, work):
        np.savez(work / "other.npz", x=np.zeros((60, 5), np.float32))
        edgeexit("report", "model.eex", "--data", "other.npz").failed(INPUT, "(60, 5)")

    def test_a_label_that_is_no_class(self, edgeexit, work):
        np.savez(work / "other.npz", x=np.zeros((60, 8), np.float32), y=np.full(60, 9))
        edgeexit("report", "model.eex", "--data", "other.npz").failed(INPUT, "label 9", "0 to 3")

    def test_a_budget_out_of_reach(self, edgeexit):
        edgeexit("report", "model.eex", "--budget", "0.01").failed(BUDGET, "0.01", "outside")

    def test_a_budget_that_was_not_calibrated(self, edgeexit):
        edgeexit("report", "model.eex", "--budget", "8ms").failed(BUDGET, "latency")

    def test_an_unknown_device(self, edgeexit):
        edgeexit("report", "model.eex", "--target", "abacus").failed(TARGET, "abacus")

    def test_damaged_exits(self, edgeexit, work):
        (work / "model.eex" / "exits.json").write_text("{}")
        edgeexit("report", "model.eex").failed(BUNDLE, "exits.json")

    def test_a_folder_that_is_not_there(self, edgeexit):
        edgeexit("report", "model.eex", "-o", "no/where.html").failed(RESOURCE, "where.html")

    def test_no_jinja(self, edgeexit, work):
        (work / "jinja2.py").write_text("raise ImportError('hidden')\n")
        done = edgeexit("report", "model.eex", PYTHONPATH=str(work))
        done.failed(INPUT, "jinja2", "edgeexit[report]")
