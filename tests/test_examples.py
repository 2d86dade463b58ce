"""Examples 02 and 03 run as written; 01 and 04, which tune, have files of their own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.walk import EXAMPLES, commands, run


def test_every_example_has_a_readme_and_a_test():
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    for folder in EXAMPLES.iterdir():
        assert (folder / "README.md").is_file(), folder.name
        assert f'"{folder.name}"' in tests, folder.name


@pytest.mark.slow
def test_run_in_an_app(tmp_path: Path) -> None:
    out = run(["python", str(EXAMPLES / "02_run_in_an_app" / "app.py")], tmp_path)
    costs = [float(cost) for cost in re.findall(r"cost ([0-9.]+)", out)]
    assert len(costs) == 3
    assert costs == pytest.approx([0.7, 0.5, 0.3], abs=0.03)
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert len(events) >= 200


@pytest.mark.slow
def test_your_own_model(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder = EXAMPLES / "03_your_own_model"
    lines = commands(folder)
    assert [command.split()[1] for command in lines] == ["compile", "calibrate", "bench"]
    for command in lines[:-1]:
        run(command, tmp_path, folder)
    report = json.loads(run(f"{lines[-1]} --json", tmp_path, folder))
    assert 0.5 < report["cost"] < 0.7, report
