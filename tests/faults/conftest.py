"""What the fault tests share: the toy bundle, and the command line with what it has made."""

from __future__ import annotations

import os

import pytest

from edgeexit.runtime.runtime import Runtime
from tests.cli.conftest import edgeexit, made, work  # noqa: F401  # fixtures
from tests.runtime.toy import write_bundle

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def toy_bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session", params=["cpu", "x86"], ids=["onnxruntime", "openvino"])
def runtime(request, toy_bundle):
    with Runtime(toy_bundle, target=request.param, threads=1) as opened:
        yield opened
