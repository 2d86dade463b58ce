"""Does an engine survive a bundle? Asked in a child process, since engines can die of a model.

``python -m edgeexit.engine_check BUNDLE DEVICE`` opens every graph as the runtime would and runs
it once. OpenVINO 2026.4.1, for one, is killed by a segmentation fault when its attention fusion
meets three-axis attention at a fixed batch.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from edgeexit.bundle.bundle import Bundle
from edgeexit.errors import EdgeExitError, ResourceError, TargetError, out_of_memory
from edgeexit.runtime.runtime import Runtime
from edgeexit.runtime.whole import WholeModel
from edgeexit.targets.faults import signal_name

_TIMEOUT_S = 600.0


def require_survival(folder: Path, device: str | Path) -> None:
    """Open and run a bundle's graphs on a device's engine, in a child process.

    Args:
        folder: A bundle, its manifest in place.
        device: A device's name, or the path of a device file.

    Raises:
        TargetError: The engine died, hung, or refused a graph.
    """
    command = [sys.executable, "-m", "edgeexit.engine_check", str(folder), str(device)]
    try:
        child = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise _died(device, f"did not answer within {_TIMEOUT_S:g} s") from None
    if child.returncode < 0:
        raise _died(device, f"was killed by {signal_name(-child.returncode)}")
    if child.returncode:
        lines = child.stderr.strip().splitlines()
        if child.returncode == ResourceError.exit_code:
            raise out_of_memory(f"the check of device {str(device)!r}")
        raise TargetError(
            lines[-1] if lines else f"the engine check ended with {child.returncode}.",
            hint="install the device's engine, or choose another --target.",
            code="target.refused",
        )


def _died(device: str | Path, how: str) -> TargetError:
    return TargetError(
        f"the engine of device {str(device)!r} {how} while it ran this model's stages.",
        hint="choose another --target, or a device file with settings.fusion = false for OpenVINO.",
        code="target.died",
    )


def main(folder: str, device: str) -> int:
    """Open everything; return 1 with one line on stderr where the engine refuses."""
    try:
        bundle = Bundle.open(folder)
        golden = dict(bundle.golden().inputs)
        batches = [1, None] if bundle.manifest.compaction.allowed else [1]
        with Runtime(bundle, target=device) as runtime:
            for batch in batches:
                sample = {n: a[:batch] if batch else a for n, a in golden.items()}
                runtime.all_exits(sample)
                whole = WholeModel.of_bundle(bundle, runtime.machine, "whole", batch=batch)
                whole(sample)
                whole.close()
    except EdgeExitError as error:
        sys.stderr.write(error.message.replace("\n", " ") + "\n")
        return error.exit_code if error.code == "resource.memory" else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
