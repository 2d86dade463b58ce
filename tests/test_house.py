"""The house: what the wheel holds, what the build refuses, what can be imported."""

from __future__ import annotations

import ast
import inspect
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

import edgeexit

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {"calibrate": "edgeexit/calibrate", "targets": "edgeexit/targets"}
NOT_SHIPPED = (".gitignore", ".svg", ".png")
SYNTAX = (3, 10)


def run(*words, cwd, check=True, **extra):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | extra
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        check=check,
        capture_output=True,
        text=True,
        env=environment,
    )


def tracked() -> list[str]:
    """Return every file of the package that git knows, or would add; links by their own names."""
    words = ("git", "ls-files", "--cached", "--others", "--exclude-standard")
    try:
        done = run(*words, "edgeexit", *ROOMS, cwd=ROOT)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    files = done.stdout.splitlines()
    return [name for name in files if (ROOT / name).is_file() and not name.endswith(NOT_SHIPPED)]


def python_files() -> list[Path]:
    folders = [ROOT / "edgeexit", *(ROOT / room for room in ROOMS if (ROOT / room).is_dir())]
    return sorted({path.resolve() for folder in folders for path in folder.rglob("*.py")})


def copied(folder: Path, **options) -> Path:
    """Copy the checkout, without what git ignores."""
    ignored = shutil.ignore_patterns(
        ".git", ".venv", "*.egg-info", "build", "dist", "__pycache__", ".*cache"
    )
    return Path(shutil.copytree(ROOT, folder / "copy", ignore=ignored, **options))


def build(checkout: Path, out: Path, *, check=True):
    words = ("-m", "build", "--wheel", "--no-isolation", "--outdir", out, checkout)
    return run(sys.executable, *words, cwd=out.parent, check=check)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of the checkout with its links as links."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("wheel")
    build(copied(folder, symlinks=True), folder / "dist")
    return next((folder / "dist").glob("*.whl"))


@pytest.mark.package
@pytest.mark.timeout(600)
class TestWheel:
    def test_it_holds_each_tracked_file_once_and_nothing_else(self, wheel):
        expected = []
        for name in tracked():
            top, _, rest = name.partition("/")
            expected.append(f"{ROOMS[top]}/{rest}" if top in ROOMS else name)
        names = zipfile.ZipFile(wheel).namelist()
        shipped = [name for name in names if ".dist-info/" not in name]
        assert sorted(shipped) == sorted(expected)

    def test_it_holds_the_demo_the_devices_and_the_type_marker(self, wheel):
        names = set(zipfile.ZipFile(wheel).namelist())
        assert {
            "edgeexit/py.typed",
            "edgeexit/demo/fashion_vit.onnx",
            "edgeexit/demo/fashion_test.npz",
            "edgeexit/demo/LICENSE.md",
            "edgeexit/targets/devices/x86.toml",
            "edgeexit/calibrate/policies/gain_soft.py",
        } <= names
        assert any(name.endswith("/licenses/LICENSE") for name in names)

    def test_calibrate_and_targets_are_no_packages_of_their_own(self, wheel, tmp_path):
        tops = {PurePosixPath(name).parts[0] for name in zipfile.ZipFile(wheel).namelist()}
        assert {top for top in tops if not top.endswith(".dist-info")} == {"edgeexit"}
        site, empty = tmp_path / "site", tmp_path / "empty"
        zipfile.ZipFile(wheel).extractall(site)
        empty.mkdir()
        code = (
            "import importlib.util as u\n"
            "assert u.find_spec('calibrate') is None and u.find_spec('targets') is None\n"
            "import edgeexit.calibrate, edgeexit.targets\n"
            "assert 'site' in edgeexit.calibrate.__file__, edgeexit.calibrate.__file__\n"
        )
        run(sys.executable, "-c", code, cwd=empty, PYTHONPATH=str(site))

    def test_its_base_needs_nothing_heavy(self, wheel):
        archive = zipfile.ZipFile(wheel)
        metadata = next(name for name in archive.namelist() if name.endswith("METADATA"))
        lines = archive.read(metadata).decode().splitlines()
        needs = [line for line in lines if line.startswith("Requires-Dist") and "extra" not in line]
        names = {line.split()[1].split(">")[0].split(";")[0] for line in needs}
        assert names == {"click", "filelock", "numpy", "psutil", "rich", "tomli"}


@pytest.mark.package
@pytest.mark.timeout(300)
@pytest.mark.parametrize("lost", ["calibrate", "targets"])
def test_the_build_refuses_where_a_link_became_a_text_file(tmp_path, lost):
    """As in a zip download, or on Windows without symbolic links."""
    pytest.importorskip("build")
    checkout = copied(tmp_path, symlinks=True)
    link = checkout / "edgeexit" / lost
    if not link.is_symlink():
        pytest.skip("not a checkout with links")
    link.unlink()
    link.write_text(f"../{lost}")
    done = build(checkout, tmp_path / "dist", check=False)
    assert done.returncode != 0
    assert f"edgeexit/{lost} -> ../{lost}" in done.stdout + done.stderr
    assert "core.symlinks=true" in done.stdout + done.stderr
    assert not list(tmp_path.glob("dist/*.whl"))


def test_every_public_name_can_be_imported_and_says_what_it_is():
    for name in edgeexit.__all__:
        value = getattr(edgeexit, name)
        if name != "__version__":
            assert inspect.getdoc(value), name
            assert value.__module__.startswith("edgeexit."), name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = edgeexit.nothing


@pytest.mark.parametrize("path", python_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_is_python_3_10_and_says_what_it_holds(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=SYNTAX)
    assert ast.get_docstring(tree), "the module has no docstring"


def test_python_3_10_itself_compiles_every_file(tmp_path):
    pyenv = Path.home() / ".pyenv" / "versions"
    places = [shutil.which("python3.10"), *pyenv.glob("3.10.*/bin/python3.10")]
    works = [p for p in places if p and not run(p, "-V", cwd=tmp_path, check=False).returncode]
    if not works:
        pytest.skip("no Python 3.10 here")
    python = works[0]
    code = (
        "import sys\n"
        "for path in sys.argv[1:]:\n"
        "    compile(open(path, encoding='utf-8').read(), path, 'exec')\n"
    )
    run(python, "-c", code, *python_files(), cwd=tmp_path)


def test_the_makefile_knows_what_the_readme_promises():
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"make {target}" in readme
        assert f"\n{target}:" in makefile
    assert "make test" in (ROOT / ".ci" / "run").read_text()
