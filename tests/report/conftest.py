from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from edgeexit.calibrate.calibrate import calibrate_exits
from edgeexit.compiler import compile_model
from edgeexit.report.gather import gather_report
from tests.cli.models import write_data, write_model

CLASSES = ("<script>alert(1)</script>", "two\u202e", "a\x07\ud800", "x" * 300)
BUDGET = 0.7


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A bundle whose classes have hostile names, its calibration set and a test set."""
    folder = tmp_path_factory.mktemp("report")
    model = write_model(folder / "model.onnx")
    write_data(folder / "calibration.npz", model)
    write_data(folder / "test.npz", model, seed=2)
    bundle = compile_model(model, folder / "model.eex", target="cpu", precision="f32")
    return SimpleNamespace(
        folder=folder, bundle=bundle, test=folder / "test.npz", data=folder / "calibration.npz"
    )


@pytest.fixture(scope="session")
def calibrated(made):
    calibrate_exits(made.bundle, made.data, BUDGET, output=made.folder / "exits.json")
    return SimpleNamespace(**vars(made), exits=made.folder / "exits.json")


@pytest.fixture(scope="session")
def arrays(made):
    return dict(np.load(made.test))


@pytest.fixture(scope="session")
def full(calibrated):
    """The report of the test set."""
    return gather_report(calibrated.bundle, calibrated.test, exits=calibrated.exits)


@pytest.fixture(scope="session")
def bare(calibrated):
    """The report of what is stored."""
    return gather_report(calibrated.bundle, exits=calibrated.exits)
