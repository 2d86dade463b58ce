"""Importing edgeexit, and opening its runtime, loads nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "onnx", "onnx_ir", "onnxscript", "nncf", "openvino", "onnxruntime", "sklearn")


def modules_after(code):
    script = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout))


def test_import_edgeexit_loads_no_room_and_nothing_heavy():
    loaded = modules_after("import edgeexit")
    assert not loaded & set(HEAVY)
    ours = {name for name in loaded if name.startswith("edgeexit")}
    assert ours == {"edgeexit", "edgeexit.budget", "edgeexit.errors", "edgeexit.version"}


@pytest.mark.parametrize("name", ["Runtime", "Bundle"])
def test_the_device_side_loads_no_engine_and_no_compiler(name):
    loaded = modules_after(f"import edgeexit; edgeexit.{name}")
    assert not loaded & set(HEAVY)
    assert not {n for n in loaded if n.startswith(("edgeexit.calibrate", "edgeexit.graph"))}


def test_the_runtime_works_where_torch_and_onnx_cannot_be_imported():
    block = "import sys\nfor n in ('torch', 'onnx', 'onnx_ir', 'nncf'): sys.modules[n] = None\n"
    assert "edgeexit.runtime.runtime" in modules_after(
        f"{block}from edgeexit.runtime.runtime import Runtime\nimport edgeexit.runtime.whole\n"
        "for n in ('torch', 'onnx', 'onnx_ir', 'nncf'): del sys.modules[n]"
    )


def test_public_names():
    import edgeexit

    assert set(edgeexit.__all__) <= set(dir(edgeexit))
    assert edgeexit.Runtime.__name__ == "Runtime"
    with pytest.raises(AttributeError, match="no attribute 'Runtimes'"):
        edgeexit.Runtimes  # noqa: B018
