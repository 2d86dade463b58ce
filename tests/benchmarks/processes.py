"""Short Python programs in fresh processes, which print one JSON value."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.benchmarks.folders import ROOT


def ask(program: str, *arguments: str) -> Any:
    """Run ``program`` in a new interpreter and return what it prints, read as JSON.

    Raises:
        RuntimeError: It failed.
    """
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"a measured program failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])
