"""Plans built for SM86 by TensorRT-RTX in a child process, and how that process may end."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import psutil
import pytest

from edgeexit.bundle.specs import TensorSpec
from edgeexit.errors import TargetError
from edgeexit.targets.tensorrt.building import build_plan
from edgeexit.targets.tensorrt.job import BuildJob, gather_job
from edgeexit.targets.tensorrt.layers import compare_layers
from tests.targets.tensorrt.graphs import PRODUCTS, profiles, save_refused, save_stage, specs

rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: no plan is built")

GPU = "sm86"
RTX = "tensorrt_rtx"
FALLING = {"image": ((8, 16, 8, 8), (4, 16, 8, 8), (1, 16, 8, 8))}


def job(path: Path, **kwargs) -> BuildJob:
    return BuildJob(str(path), compute_capability=GPU, **kwargs)


def builders() -> list[psutil.Process]:
    """Return the builder processes that this process has started."""
    found = []
    for child in psutil.Process().children():
        try:
            if "edgeexit.targets.tensorrt.builder" in child.cmdline():
                found.append(child)
        except psutil.Error:
            continue
    return found


def test_a_job_survives_its_journey_to_the_builder() -> None:
    sent = BuildJob(
        "stage-1.onnx",
        *specs("int8"),
        profiles=profiles(),
        optimization_level=3,
        workspace=1 << 28,
        timing_cache="times.bin",
        compute_capability=GPU,
    )
    assert BuildJob.from_json(sent.to_json()) == sent


@pytest.mark.parametrize(("kind", "precision"), [("f32", "f32"), ("fp16", "fp16")])
def test_a_float_graph_has_no_int8_layer(tmp_path: Path, kind: str, precision: str) -> None:
    model = save_stage(tmp_path / "stage.onnx", kind, 1)
    built = build_plan(RTX, job(model), tmp_path / "plan")
    found = {layer.name: layer.precision for layer in built.layers if layer.kind != "other"}
    assert found["/body/conv"] == precision
    assert all(layer.precision != "int8" for layer in built.layers)
    assert compare_layers(PRODUCTS, built.layers) == PRODUCTS


def test_a_quantized_graph_is_int8_in_both_profiles(tmp_path: Path) -> None:
    model = save_stage(tmp_path / "stage.onnx", "int8")
    plan, told = tmp_path / "plan", []
    built = build_plan(
        RTX, job(model, profiles=profiles()), plan, lambda phase, done: told.append((phase, done))
    )
    assert plan.stat().st_size > 10_000
    products = [layer for layer in built.layers if layer.kind != "other"]
    assert sorted(layer.name for layer in products) == sorted(PRODUCTS * 2)
    assert {layer.kind for layer in products} == {"conv", "gemm"}
    assert {layer.precision for layer in products} == {"int8"}
    assert compare_layers(PRODUCTS, built.layers) == ()
    fractions = [done for _, done in told]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert told[-1][0] == "Building engine"


def test_one_shape_in_all_profiles_makes_a_static_plan(tmp_path: Path) -> None:
    model = save_stage(tmp_path / "stage.onnx", "int8")
    built = build_plan(RTX, job(model, profiles=profiles()[:1]), tmp_path / "plan")
    assert [layer for layer in built.layers if "[profile" in layer.name] == []
    assert compare_layers(PRODUCTS, built.layers) == ()


def test_the_gather_plan_is_built(tmp_path: Path) -> None:
    built = build_plan(RTX, gather_job((4, 16, 256), GPU), tmp_path / "plan")
    assert any("Gath" in layer.name for layer in built.layers)


def test_what_the_parser_refuses_is_told_in_its_own_words(tmp_path: Path) -> None:
    model = save_refused(tmp_path / "stage-2.onnx")
    builder = rtx.Builder(rtx.Logger(rtx.Logger.INTERNAL_ERROR))
    network = builder.create_network(1 << int(rtx.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = rtx.OnnxParser(network, builder.logger)
    assert not parser.parse_from_file(str(model))
    with pytest.raises(TargetError) as refused:
        build_plan(RTX, job(model), tmp_path / "plan")
    assert refused.value.code == "target.parse"
    assert parser.get_error(0).desc() in refused.value.message
    assert "node '/whole/product' (MatMulInteger)" in refused.value.message
    assert "cannot read stage-2.onnx" in refused.value.message
    assert not (tmp_path / "plan").exists()


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"profiles": profiles()[1:], "compute_capability": "sm87"}, "target.gpu", "sm86"),
        ({"profiles": (FALLING,)}, "target.build", "MIN<=OPT<=MAX"),
        ({}, "target.build", "no optimization profile has been defined"),
        ({"outputs": (TensorSpec("score", "float32", (1,)),)}, "target.tensors", "score"),
    ],
)
def test_what_the_builder_refuses(tmp_path: Path, change: dict, code: str, words: str) -> None:
    model = save_stage(tmp_path / "stage.onnx", "f32")
    with pytest.raises(TargetError) as refused:
        build_plan(
            RTX, BuildJob(str(model), **{"compute_capability": GPU, **change}), tmp_path / "p"
        )
    assert refused.value.code == code
    assert words in refused.value.message


def test_a_module_that_is_not_here_is_an_error_with_its_hint(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="the module no_such_engine is not installed") as missing:
        build_plan("no_such_engine", BuildJob("stage.onnx"), tmp_path / "plan")
    assert missing.value.code == "target.unavailable"


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (signal.SIGKILL, "target.build-killed", "killed by SIGKILL"),
        (signal.SIGSEGV, "target.build-died", "crashed by SIGSEGV"),
    ],
)
def test_a_child_that_dies_by_a_signal_is_an_error(
    tmp_path: Path, number: signal.Signals, code: str, words: str
) -> None:
    model = save_stage(tmp_path / "stage.onnx", "int8", 1, depth=40)
    plan = tmp_path / "plan"

    def kill(phase: str, fraction: float) -> None:
        for child in builders():
            child.send_signal(number)

    with pytest.raises(TargetError) as died:
        build_plan(RTX, job(model), plan, kill)
    assert died.value.code == code
    assert words in died.value.message
    assert "stage.onnx" in died.value.message
    assert ("memory" in died.value.message) == (number == signal.SIGKILL)
    assert not plan.exists()
    assert build_plan(RTX, job(model), plan).layers


def test_a_child_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    model = save_stage(tmp_path / "stage.onnx", "int8", 1, depth=40)
    with pytest.raises(TargetError, match=r"was not built in 0 s.*builder was stopped") as late:
        build_plan(RTX, job(model), tmp_path / "plan", max_seconds=0.05)
    assert late.value.code == "target.build-time"
    assert builders() == []


def test_an_interrupt_ends_the_child_too(tmp_path: Path) -> None:
    model = save_stage(tmp_path / "stage.onnx", "int8", 1, depth=40)

    def interrupt(phase: str, fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_plan(RTX, job(model), tmp_path / "plan", interrupt)
    assert builders() == []
    assert not (tmp_path / "plan").exists()


def test_files_of_the_working_folder_are_never_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_stage(tmp_path / "stage.onnx", "f32", 1)
    for name in ("edgeexit", "tensorrt_rtx", "json"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'stolen')!r}, 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    build_plan(RTX, job(Path(model.name)), Path("plan"))
    assert (tmp_path / "plan").exists()
    assert not (tmp_path / "stolen").exists()


def test_without_a_gpu_the_builders_words_name_cuda(tmp_path: Path) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU here")
    model = save_stage(tmp_path / "stage.onnx", "f32", 1)
    with pytest.raises(TargetError, match="CUDA driver version is insufficient"):
        build_plan(RTX, BuildJob(str(model)), tmp_path / "plan")


def test_threads_build_side_by_side(tmp_path: Path) -> None:
    model = save_stage(tmp_path / "stage.onnx", "fp16", 1)
    plans = [tmp_path / f"plan-{number}" for number in range(2)]
    threads = [threading.Thread(target=build_plan, args=(RTX, job(model), p)) for p in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(plan.stat().st_size for plan in plans)
