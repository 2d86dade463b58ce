"""Targets by name: the built-in ones, those of other packages, and those that cannot run."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

from edgeexit.errors import TargetError
from edgeexit.targets.base import DeviceInfo, Unavailable
from edgeexit.targets.registry import available_targets, get_target, target_names


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install a package with entry points of the group on the path; return the function for it."""

    def install(distribution: str, entries: dict[str, str], code: str) -> None:
        module = distribution.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1\n")
        lines = [f"{name} = {module}:{value}" for name, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[edgeexit.targets]", *lines, ""]))

    monkeypatch.syspath_prepend(str(tmp_path))
    return install


THIRD_PARTY = """
from edgeexit.targets.base import DeviceInfo, Target

class Slow(Target):
    name = "slow"
    precisions = ("f32",)

    def _probe_impl(self, threads):
        return DeviceInfo("slow 1", "abacus", threads or 1)

    def _open_impl(self, model, inputs, outputs, options):
        raise ValueError("no beads\\nat all")

class Broken(Slow):
    name = "broken"

    def _probe_impl(self, threads):
        raise OSError("libbeads.so: cannot open shared object file")
"""


def test_built_in_targets_come_first():
    assert target_names()[:2] == ("onnxruntime", "openvino")
    assert get_target("openvino").name == "openvino"


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(TargetError, match="no target 'tpu': the targets are onnxruntime") as caught:
        get_target("tpu")
    assert caught.value.code == "target.unknown"


def test_a_package_adds_a_target(package, tmp_path):
    package("slow-engine", {"slow": "Slow"}, THIRD_PARTY)
    target = get_target("slow")
    assert available_targets()["slow"] == DeviceInfo("slow 1", "abacus", 1)
    assert target.probe(threads=3).fingerprint == "slow 1 | abacus | 3 threads"
    from edgeexit.targets.base import EngineOptions

    with pytest.raises(TargetError, match=r"'slow' refused m.onnx: no beads at all") as caught:
        target.open(tmp_path / "m.onnx", (), (), EngineOptions())
    assert caught.value.code == "target.engine"
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_target_whose_probe_fails_is_unavailable_with_the_reason(package, tmp_path):
    package("broken-engine", {"broken": "Broken"}, THIRD_PARTY)
    found = available_targets()["broken"]
    assert isinstance(found, Unavailable)
    assert "libbeads.so: cannot open" in found.reason
    from edgeexit.targets.base import EngineOptions

    with pytest.raises(TargetError, match="libbeads") as caught:
        get_target("broken").open(tmp_path / "m.onnx", (), (), EngineOptions())
    assert caught.value.code == "target.unavailable"


@pytest.mark.parametrize(
    ("entries", "name", "words"),
    [
        ({"gone": "Gone"}, "gone", "no attribute 'Gone'"),
        ({"other": "Slow"}, "other", "is no Target of that name"),
        ({"thing": "DeviceInfo.__name__.upper"}, "thing", "is no Target of that name"),
    ],
)
def test_a_broken_package_is_unavailable_and_breaks_no_other(package, entries, name, words):
    package("odd-engine", entries, THIRD_PARTY)
    with pytest.raises(TargetError, match=words) as caught:
        get_target(name)
    assert caught.value.code == "target.broken"
    found = available_targets()
    assert isinstance(found[name], Unavailable)
    assert set(found) >= {"onnxruntime", "openvino"}


def test_no_package_replaces_a_target_silently(package):
    package("rival-engine", {"openvino": "Slow"}, THIRD_PARTY)
    with pytest.raises(TargetError, match=r"claim the target name 'openvino'.*rival-engine") as e:
        get_target("openvino")
    assert e.value.code == "target.conflict"
    assert "several packages" in available_targets()["openvino"].reason
    assert get_target("onnxruntime").name == "onnxruntime"


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_engine_that_is_not_installed_is_unavailable_with_a_hint(engine):
    told = run_python(
        f"""
        import json, pathlib, sys
        class Hide:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == {engine!r}:
                    raise ModuleNotFoundError(f"No module named {{name}}")
        import importlib.util
        found = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *a: None if name == {engine!r} else found(name, *a)
        sys.meta_path.insert(0, Hide())
        from edgeexit.errors import TargetError
        from edgeexit.targets.base import EngineOptions
        from edgeexit.targets.registry import available_targets, get_target
        found = available_targets()
        here = found[{engine!r}]
        print(json.dumps([here.reason, here.hint]))
        try:
            get_target({engine!r}).open(pathlib.Path("m.onnx"), (), (), EngineOptions())
        except TargetError as error:
            print(json.dumps(error.code))
        """
    )
    (reason, hint), code = (json.loads(line) for line in told.splitlines())
    assert f"needs the package {engine}, which is not installed" in reason
    assert hint == f"pip install 'edgeexit[{engine}]'."
    assert code == "target.unavailable"


def test_importing_the_room_loads_no_engine_and_probing_loads_no_compiler():
    told = run_python(
        """
        import json, sys
        import edgeexit.targets.registry, edgeexit.targets.device, edgeexit.targets.base
        before = [name for name in ("openvino", "onnxruntime") if name in sys.modules]
        edgeexit.targets.registry.available_targets()
        heavy = ("torch", "onnx", "onnx_ir", "nncf", "edgeexit.calibrate", "edgeexit.graph")
        print(json.dumps([before, [name for name in heavy if name in sys.modules]]))
        """
    )
    assert json.loads(told) == [[], []]


def test_openvino_is_imported_without_its_usage_statistics():
    pytest.importorskip("openvino_telemetry")
    told = run_python(
        """
        import sys
        from edgeexit.targets.registry import get_target
        print(get_target("openvino").probe().engine)
        print("openvino_telemetry" in sys.modules)
        import openvino_telemetry
        print(openvino_telemetry.__name__)
        """
    )
    engine, loaded, later = told.splitlines()
    assert engine.startswith("openvino 20")
    assert (loaded, later) == ("False", "openvino_telemetry")
