"""Runs of the command line in children of a server that has imported it; see ``server.py``."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.cli.conftest import clean_environment

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ran:
    """How a run ended; see ``server.py``, and what it printed."""

    code: int
    late: float
    sent: bool
    left: bool
    writes: int
    stdout: str
    stderr: str


class Commands:
    """A server and the folder its commands work in; a context manager.

    Args:
        folder: The folder.
        without: Packages that are not installed there, as fakes that raise ImportError tell.
    """

    def __init__(self, folder: Path, without: tuple[str, ...] = ()) -> None:
        self.folder = folder
        hidden = folder / "hidden"
        for name in without:
            (hidden / name).mkdir(parents=True)
            (hidden / name / "__init__.py").write_text("raise ImportError('not installed')\n")
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.server"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=clean_environment(
                PYTHONPATH=f"{hidden}:{ROOT}",
                PYTHONDONTWRITEBYTECODE="1",
                TMPDIR=str(folder / "tmp"),
                EDGEEXIT_CACHE=str(folder / "cache"),
            ),
        )
        (folder / "tmp").mkdir(exist_ok=True)
        assert self._answer() == {"ready": True}

    def _answer(self):
        assert self._server.stdout is not None
        return json.loads(self._server.stdout.readline())

    def run(self, *words, **job) -> Ran:
        assert self._server.stdin is not None
        job = {"words": [*map(str, words)], "folder": str(self.folder), **job}
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        answer = self._answer()
        out, err = (
            (self.folder / name).read_text(errors="replace") for name in ("stdout", "stderr")
        )
        return Ran(**answer, stdout=out, stderr=err)

    def __enter__(self) -> Commands:
        return self

    def __exit__(self, *_) -> None:
        self._server.stdin.close()
        self._server.wait(60)
        self._server.stdout.close()


def copy_work(made: Path, folder: Path) -> Path:
    """Copy what the fixture ``made`` holds, to spoil."""
    folder.mkdir(exist_ok=True)
    for name in ("model.onnx", "data.npz"):
        shutil.copy(made / name, folder)
    shutil.copytree(made / "model.eex", folder / "model.eex")
    return folder


def leftovers(folder: Path) -> set[str]:
    """Return what a run left: beside the bundle, in it, in the cache and in its own /tmp."""
    found = {path.name for path in folder.iterdir() if "model.eex" in path.name}
    found -= {"model.eex", ".model.eex.lock"}
    for path in (folder / "model.eex", folder / "cache", folder / "tmp"):
        found |= {
            str(each.relative_to(folder))
            for each in path.rglob("*")
            # ONNX Runtime keeps a file of its own in the folder for temporary files.
            if each.name.endswith(".tmp") or (path.name == "tmp" and each.name != ".ses")
        }
    return found
