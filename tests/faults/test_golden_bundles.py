"""Bundles that older releases wrote: they load and answer as then, or say what to do.

``golden/`` holds one bundle a format, as the release that first wrote that format left it. They
are never written anew: a change of the code that cannot read one is a change of the format.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.jsonfile import seal_json
from edgeexit.bundle.manifest import SCHEMA
from edgeexit.calibrate.calibrate import calibrate_exits
from edgeexit.errors import BundleError
from edgeexit.runtime.runtime import Runtime
from tests.cli.conftest import contents

GOLDEN = sorted((Path(__file__).parent / "golden").iterdir())


@pytest.fixture(params=GOLDEN, ids=lambda path: path.name)
def old(request, tmp_path):
    """A copy: a runtime may keep a lock or a cache beside a bundle."""
    return Path(shutil.copytree(request.param, tmp_path / "old.eex"))


def test_there_is_one_for_every_format():
    assert [path.name for path in GOLDEN] == [f"schema-{n}" for n in range(1, SCHEMA + 1)]
    for path in GOLDEN:
        assert sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) < 100_000


@pytest.mark.parametrize("device", ["cpu", "x86"])
def test_it_answers_as_when_it_was_written(old, device):
    before = contents(old)
    bundle = Bundle.open(old)
    golden = bundle.golden()
    with Runtime(bundle, target=device, threads=1) as runtime:
        assert str(runtime.budget) == "0.7"
        found = runtime.all_exits(dict(golden.inputs))
        for stage, logits in zip(bundle.manifest.stages, found.logits, strict=True):
            (wanted,) = golden.outputs[stage.exit.name].values()
            np.testing.assert_allclose(logits, wanted, rtol=1e-3, atol=1e-4)
        x = np.random.default_rng(4).normal(size=(400, 8)).astype(np.float32)
        for budget in (0.7, 0.5, 0.9):
            runtime.budget = budget
            assert runtime(x).cost <= budget + 0.06
    assert contents(old) == before


def test_its_exits_are_read_whole(old):
    exits = Bundle.open(old).exits()
    assert (exits.policy, exits.samples, exits.quality_kind) == ("gain-soft", 800, "accuracy")
    assert exits.certificate.confidence == 0.95
    assert len(exits.certificate.budgets) == 3
    assert exits.certificate.unit == "sample"


def test_it_is_calibrated_anew(old, made):
    data = dict(np.load(made / "data.npz"))
    calibrate_exits(old, data, 0.6)
    assert Bundle.open(old).exits().budget.value == 0.6


def test_a_newer_format_is_refused_with_what_to_do(old):
    body = json.loads((old / "manifest.json").read_text())["manifest"]
    body["schema"] = SCHEMA + 1
    body["what later versions know"] = 1
    (old / "manifest.json").write_bytes(seal_json("manifest", body, indent=1)[0])
    with pytest.raises(BundleError) as caught:
        Bundle.open(old)
    assert caught.value.code == "bundle.schema-newer"
    assert caught.value.message == (
        f"manifest.json: the bundle has format version {SCHEMA + 1}; this edgeexit reads {SCHEMA}."
    )
    assert caught.value.hint == ("upgrade edgeexit, or compile the bundle again with this version.")


def test_newer_exits_are_refused_by_name(old):
    body = json.loads((old / "exits.json").read_text())["exits"]
    body["what later versions know"] = 1
    (old / "exits.json").write_bytes(seal_json("exits", body)[0])
    with pytest.raises(BundleError, match="what later versions know") as caught:
        Bundle.open(old).exits()
    assert "make it again with edgeexit" in caught.value.hint
