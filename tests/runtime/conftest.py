from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# Test modules are imported by file (importmode=importlib); the toy bundle stands beside them.
sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")

from toy import write_bundle

from edgeexit.runtime.runtime import Runtime


@pytest.fixture(scope="session")
def toy_bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def seq_bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("seq"), name="seq")


@pytest.fixture(scope="session", params=["cpu", "x86"])
def runtime(request, toy_bundle):
    with Runtime(toy_bundle, target=request.param, threads=1) as opened:
        yield opened
