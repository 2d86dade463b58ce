"""Building a bundle into the cache, once: with real builds by TensorRT-RTX, on a pretended GPU.

The pretence is the probe's answer and the GPU to build for. That what was built can be loaded or
run is shown by nothing here.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest

from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.cache import DeviceCache
from edgeexit.runtime.build import build_bundle, forget_plans, trust_kept_plans
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.selftest_bundle import unpack_selftest
from edgeexit.targets.base import DeviceInfo
from edgeexit.targets.device import load_device
from edgeexit.targets.registry import get_target
from edgeexit.targets.tensorrt.plans import PlanStore
from edgeexit.targets.tensorrt.target import RtxTarget, _Found

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="TensorRT-RTX is not installed: pip install 'edgeexit[rtx]'",
)

PRETENDED = DeviceInfo("tensorrt_rtx", "a pretended GPU", 1, ("sm86",))


class Sm86Store(PlanStore):
    """Builds for SM86 in place of the GPU at hand."""

    def plan(self, job, report=None, useless=""):
        return super().plan(replace(job, compute_capability="sm86"), report, useless)


class PretendedTarget(RtxTarget):
    """The real target on a GPU that is not there."""

    def _look(self):
        return _Found(PRETENDED, {"gpu": PRETENDED.processor})

    def _store(self, options):
        return Sm86Store(options.cache, "tensorrt_rtx", {"gpu": PRETENDED.processor})


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))
    return Bundle.open(unpack_selftest(tmp_path / "b.eex"))


@pytest.fixture
def machine(bundle):
    cache = DeviceCache(bundle.digest, PRETENDED.fingerprint)
    device = load_device("rtx")
    ranges = bundle.recipe().sizes()
    return Machine(device, PretendedTarget(), PRETENDED, "int8", cache, ranges)


def plans(machine):
    return sorted(file.name for file in machine.cache.folder.glob("plan-*.plan"))


def test_what_was_built_is_kept_and_not_built_again(bundle, machine):
    told = []
    report = build_bundle(bundle, machine, lambda step, share: told.append((step, share)))
    assert [graph.graph for graph in report.graphs] == ["stage 1", "stage 2"]
    assert [graph.built.cached for graph in report.graphs] == [False, False]
    assert [graph.missing for graph in report.graphs] == [(), ()]
    assert report.agrees
    # A plan a stage, and the one that gathers rows.
    assert len(plans(machine)) == 3
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert (told[0], shares[-1]) == (("stage 1", 0.0), 1.0)

    again = build_bundle(bundle, machine)
    assert [graph.built.cached for graph in again.graphs] == [True, True]
    assert [graph.built.size for graph in again.graphs] == [
        graph.built.size for graph in report.graphs
    ]
    assert [graph.expected for graph in again.graphs] == [("conv_1", "conv_2"), ("conv_3",)]
    assert again.graphs[0].told
    assert again.agrees


def test_everything_means_the_graphs_of_bench_too(bundle, machine):
    report = build_bundle(bundle, machine, everything=True)
    assert [graph.graph for graph in report.graphs] == ["stage 1", "stage 2", "static", "whole"]
    assert len(plans(machine)) == 5


def test_plans_are_forgotten_but_not_what_was_measured(bundle, machine):
    machine.cache.write_json("profile", {"ms": 1})
    machine.cache.write_json("golden", {"exit_1": 0.0})
    build_bundle(bundle, machine)
    forget_plans(machine.cache)
    assert plans(machine) == []
    assert machine.cache.read_json("profile") == {"ms": 1}
    assert machine.cache.read_json("golden") is None
    report = build_bundle(bundle, machine)
    assert [graph.built.cached for graph in report.graphs] == [False, False]


def test_plans_of_an_equal_machine_are_taken_over_when_told_to(bundle, machine):
    build_bundle(bundle, machine)
    assert trust_kept_plans(machine.cache) == 0
    for file in machine.cache.folder.glob("plan-*.json"):
        record = machine.cache.read_json(file.stem)
        machine.cache.write_json(file.stem, {**record, "machine": "another"})
    assert trust_kept_plans(machine.cache) == 3
    report = build_bundle(bundle, machine)
    assert [graph.built.cached for graph in report.graphs] == [True, True]


def test_nothing_is_built_for_a_processor(bundle):
    report = build_bundle(bundle, Machine.of(bundle, "cpu"))
    assert (report.graphs, report.agrees) == ((), True)
    assert not get_target("onnxruntime").builds_on_device


def test_nothing_to_forget_or_to_trust(machine):
    forget_plans(machine.cache)
    assert trust_kept_plans(machine.cache) == 0
