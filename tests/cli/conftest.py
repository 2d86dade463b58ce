from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.models import write_data, write_model

TIMEOUT = 120


@dataclass
class Done:
    """A finished ``edgeexit`` process."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self):
        return json.loads(self.stdout)

    def failed(self, exit_code: int, *words: str) -> Done:
        """Assert that it failed as it should: two lines, its exit code, no traceback."""
        assert self.code == exit_code, self.stderr
        assert "Traceback" not in self.stderr
        error, hint = self.stderr.splitlines()[-2:]
        assert error.startswith("error: ")
        assert hint.startswith("hint: ")
        for word in words:
            assert word in error + hint, (word, error, hint)
        return self


def clean_environment(**extra: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("EDGEEXIT_")}
    return kept | {"OMP_NUM_THREADS": "1"} | extra


@pytest.fixture
def edgeexit(tmp_path):
    """Run the command line as a real process in an empty folder."""

    def run(*words, cwd=tmp_path, preexec_fn=None, stdout=subprocess.PIPE, **environment) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "edgeexit.cli", *map(str, words)],
            cwd=cwd,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT,
            check=False,
            preexec_fn=preexec_fn,
            env=clean_environment(EDGEEXIT_CACHE=str(tmp_path / "cache"), **environment),
        )
        return Done(done.returncode, done.stdout or "", done.stderr)

    return run


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """A folder with model.onnx, data.npz and the calibrated model.eex; not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    model = write_model(folder / "model.onnx")
    write_data(folder / "data.npz", model)
    for words in (
        ["compile", "model.onnx", "--precision", "f32"],
        ["calibrate", "model.eex", "--data", "data.npz", "--budget", "0.7"],
    ):
        subprocess.run(
            [sys.executable, "-m", "edgeexit.cli", *words],
            cwd=folder,
            check=True,
            timeout=TIMEOUT,
            env=clean_environment(EDGEEXIT_CACHE=str(folder / "cache")),
        )
    return folder


@pytest.fixture
def work(made, tmp_path) -> Path:
    """A copy of :func:`made` to spoil."""
    for name in ("model.onnx", "data.npz"):
        shutil.copy(made / name, tmp_path)
    shutil.copytree(made / "model.eex", tmp_path / "model.eex")
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    """Return the digest of every file in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
