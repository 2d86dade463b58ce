"""What is checked when a bundle is opened whose engines were built on the device.

ONNX Runtime answers; that it "builds on the device", and what it built, is pretended.
"""

from __future__ import annotations

import logging

import pytest

pytest.importorskip("onnxruntime")

from edgeexit.bundle.bundle import Bundle
from edgeexit.runtime import golden
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.runtime import Runtime
from edgeexit.runtime.selftest_bundle import unpack_selftest
from edgeexit.targets.onnxruntime.target import OnnxRuntimeTarget

LAYERS = [["conv_1", "conv", "int8"], ["conv_2", "conv", "int8"]]


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(OnnxRuntimeTarget, "builds_on_device", True)
    return Bundle.open(unpack_selftest(tmp_path / "b.eex"))


@pytest.fixture
def checks(monkeypatch):
    """How often golden outputs were compared: one entry each."""
    found, check = [], golden.check_golden
    monkeypatch.setattr(golden, "check_golden", lambda runtime: found.append(1) or check(runtime))
    return found


def keep(bundle, sha256, layers=LAYERS):
    """Note a plan of stage 1 in the cache."""
    record = {"model": "graphs/stage-1.onnx", "sha256": sha256, "layers": layers}
    Machine.of(bundle, "cpu").cache.write_json("plan-stage-1-0", record)


def load(bundle):
    Runtime(bundle, target="cpu", exits=False).close()


def test_answers_are_checked_once_and_again_when_an_engine_was_built_anew(bundle, checks):
    keep(bundle, "a")
    load(bundle)
    load(bundle)
    assert len(checks) == 1
    keep(bundle, "b")
    load(bundle)
    load(bundle)
    assert len(checks) == 2


def test_layers_that_do_not_compute_in_int8_are_a_warning(bundle, caplog):
    with caplog.at_level(logging.WARNING):
        keep(bundle, "a")
        load(bundle)
        assert caplog.messages == []
        keep(bundle, "b", [LAYERS[0], ["conv_2", "conv", "fp16"]])
        load(bundle)
        load(bundle)
    assert caplog.messages == [
        "graphs/stage-1.onnx: 1 layers were to compute in int8 and do not, conv_2 first; "
        "`edgeexit build` shows all"
    ]


def test_nothing_is_checked_where_engines_compile_when_they_open(bundle, checks, monkeypatch):
    monkeypatch.setattr(OnnxRuntimeTarget, "builds_on_device", False)
    load(bundle)
    assert checks == []
