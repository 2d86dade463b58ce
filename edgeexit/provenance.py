"""Where a bundle comes from: the source model's digest, the versions of the tools, the time."""

from __future__ import annotations

import hashlib
import importlib.metadata
from datetime import datetime, timezone
from pathlib import Path

from edgeexit.bundle.specs import Provenance
from edgeexit.tuned import TunedFolder
from edgeexit.version import __version__

_TOOLS = ("onnx", "onnx-ir", "onnxruntime", "openvino", "nncf", "torch")


def provenance_of(model: str | Path) -> Provenance:
    """Return the provenance of a bundle that is being compiled from ``model``."""
    path = Path(model)
    digest = ""
    if path.is_file():
        with path.open("rb") as file:
            hasher = hashlib.sha256()
            while chunk := file.read(1 << 20):
                hasher.update(chunk)
            digest = hasher.hexdigest()
    return _provenance(path.name if digest else str(model), digest)


def provenance_of_tuned(tuned: TunedFolder) -> Provenance:
    """Return the provenance of a bundle that is being compiled from a tuned folder.

    Its digest is that of ``tuned.json``, which seals the model's weights and its recipe.
    """
    return _provenance(f"{tuned.record.name} (tuned with {tuned.record.method})", tuned.digest)


def _provenance(source: str, digest: str) -> Provenance:
    tools = {}
    for tool in _TOOLS:
        try:
            tools[tool] = importlib.metadata.version(tool)
        except importlib.metadata.PackageNotFoundError:
            continue
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Provenance(__version__, now, source, digest, tools)
