"""The names that we call, held against recorded TensorRT bindings and the real TensorRT-RTX.

The records in ``surfaces/`` list classes, members and signatures of NVIDIA's own Python bindings
(the wheel is named in each), loaded without TensorRT's libraries. They prove that the names exist
and take these arguments, not that an engine builds or runs.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeexit.targets import tensorrt
from edgeexit.targets.info import Unavailable
from edgeexit.targets.tensorrt.surface import COMMON, RTX
from edgeexit.targets.tensorrt.versions import load_api, missing_names

RECORDS = sorted((Path(__file__).parent / "surfaces").glob("*.json"))
ARGUMENTS = {
    "Builder.create_network": ["flags"],
    "Builder.build_serialized_network": ["network", "config"],
    "INetworkDefinition.add_gather": ["input", "indices", "axis"],
    "INetworkDefinition.add_input": ["name", "dtype", "shape"],
    "IBuilderConfig.set_memory_pool_limit": ["pool", "pool_size"],
    "IBuilderConfig.set_timing_cache": ["cache", "ignore_mismatch"],
    "IOptimizationProfile.set_shape": ["input", "min", "opt", "max"],
    "ICudaEngine.create_execution_context": ["strategy"],
    "IExecutionContext.execute_async_v3": ["stream_handle"],
    "IExecutionContext.set_device_memory": ["memory", "size"],
    "IExecutionContext.set_input_shape": ["name", "shape"],
    "IExecutionContext.set_optimization_profile_async": ["profile_index", "stream_handle"],
    "IExecutionContext.set_tensor_address": ["name", "memory"],
}
"""The arguments that our calls pass by position, in order."""


def recorded(path: Path) -> SimpleNamespace:
    """Return a module of the recorded names; there is nothing behind them."""
    record = json.loads(path.read_text(encoding="utf-8"))
    classes = {
        group: SimpleNamespace(**dict.fromkeys(names)) for group, names in record["classes"].items()
    }
    return SimpleNamespace(record=record, **classes)


def test_the_oldest_and_the_newest_versions_are_recorded() -> None:
    versions = [json.loads(path.read_text(encoding="utf-8"))["version"] for path in RECORDS]
    assert [version for version in versions if version.startswith("10.3.")]
    assert [version for version in versions if version.startswith("11.4.")]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_recorded_bindings_have_every_name(path: Path) -> None:
    module = recorded(path)
    assert missing_names(module, (COMMON,)) == ()
    assert hasattr(module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")
    assert not hasattr(module.ICudaEngine, "device_memory_size") or module.record[
        "version"
    ].startswith("10.")


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_recorded_calls_take_our_arguments(path: Path) -> None:
    signatures = recorded(path).record["signatures"]
    for call, wanted in ARGUMENTS.items():
        taken = [
            [part.split(":")[0].strip() for part in form.split("(", 1)[1].split(", ")][1:]
            for form in signatures[call]
        ]
        assert any(names[: len(wanted)] == wanted for names in taken), f"{call} takes {taken}"


def test_a_missing_name_is_found() -> None:
    module = recorded(RECORDS[0])
    del module.ICudaEngine.device_memory_size_v2
    del module.MemoryPoolType
    assert missing_names(module, (COMMON,)) == (
        "ICudaEngine.device_memory_size_v2",
        "MemoryPoolType.WORKSPACE",
    )


def test_the_real_tensorrt_rtx_has_every_name() -> None:
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    assert missing_names(rtx, (COMMON, RTX)) == ()
    api = load_api("tensorrt_rtx")
    assert not isinstance(api, Unavailable)
    assert (api.name, api.version) == ("tensorrt_rtx", rtx.__version__)
    assert not api.measures


def test_the_list_names_all_that_the_code_calls() -> None:
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    # Names that Python's own objects have too cannot be told apart.
    plain = {name for kind in (list, dict, str, set) for name in dir(kind)}
    plain |= {"major", "name", "start", "ERROR", "INTERNAL_ERROR", "WARNING"}
    theirs = {
        name
        for group in vars(rtx).values()
        if isinstance(group, type)
        for name in dir(group)
        if not name.startswith("_")
    }
    listed = {name for table in (COMMON, RTX) for names in table.values() for name in names}
    folder = Path(tensorrt.__file__).parent
    used = {
        node.attr
        for file in ("api.py", "network.py", "log.py", "progress.py")
        for node in ast.walk(ast.parse((folder / file).read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    assert (used & theirs) - listed - plain == set()
    # These are passed to TensorRT by inheriting them.
    inherited = {"log", "phase_start", "phase_finish", "step_complete"}
    assert listed - used - inherited - {"CURRENT"} == set()
