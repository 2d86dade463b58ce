"""The builder's process: ``python -m edgeexit.targets.tensorrt.builder``.

Reads one line of JSON from standard input, ``{"module", "job", "plan"}``, writes the plan to the
file ``plan``, and tells its progress on standard output, one JSON object a line:

- ``{"event": "progress", "phase", "fraction"}``
- ``{"event": "word", "text"}``: a warning or an error of the builder
- ``{"event": "error", "message", "hint", "code"}``, the last
- ``{"event": "done", "layers": [[name, kind, precision], ...]}``, the last

It ends when its standard input does: whoever asked for the plan is gone then.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from edgeexit.errors import EdgeExitError, TargetError
from edgeexit.targets.faults import summary
from edgeexit.targets.info import BuiltLayer, Unavailable
from edgeexit.targets.tensorrt.api import Api
from edgeexit.targets.tensorrt.job import BuildJob
from edgeexit.targets.tensorrt.layers import LAYER_LOG, layers_of_inspection, layers_of_log
from edgeexit.targets.tensorrt.log import Log
from edgeexit.targets.tensorrt.versions import load_api

_ORPHANED = 3


def main() -> int:
    """Build what standard input asks for; return the exit code."""
    told = _private_output()
    request: dict[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()

    def tell(event: str, **fields: object) -> None:
        print(json.dumps({"event": event, **fields}), file=told, flush=True)

    try:
        log = Log((LAYER_LOG,), lambda text: tell("word", text=text))
        api = load_api(request["module"], log)
        if isinstance(api, Unavailable):
            raise TargetError(api.reason, hint=api.hint, code="target.unavailable")
        plan = api.build(
            BuildJob.from_json(request["job"]),
            lambda phase, fraction: tell("progress", phase=phase, fraction=fraction),
        )
        with Path(request["plan"]).open("wb") as file:
            file.write(plan)
            file.flush()
            os.fsync(file.fileno())
    except EdgeExitError as error:
        tell("error", message=error.message, hint=error.hint, code=error.code)
        return 1
    except OSError as error:
        tell("error", message=f"the plan cannot be written: {error}", hint=_SPACE, code=_DISK)
        return 1
    layers = layers_of_log(log.lines) or _inspect(api, plan, request["job"])
    tell("done", layers=[[layer.name, layer.kind, layer.precision] for layer in layers])
    return 0


_SPACE = "free some space, or set EDGEEXIT_CACHE to a folder on another disk."
_DISK = "resource.write"


def _private_output() -> TextIO:
    """Return the standard output, and send what the engine itself prints to standard error."""
    private = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return private


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(_ORPHANED)


def _inspect(api: Api, plan: bytes, job: str) -> tuple[BuiltLayer, ...]:
    """Return the layers of a plan for the GPU at hand; one for another cannot be loaded."""
    if BuildJob.from_json(job).compute_capability is not None:
        return ()
    # The plan is good without them: what the inspector cannot tell must not cost it.
    try:
        engine = api.deserialize(plan)
        return () if engine is None else layers_of_inspection(api.inspect(engine))
    except Exception as error:
        api.log.add(f"the layers are not known: {summary(error)}", warning=True, error=False)
        return ()


if __name__ == "__main__":
    # A daemon thread waits on standard input: leaving by exit() would wait for its lock.
    code = main()
    sys.stderr.flush()
    os._exit(code)
