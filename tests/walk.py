"""Walks through an example as its README spells it: every command, in order, in one folder."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
PYTHON = {"python": [sys.executable], "edgeexit": [sys.executable, "-m", "edgeexit.cli"]}


def copied(example: str, folder: Path) -> Path:
    """Return a copy of an example's folder, so that nothing is written into the checkout."""
    return Path(shutil.copytree(EXAMPLES / example, folder / example))


def commands(folder: Path) -> list[str]:
    """Return the commands of an example's README that run Python or edgeexit, in order."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^    ((?:python|edgeexit) .*)$", text, re.MULTILINE)


def called(command: str | Sequence[str], folder: Path, *paths: Path):
    """Run a command as written, on one thread, and return how it ended."""
    words = shlex.split(command) if isinstance(command, str) else [*command]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *paths))),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [*PYTHON.get(words[0], words[:1]), *words[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def run(command: str | Sequence[str], folder: Path, *paths: Path) -> str:
    """Run a command and return what it printed; it must end well."""
    done = called(command, folder, *paths)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def walk(folder: Path, smaller: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Run every command of a README and return what each printed.

    Args:
        folder: The example.
        smaller: Words added to the commands that begin so, which make the work small.
    """
    out: dict[str, str] = {}
    for command in commands(folder):
        extra = [
            word for start, words in smaller.items() if command.startswith(start) for word in words
        ]
        out[command] = run([*shlex.split(command), *extra], folder)
    return out
