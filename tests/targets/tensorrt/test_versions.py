"""Finding TensorRT: the modules here are stand-ins of a version number, and prove no more."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeexit.targets.info import Unavailable
from edgeexit.targets.tensorrt import versions
from edgeexit.targets.tensorrt.surface import COMMON
from edgeexit.targets.tensorrt.versions import load_api, load_module


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that writes a module ``tensorrt`` with all names, of a version."""

    def write(version: str | None, without: str = "", extra: str = "") -> None:
        lines = [
            "class ILogger:\n    class Severity:\n        INTERNAL_ERROR = ERROR = WARNING = 0"
        ]
        lines += ["    def log(self, level, text): ..."]
        for group, names in COMMON.items():
            if group != "ILogger":
                members = "".join(f"    {n} = 0\n" for n in names if f"{group}.{n}" != without)
                lines.append(f"class {group}:\n{members or '    pass'}")
        if version is not None:
            lines.append(f"__version__ = {version!r}")
        (tmp_path / "tensorrt.py").write_text("\n".join([*lines, extra]))

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    yield write
    sys.modules.pop("tensorrt", None)


def refused(name: str = "tensorrt") -> Unavailable:
    found = load_module(name)
    assert isinstance(found, Unavailable)
    return found


@pytest.mark.parametrize(
    ("version", "adapter", "major"),
    [
        ("10.3.0", "TensorRt10", 10),
        ("10.16.1.11", "TensorRt10", 10),
        ("11.4.1.20", "TensorRt11", 11),
        ("12.0.0", "TensorRt11", 12),
    ],
)
def test_the_adapter_of_a_version(stand_in, version: str, adapter: str, major: int) -> None:
    stand_in(version)
    api = load_api("tensorrt")
    assert not isinstance(api, Unavailable)
    assert (type(api).__name__, api.version, api.major) == (adapter, version, major)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("8.5.2.2", "JetPack 5"),
        ("8.6.1", "strongly typed"),
        ("10.0.1", "edgeexit needs 10.3 or newer"),
        ("10.2.0", "TensorRT 10.2.0 is too old"),
        (None, "is not NVIDIA's"),
        ("unknown", "is not NVIDIA's"),
    ],
)
def test_a_version_that_is_refused(stand_in, version: str | None, words: str) -> None:
    stand_in(version)
    assert words in refused().reason


def test_a_newer_version_that_lacks_a_name_is_refused(stand_in) -> None:
    stand_in("12.0.0", without="Builder.create_network")
    found = refused()
    assert found.reason == "tensorrt 12.0.0, which is newer than 11, lacks Builder.create_network."
    assert "update edgeexit" in found.hint


@pytest.mark.parametrize(
    "fault",
    ["raise ImportError('libnvinfer.so.10: no such file')", "raise OSError('libnvinfer.so.10')"],
)
def test_a_broken_installation_is_told_in_its_own_words(stand_in, fault: str) -> None:
    stand_in("10.3.0", extra=fault)
    assert "libnvinfer.so.10" in refused().reason


def test_nothing_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(versions, "_SYSTEM_PACKAGES", tmp_path)
    monkeypatch.setattr(versions, "_TEGRA", tmp_path / "nv_tegra_release")
    monkeypatch.setattr(versions.importlib.util, "find_spec", lambda name: None)
    assert refused().reason == "the module tensorrt is not installed."
    assert refused().hint.startswith("pip install tensorrt")
    assert refused("tensorrt_rtx").hint == "pip install 'edgeexit[rtx]'."
    (tmp_path / "nv_tegra_release").touch()
    assert "python3-libnvinfer" in refused().hint
    assert "--system-site-packages" in refused().hint


def test_a_virtual_environment_that_hides_jetpacks_module(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    packages = tmp_path / "python3" / "dist-packages"
    (packages / "tensorrt").mkdir(parents=True)
    monkeypatch.setattr(versions, "_SYSTEM_PACKAGES", tmp_path)
    monkeypatch.setattr(versions.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "prefix", "/home/user/venv")
    found = refused()
    assert f"is installed in {packages}" in found.reason
    assert "/home/user/venv" in found.reason
    assert "include-system-site-packages = true" in found.hint
