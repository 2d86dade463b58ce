from __future__ import annotations

import os
import shutil

import pytest

from tests.calibrate.network import write_network

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """The compiled random-feature classifiers, not calibrated; leave it so."""
    import edgeexit

    folder = tmp_path_factory.mktemp("calibrate")
    model = write_network(folder / "clusters.onnx")
    return edgeexit.compile_model(model, folder / "clusters.eex", target="cpu").folder


@pytest.fixture
def bundle(compiled, tmp_path):
    """A copy of the compiled bundle, to calibrate."""
    return shutil.copytree(compiled, tmp_path / "clusters.eex")
