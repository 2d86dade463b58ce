"""The targets tensorrt and rtx: what they find, refuse, build and keep. No GPU is used."""

from __future__ import annotations

import gc
import sys
import types

import pytest

pytest.importorskip("onnxruntime")
from fake_cuda import FakeCuda
from fake_target import FakeTarget

from edgeexit.bundle.cache import DeviceCache
from edgeexit.errors import InputError, TargetError
from edgeexit.targets.base import DeviceInfo, EngineOptions, Unavailable
from edgeexit.targets.cuda.probe import CudaProbe
from edgeexit.targets.cuda.runtime import CudaDevice
from edgeexit.targets.jetson import Jetson
from edgeexit.targets.registry import get_target, target_names
from edgeexit.targets.tensorrt import target as module
from edgeexit.targets.tensorrt.job import GATHER
from edgeexit.targets.tensorrt.target import RtxTarget, TensorRtTarget, build_job, describe
from tests.conformance.graphs import save_stages

ORIN = CudaDevice("Orin", (8, 7), 1 << 33, True, "GPU-0")
FOUND = CudaProbe("libcudart.so.12", "12.6", "12.6", 1, ORIN)
RANGES = {"batch": (1, 4, 8)}


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return save_stages(tmp_path_factory.mktemp("graphs"))[1][0]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))
    return DeviceCache("0" * 64, "a device")


def probe_with(monkeypatch, target, loaded, cuda):
    """Probe with the given answers; returns what was found and who was asked, in order."""
    asked = []

    def answer(name, value):
        return lambda *_: (asked.append(name), value)[1]

    monkeypatch.setattr(module, "load_module", answer("module", loaded))
    monkeypatch.setattr(module, "probe_cuda", answer("cuda", cuda))
    return target.probe(), asked


def fake_module(version="10.3.0", **names):
    return types.SimpleNamespace(__name__="tensorrt", __version__=version, **names)


def test_both_are_registered():
    assert {"tensorrt", "rtx"} <= set(target_names())
    assert type(get_target("tensorrt")) is TensorRtTarget
    assert type(get_target("rtx")) is RtxTarget
    for name in ("tensorrt", "rtx"):
        assert get_target(name).builds_on_device
        assert get_target(name).precisions == ("f32", "fp16", "int8")


def test_here_each_says_why_not_and_does_not_crash():
    """On a machine with a GPU it says what it found; either way the process lives."""
    for name in ("tensorrt", "rtx"):
        found = get_target(name).probe()
        if isinstance(found, Unavailable):
            assert found.reason.startswith(f"target {name!r}: ")
            assert found.hint
        else:
            assert found.threads == 1


def test_the_module_is_asked_first_then_cuda(monkeypatch):
    missing = Unavailable("the module tensorrt is not installed.", "install it.")
    found, asked = probe_with(monkeypatch, TensorRtTarget(), missing, FOUND)
    assert found == Unavailable(f"target 'tensorrt': {missing.reason}", "install it.")
    assert asked == ["module"]
    no_gpu = Unavailable("CUDA finds no GPU.", "plug one in.")
    found, asked = probe_with(monkeypatch, TensorRtTarget(), fake_module(), no_gpu)
    assert found == Unavailable("target 'tensorrt': CUDA finds no GPU.", "plug one in.")
    assert asked == ["module", "cuda"]


def test_without_a_gpu_nothing_of_the_module_is_called(monkeypatch, graph):
    class Bomb:
        __name__, __version__ = "tensorrt", "10.3.0"

        def __getattr__(self, name):
            raise AssertionError(f"tensorrt.{name} was touched without a GPU")

    target = TensorRtTarget()
    found, _ = probe_with(monkeypatch, target, Bomb(), Unavailable("no GPU.", "buy one."))
    assert isinstance(found, Unavailable)
    with pytest.raises(TargetError, match="no GPU") as caught:
        target.open(graph.file, graph.inputs, graph.outputs, EngineOptions())
    assert caught.value.code == "target.unavailable"
    with pytest.raises(TargetError, match="no GPU"):
        target.build(graph.file, graph.inputs, graph.outputs, EngineOptions())


def test_what_is_found_is_in_the_fingerprint_and_asked_once(monkeypatch):
    board = Jetson("Orin Nano Kit", "36.4.0", "6.1", None, None, (), ())
    monkeypatch.setattr(module, "read_jetson", lambda nvpmodel: board)
    target = TensorRtTarget()
    found, asked = probe_with(monkeypatch, target, fake_module(), FOUND)
    assert found.fingerprint == (
        "tensorrt 10.3.0 | Orin | 1 threads | sm87 | cuda 12.6 | driver 12.6 | Orin Nano Kit | "
        "l4t 36.4.0"
    )
    assert target.probe(threads=4) == found
    assert asked == ["module", "cuda"]


def test_a_pc_has_no_board(monkeypatch):
    monkeypatch.setattr(module, "read_jetson", lambda nvpmodel: None)
    found = describe("tensorrt", "11.0.0", FOUND)
    assert found.info == DeviceInfo(
        "tensorrt 11.0.0", "Orin", 1, ("sm87", "cuda 12.6", "driver 12.6")
    )
    assert found.environment == {
        "engine": "tensorrt 11.0.0",
        "gpu": "Orin",
        "capability": "sm87",
        "cuda": "12.6",
        "driver": "12.6",
    }


def test_rtx_says_which_gpus_it_serves(monkeypatch):
    capabilities = types.SimpleNamespace(NONE=0, SM86=1, SM120=2)
    rtx = fake_module("1.7.1", ComputeCapability=capabilities)
    found, _ = probe_with(monkeypatch, RtxTarget(), rtx, FOUND)
    assert "does not serve this GPU, Orin (SM87): it serves SM120, SM86" in found.reason
    capabilities.SM87 = 3
    found, _ = probe_with(monkeypatch, RtxTarget(), rtx, FOUND)
    assert isinstance(found, DeviceInfo)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (EngineOptions("bf16"), "target.precision", "no precision 'bf16': it has f32, fp16, int8"),
        (EngineOptions("int8", int8_compute="bf16"), "target.precision", "not compute in bf16"),
        (EngineOptions(settings={"cuda_graphs": 1}), "target.setting", "a bool is right"),
        (EngineOptions(settings={"optimization_level": 6}), "target.setting", "0 to 5 is right"),
        (EngineOptions(settings={"workspace": 0}), "target.setting", "positive number of bytes"),
    ],
)
def test_wrong_options(graph, options, code, words):
    target = FakeTarget()
    for use in (target.open, target.build):
        with pytest.raises(TargetError, match=words) as caught:
            use(graph.file, graph.inputs, graph.outputs, options)
        assert caught.value.code == code


def test_settings_reach_the_build(graph):
    settings = {"optimization_level": 5, "workspace": 1 << 20, "tf32": True}
    job = build_job(graph.file, graph.inputs, graph.outputs, EngineOptions(settings=settings))
    assert (job.optimization_level, job.workspace, job.tf32) == (5, 1 << 20, True)
    plain = build_job(graph.file, graph.inputs, graph.outputs, EngineOptions())
    assert (plain.optimization_level, plain.workspace, plain.tf32) == (None, None, False)


def test_building_comes_before_opening_and_only_once(graph, cache):
    target = FakeTarget()
    options = EngineOptions(ranges=RANGES, cache=cache)
    first = target.build(graph.file, graph.inputs, graph.outputs, options)
    again = target.build(graph.file, graph.inputs, graph.outputs, options)
    assert (first.built, first.cached, again.cached) == (True, False, True)
    assert len(target.kept) == 2  # the stage's and the gather engine's
    engine = target.open(graph.file, graph.inputs, graph.outputs, options)
    assert len(target.kept) == 2
    assert engine.operations() == (("gemm", "int8"),)


def test_what_a_batch_will_need_is_built_too_and_may_fail(graph, cache):
    for refused, kept in ((False, 2), (True, 1)):
        target = FakeTarget()
        build = target.api.build

        def checked(job, report, build=build, refused=refused):
            if refused and job.model == GATHER:
                raise TargetError("no gather here.", hint="", code="target.build")
            return build(job, report)

        target.api.build = checked
        options = EngineOptions(ranges=RANGES, cache=cache)
        assert target.build(graph.file, graph.inputs, graph.outputs, options).built
        target.open(graph.file, graph.inputs, graph.outputs, options).runner({"batch": 3}).run()
        assert len(target.kept) == kept


def test_a_plan_that_does_not_load_is_built_again_once(graph, cache):
    target = FakeTarget()
    options = EngineOptions(ranges=RANGES, cache=cache)
    target.build(graph.file, graph.inputs, graph.outputs, options)
    builds = []
    build = target.api.build
    target.api.build = lambda job, report: (builds.append(job.model), build(job, report))[1]
    target.api.unfit = 1
    engine = target.open(graph.file, graph.inputs, graph.outputs, options)
    assert builds == [str(graph.file)]
    engine.runner({"batch": 2}).run()
    engine.close()
    del engine
    gc.collect()
    target.api.unfit = 2
    with pytest.raises(TargetError, match="does not load") as caught:
        target.open(graph.file, graph.inputs, graph.outputs, options)
    assert caught.value.code == "target.plan-load"
    assert len(builds) == 2


def test_a_dimension_that_is_malformed_is_an_input_error(graph):
    bad = [*graph.inputs[:1], *graph.inputs[1:]]
    bad[0] = type(bad[0])(bad[0].name, "float32", ("batch+", 8, 32))
    with pytest.raises(InputError, match="batch"):
        FakeTarget().open(graph.file, bad, graph.outputs, EngineOptions())


def test_cuda_that_fails_when_a_session_begins_is_an_error(graph):
    target = FakeTarget()
    target.cuda = FakeCuda()
    target.cuda.refuse.add("stream_create")
    with pytest.raises(TargetError, match="refuses stream_create") as caught:
        target.open(graph.file, graph.inputs, graph.outputs, EngineOptions())
    assert caught.value.code == "target.cuda"


def test_the_device_side_needs_neither_torch_nor_onnx():
    names = [name for name in sys.modules if name.startswith("edgeexit.targets.tensorrt")]
    assert "edgeexit.targets.tensorrt.target" in names
    for name in names:
        held = vars(sys.modules[name]).values()
        roots = {type(v) is types.ModuleType and v.__name__.partition(".")[0] for v in held}
        assert roots.isdisjoint({"torch", "onnx", "cupy", "tensorrt", "tensorrt_rtx"}), name
