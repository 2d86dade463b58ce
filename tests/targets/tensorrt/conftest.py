from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conformance.graphs import save_stages

# Test modules are imported by file (importmode=importlib); the fakes stand beside them, and the
# runtime's toy bundle beside its tests.
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "runtime"))


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """The conformance suite's graph, whole and in stages, on disk."""
    return save_stages(tmp_path_factory.mktemp("graphs"))
