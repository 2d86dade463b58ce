"""Where a child process of ours starts: it imports what its parent would, and nothing else."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import edgeexit


def child_place() -> tuple[Path, dict[str, str]]:
    """Return working folder and environment for ``python -m edgeexit...``.

    The folder that a module is started from comes first on its path: it is that of edgeexit, and
    never the user's, where a file of any name may lie. Give such a child absolute paths alone.
    """
    home = Path(edgeexit.__file__).resolve().parents[1]
    search = os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path)
    return home, {**os.environ, "PYTHONPATH": search}
