"""``edgeexit demo`` from end to end, on the real model and real data."""

from __future__ import annotations

import subprocess
import sys
from xml.etree import ElementTree

import pytest

from tests.cli.conftest import Done, clean_environment
from tests.cli.test_verbs import documented


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_keeps_its_budget_without_torch(tmp_path):
    hidden = tmp_path / "hidden" / "torch"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('the demo must not need torch')\n")
    run = subprocess.run(
        [sys.executable, "-m", "edgeexit.cli", "demo", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(
            EDGEEXIT_CACHE=str(tmp_path / "cache"),
            PYTHONPATH=str(hidden.parent),
            OMP_NUM_THREADS="2",
        ),
    )
    done = Done(run.returncode, run.stdout, run.stderr)
    assert done.code == 0, done.stderr
    assert set(done.json) == documented("demo")
    bench = done.json["bench"]
    assert bench["samples"] == 5000
    assert bench["cost"] == pytest.approx(0.5, abs=0.02)
    for row in done.json["dial"]:
        assert row["cost"] == pytest.approx(row["budget"], abs=0.02)
    accuracy = {quality["name"]: quality["accuracy"] for quality in bench["quality"]}
    assert accuracy["edgeexit"] > accuracy["static"] - 0.02
    picture = ElementTree.parse(tmp_path / done.json["picture"])
    assert picture.getroot().tag.endswith("svg")
    assert (tmp_path / done.json["bundle"] / "exits.json").is_file()
