"""The adapters' own logic, on fakes of TensorRT: they prove what we call, not an engine."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeexit.errors import TargetError
from edgeexit.targets.tensorrt import network
from edgeexit.targets.tensorrt.api import Api, TensorRt10, TensorRt11, TensorRtRtx
from edgeexit.targets.tensorrt.job import BuildJob
from edgeexit.targets.tensorrt.log import Log
from edgeexit.targets.tensorrt.timing import read_timings, write_timings

STRATEGY = SimpleNamespace(USER_MANAGED="user managed")


def fake_module(version: str, **names: object) -> SimpleNamespace:
    logger = type(
        "ILogger", (), {"Severity": SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)}
    )
    return SimpleNamespace(
        __version__=version,
        ILogger=logger,
        ExecutionContextAllocationStrategy=STRATEGY,
        DynamicShapesKernelSpecializationStrategy=SimpleNamespace(EAGER="eager"),
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
        ComputeCapability=SimpleNamespace(CURRENT="current", SM86="86", SM120="120"),
        TensorIOMode=SimpleNamespace(INPUT="in", OUTPUT="out"),
        **names,
    )


@pytest.mark.parametrize("adapter", [TensorRt10, TensorRt11])
def test_tensorrt_is_asked_for_contexts_without_memory(adapter: type[Api]) -> None:
    api = adapter(fake_module("10.3.0"))
    engine = SimpleNamespace(create_execution_context=lambda strategy: ("context", strategy))
    assert api.context(engine) == ("context", "user managed")
    assert api.measures
    assert api.network_flags() == 2


def test_tensorrt_rtx_compiles_kernels_at_the_first_call() -> None:
    config = SimpleNamespace(set_execution_context_allocation_strategy=lambda s: None)
    engine = SimpleNamespace(
        create_runtime_config=lambda: config, create_execution_context=lambda given: given
    )
    context = TensorRtRtx(fake_module("1.7.1")).context(engine)
    assert context.dynamic_shapes_kernel_specialization_strategy == "eager"


def test_no_context_is_an_error_in_the_engines_words() -> None:
    api = TensorRt10(fake_module("10.3.0"))
    api.log.add("out of memory", warning=False, error=True)
    engine = SimpleNamespace(create_execution_context=lambda strategy: None)
    with pytest.raises(TargetError, match=r"tensorrt 10\.3\.0 says: out of memory") as refused:
        api.context(engine)
    assert refused.value.code == "target.engine"


def test_newer_networks_may_have_no_flag_for_strong_types() -> None:
    module = fake_module("12.0.0")
    del module.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    assert TensorRt11(module).network_flags() == 0


def fails(*_: object) -> bool:
    raise RuntimeError("Error in set optimization profile async.")


@pytest.mark.parametrize("call", [lambda *_: False, fails])
def test_what_a_context_refuses_is_an_error(call) -> None:
    api = TensorRt10(fake_module("10.3.0"))
    context = SimpleNamespace(
        set_optimization_profile_async=call,
        set_input_shape=call,
        set_tensor_address=call,
        execute_async_v3=lambda stream: False,
    )
    with pytest.raises(TargetError, match="optimization profile 1 cannot be selected"):
        api.select_profile(context, 1, 0)
    with pytest.raises(TargetError, match=r"input 'x' cannot have the shape \(9, 3\)"):
        api.set_shape(context, "x", [9, 3])
    with pytest.raises(TargetError, match="tensor 'x' cannot lie at address 0x100"):
        api.set_address(context, "x", 256)
    with pytest.raises(TargetError, match="a stage cannot be enqueued"):
        api.enqueue(context, 0)


def test_the_tensors_of_an_engine() -> None:
    names = ["image", "logits", "state"]
    types = dict(zip(names, ["UINT8", "HALF", "FP8"], strict=True))
    engine = SimpleNamespace(
        num_io_tensors=3,
        get_tensor_name=names.__getitem__,
        get_tensor_mode=lambda name: "in" if name == "image" else "out",
        get_tensor_dtype=lambda name: SimpleNamespace(name=types[name]),
        device_memory_size_v2=1024,
    )
    api = TensorRt10(fake_module("10.3.0"))
    assert api.tensors(engine) == (
        ("image", True, "uint8"),
        ("logits", False, "float16"),
        ("state", False, "fp8"),
    )
    assert api.scratch_bytes(engine) == 1024


def test_who_can_build_for_another_gpu() -> None:
    config = SimpleNamespace(set_compute_capability=lambda *given: chosen.append(given))
    chosen: list[tuple[str, int]] = []
    rtx = TensorRtRtx(fake_module("1.7.1"))
    rtx.choose_gpu(config, "sm86")
    rtx.choose_gpu(config, None)
    assert chosen == [("86", 0), ("current", 0)]
    with pytest.raises(TargetError, match="cannot build for sm87: it knows sm120, sm86"):
        rtx.choose_gpu(config, "sm87")
    TensorRt10(fake_module("10.3.0")).choose_gpu(config, None)
    with pytest.raises(TargetError, match="it builds for the GPU at hand alone"):
        TensorRt10(fake_module("10.3.0")).choose_gpu(config, "sm87")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("Error Code 1: Cuda Runtime (out of memory)", "add swap"),
        ("[virtualMemoryBuffer] Error Code 2: OutOfMemory (Requested size was 8)", "add swap"),
        ("Error Code 9: Internal Error (no implementation for /head)", "compile the bundle again"),
    ],
)
def test_the_hint_fits_what_the_builder_says(words: str, hint: str) -> None:
    api = TensorRt10(fake_module("10.3.0"))
    api.log.add("a warning", warning=True, error=False)
    api.log.add(words, warning=False, error=True)
    error = network.refusal(api, "no plan")
    assert error.message == f"no plan. The builder's own words: {words}"
    assert hint in error.hint


class FakeConfig:
    """A builder's configuration that refuses the times it is told to."""

    def __init__(self, refused: bytes = b"-") -> None:
        self.refused = refused
        self.used: list[bytes] = []

    def create_timing_cache(self, data: bytes) -> bytes | None:
        return None if data == self.refused else data

    def set_timing_cache(self, timings: bytes, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.used.append(timings)
        return True

    def get_timing_cache(self) -> SimpleNamespace:
        return SimpleNamespace(serialize=lambda: b"measured")


def test_measured_times_are_used_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "timings" / "device.bin"
    job = BuildJob("stage.onnx", timing_cache=str(path))
    api, config = TensorRt10(fake_module("10.3.0"), Log()), FakeConfig()
    network._use_timings(api, config, job)
    network._keep_timings(api, config, job)
    network._use_timings(api, config, job)
    assert config.used == [b"", b"measured"]
    assert api.log.words == ()
    path.write_bytes(path.read_bytes()[:-1])
    network._use_timings(api, config, job)
    assert config.used[-1] == b""
    assert api.log.words == (f"the timing cache {path} is ignored: it is damaged",)


def test_times_that_the_builder_refuses_are_measured_anew(tmp_path: Path) -> None:
    path = tmp_path / "timings" / "device.bin"
    write_timings(path, b"of another GPU")
    job = BuildJob("stage.onnx", timing_cache=str(path))
    api, config = TensorRt10(fake_module("10.3.0"), Log()), FakeConfig(b"of another GPU")
    network._use_timings(api, config, job)
    assert config.used == [b""]
    assert api.log.words == (f"the builder refused {path}; measuring anew",)
    rtx = TensorRtRtx(fake_module("1.7.1"), Log())
    network._keep_timings(rtx, config, job)
    assert read_timings(path) == (b"of another GPU", "")
