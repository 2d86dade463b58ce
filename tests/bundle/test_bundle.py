"""A bundle comes back as it was written, and its exit family is checked against it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from edgeexit.budget import Budget
from edgeexit.bundle import Bundle, BundleWriter, CostTable
from edgeexit.bundle.codec import encode
from edgeexit.bundle.manifest import manifest_bytes, parse_manifest
from edgeexit.errors import BundleError
from tests.bundle.fake_bundle import (
    CLASSES,
    fake_family,
    fake_golden,
    fake_manifest,
    fill,
    sealed_paths,
    write_fake,
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    written = write_fake(tmp_path / "m.eex")
    bundle = Bundle.open(tmp_path / "m.eex")
    assert bundle.digest == written.digest
    assert bundle.manifest == written.manifest
    assert dataclasses.replace(bundle.manifest, files=()) == fake_manifest()
    paths = [entry.path for entry in bundle.manifest.files]
    assert paths == sorted(set(sealed_paths(bundle.folder)) - {"manifest.json"})
    assert bundle.classes == CLASSES
    assert bundle.file("graphs/stage-1.onnx") == bundle.folder / "graphs/stage-1.onnx"
    assert repr(bundle).endswith(f"m.eex': fake, 3 exits, int8, {bundle.digest[:12]}>")
    assert bundle.parity() == {"staged": {"flips": 0, "difference": 0.0}}
    assert Bundle.open(bundle) is bundle


def test_golden_arrays_are_equal_bit_for_bit(tmp_path: Path) -> None:
    golden, expected = write_fake(tmp_path / "m.eex", seed=3).golden(), fake_golden(3)
    np.testing.assert_array_equal(golden.inputs["image"], expected.inputs["image"], strict=True)
    assert list(golden.outputs) == ["exit_1", "exit_2", "exit_3"]
    for name, tensors in expected.outputs.items():
        for tensor, array in tensors.items():
            np.testing.assert_array_equal(golden.outputs[name][tensor], array, strict=True)


def test_two_writes_of_the_same_bundle_are_equal_byte_for_byte(tmp_path: Path) -> None:
    one, two = write_fake(tmp_path / "1.eex"), write_fake(tmp_path / "2.eex")
    assert one.digest == two.digest
    for path in sealed_paths(one.folder):
        assert (one.folder / path).read_bytes() == (two.folder / path).read_bytes()


def test_the_digest_is_that_of_the_lines_between_the_first_and_the_last(tmp_path: Path) -> None:
    bundle = write_fake(tmp_path / "m.eex")
    text = (bundle.folder / "manifest.json").read_bytes()
    body = b"".join(text.splitlines(keepends=True)[1:-1])
    assert hashlib.sha256(body).hexdigest() == bundle.digest == json.loads(text)["digest"]
    assert json.loads(text)["manifest"] == encode(bundle.manifest)


def test_flops_costs_survive(tmp_path: Path) -> None:
    manifest, _ = parse_manifest(manifest_bytes(write_fake(tmp_path / "m.eex").manifest)[0])
    assert manifest.flops_costs == pytest.approx((1090 / 6000, 3180 / 6000, 6180 / 6000))


def test_a_file_outside_the_seal_is_not_given_out(tmp_path: Path) -> None:
    bundle = write_fake(tmp_path / "m.eex")
    for path in ("exits.json", "../m.eex/README.md", "graphs", "manifest.json"):
        with pytest.raises(BundleError, match="is not in the manifest"):
            bundle.file(path)


def test_missing_and_mistaken_paths(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist") as missing:
        Bundle.open(tmp_path / "no.eex")
    assert missing.value.code == "bundle.missing"
    (tmp_path / "file.eex").write_text("x")
    with pytest.raises(BundleError, match="is a file; a bundle is a folder"):
        Bundle.open(tmp_path / "file.eex")
    (tmp_path / "empty.eex").mkdir()
    with pytest.raises(BundleError, match=r"manifest\.json: is missing"):
        Bundle.open(tmp_path / "empty.eex")


def test_a_newer_format_asks_for_an_upgrade(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "m.eex") as writer:
        fill(writer)
        with pytest.raises(BundleError, match="format version 2; this edgeexit reads 1") as error:
            writer.seal(dataclasses.replace(fake_manifest(), schema=2))
    assert error.value.code == "bundle.schema-newer"
    assert "upgrade edgeexit" in error.value.hint
    assert [path.name for path in tmp_path.iterdir()] == [".m.eex.lock"]


def test_golden_that_does_not_fit_the_manifest(tmp_path: Path) -> None:
    golden = fake_golden()
    with BundleWriter(tmp_path / "m.eex") as writer:
        fill(writer)
        writer.add_golden(dataclasses.replace(golden, inputs={}))
        bundle = writer.seal(fake_manifest())
    with pytest.raises(BundleError, match="has no array 'input/image'"):
        bundle.golden()


def test_exits_round_trip_and_bind_to_the_bundle(tmp_path: Path) -> None:
    bundle = write_fake(tmp_path / "m.eex")
    assert bundle.exits() is None
    family = fake_family(bundle)
    assert bundle.write_exits(family) == bundle.folder / "exits.json"
    read = Bundle.open(bundle.folder).exits()
    assert read is not None
    assert encode(read) == encode(family)
    assert read.thresholds.dtype == np.float64
    other = write_fake(tmp_path / "other.eex", seed=1)
    other_exits = other.folder / "exits.json"
    other_exits.write_bytes((bundle.folder / "exits.json").read_bytes())
    with pytest.raises(BundleError, match="calibrated for another bundle") as error:
        other.exits()
    assert error.value.code == "exits.other-bundle"
    with pytest.raises(BundleError, match="calibrated for another bundle"):
        other.write_exits(family)


def test_exits_of_another_gate_are_refused(tmp_path: Path) -> None:
    bundle = write_fake(tmp_path / "m.eex")
    for changes in (
        {"gate": "patience"},
        {"gate_version": 2},
        {"params": ((1.0, 1.0, 1.0), (1.0, 1.0))},
    ):
        with pytest.raises(BundleError, match="its gate, version and parameter counts"):
            bundle.write_exits(fake_family(bundle, **changes))


def test_exits_elsewhere_leave_the_bundle_alone(tmp_path: Path) -> None:
    bundle = write_fake(tmp_path / "m.eex")
    place = tmp_path / "mine.json"
    assert bundle.write_exits(fake_family(bundle), place) == place
    assert bundle.exits() is None
    read = bundle.exits(place)
    assert read is not None
    assert read.samples == 1000
    with pytest.raises(BundleError, match=r"no\.json: is missing"):
        bundle.exits(tmp_path / "no.json")


def test_a_leftover_of_a_killed_exits_write_is_ignored(tmp_path: Path) -> None:
    bundle = write_fake(tmp_path / "m.eex")
    leftover = bundle.folder / ".edgeexit-0123456789abcdef.tmp"
    leftover.write_text("half")
    assert Bundle.open(bundle.folder).digest == bundle.digest
    os.utime(leftover, (0, 0))
    bundle.write_exits(fake_family(bundle))
    assert not leftover.exists()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"thresholds": np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 1.0]])}, "must not fall"),
        ({"thresholds": np.array([[0.0], [0.5], [1.0]])}, "must have shape"),
        ({"thresholds": np.array([[0.0, 0.0], [1.0, 1.0], [1.0, np.inf]])}, "finite"),
        ({"thresholds": np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 1e39]])}, "fit in float32"),
        ({"thresholds": np.zeros((0, 2))}, "both must be >= 1"),
        ({"shares": np.full((3, 3), 0.5)}, "add up to 1"),
        ({"quality": np.array([0.1, np.nan, 0.2])}, "finite"),
        ({"params": ((1.0,),)}, "must have 2 vectors"),
        ({"params": ((1.0,), (np.inf,))}, "finite"),
        ({"samples": 0}, "at least 1"),
        ({"budget": Budget(-0.5)}, "must be positive, is -0.5"),
        ({"costs": {}}, "at least one table"),
        ({"costs": {"latency": CostTable("flops", (1.0, 2.0, 3.0), 3.0)}}, "table of kind flops"),
        ({"costs": {"flops": CostTable("flops", (1.0, 2.0), 3.0)}}, "must have 3 costs"),
        ({"costs": {"flops": CostTable("flops", (0.0, 1.0, 2.0), 2.0)}}, "positive"),
    ],
)
def test_a_family_that_contradicts_itself_is_refused(
    tmp_path: Path, changes: dict[str, object], fault: str
) -> None:
    bundle = write_fake(tmp_path / "m.eex")
    with pytest.raises(BundleError, match=fault) as error:
        fake_family(bundle, **changes)
    assert error.value.code == "exits.invalid"
