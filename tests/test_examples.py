"""Every example runs as written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


def run(command: list[str], folder: Path, *paths: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *paths)))}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_run_in_an_app(tmp_path: Path) -> None:
    out = run([sys.executable, str(EXAMPLES / "02_run_in_an_app" / "app.py")], tmp_path)
    costs = [float(cost) for cost in re.findall(r"cost ([0-9.]+)", out)]
    assert len(costs) == 3
    assert costs == pytest.approx([0.7, 0.5, 0.3], abs=0.03)
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert len(events) >= 200


@pytest.mark.slow
def test_your_own_model(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder = EXAMPLES / "03_your_own_model"
    commands = re.findall(r"^    (edgeexit .*)$", (folder / "README.md").read_text(), re.MULTILINE)
    assert [command.split()[1] for command in commands] == ["compile", "calibrate", "bench"]
    for command in commands[:-1]:
        run([sys.executable, "-m", "edgeexit.cli", *command.split()[1:]], tmp_path, folder)
    out = run(
        [sys.executable, "-m", "edgeexit.cli", *commands[-1].split()[1:], "--json"],
        tmp_path,
        folder,
    )
    report = json.loads(out)
    assert 0.5 < report["cost"] < 0.7, report
