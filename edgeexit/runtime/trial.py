"""Parts of the self-test that may end their process, each run in a process of its own.

``python -m edgeexit.runtime.trial NAME ...`` does one and writes one line of JSON: what was found,
or why it failed. CUDA and engines are native code: where a driver is broken they may not come back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgeexit.bundle.bundle import Bundle
from edgeexit.errors import EdgeExitError, TargetError
from edgeexit.targets.child import child_place
from edgeexit.targets.faults import signal_name

TIMEOUT_S = 600.0


def run_trial(name: str, *arguments: str, timeout: float = TIMEOUT_S) -> str:
    """Run a trial in a child process, with a cache that is thrown away.

    Args:
        name: One of :data:`TRIALS`.
        arguments: The trial's own; paths must be absolute.
        timeout: Seconds it may take.

    Returns:
        What the trial found.

    Raises:
        TargetError: It failed, died by a signal, or took longer than ``timeout``.
    """
    command = [sys.executable, "-m", "edgeexit.runtime.trial", name, *arguments]
    home, environment = child_place()
    with tempfile.TemporaryDirectory(prefix="edgeexit-") as cache:
        try:
            child = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
                cwd=home,
                env={**environment, "EDGEEXIT_CACHE": cache},
            )
        except subprocess.TimeoutExpired:
            raise _died(name, f"did not end within {timeout:g} s", "") from None
    if child.returncode < 0:
        raise _died(name, f"was killed by {signal_name(-child.returncode)}", child.stderr)
    return _answer(name, child.stdout, child.stderr)


def _answer(name: str, output: str, errors: str) -> str:
    try:
        answer = json.loads(output.splitlines()[-1])
        if "found" in answer:
            return str(answer["found"])
        failure = TargetError(answer["message"], hint=answer["hint"], code=answer["code"])
    except (IndexError, KeyError, TypeError, ValueError):
        failure = _died(name, "ended without an answer", errors)
    raise failure


def _died(name: str, how: str, errors: str) -> TargetError:
    last = errors.strip().splitlines()[-1:]
    said = f": {last[0][:300]}" if last else "."
    return TargetError(
        f"the process that tried {TRIALS[name][0]} {how}{said}",
        hint="the driver, the engine or the memory may be at fault: see the end of `sudo dmesg`, "
        "and send us what this test prints.",
        code="target.died",
    )


def _module(name: str) -> str:
    from edgeexit.targets.info import Unavailable
    from edgeexit.targets.tensorrt.versions import load_module

    module = load_module(name)
    if isinstance(module, Unavailable):
        raise TargetError(module.reason, hint=module.hint, code="target.unavailable")
    return f"{name} {module.__version__} ({Path(str(module.__file__)).parent})"


def _cuda() -> str:
    from edgeexit.runtime.cuda_check import check_cuda
    from edgeexit.targets.cuda.runtime import CudaRuntime

    return check_cuda(CudaRuntime.load())


def _bundle(folder: str, device: str) -> str:
    """Build every graph of a bundle anew and compare its answers with the golden outputs."""
    from edgeexit.runtime.build import build_bundle
    from edgeexit.runtime.golden import check_golden
    from edgeexit.runtime.machine import Machine
    from edgeexit.runtime.runtime import Runtime

    bundle = Bundle.open(folder)
    report = build_bundle(bundle, Machine.of(bundle, device), everything=True)
    with Runtime(bundle, target=device, exits=False) as runtime:
        golden = check_golden(runtime)
    worst = max(found.max_abs_difference for found in golden)
    answers = f"{len(golden)} exits answer as their golden outputs to within {worst:.3g}"
    if not report.graphs:
        return f"nothing to build; {answers}"
    seconds = sum(graph.built.seconds for graph in report.graphs)
    expected = sum(len(graph.expected) for graph in report.graphs)
    missing = [name for graph in report.graphs for name in graph.missing]
    layers = f"{expected - len(missing)} of {expected} layers in int8"
    if missing:
        raise TargetError(
            f"{len(report.graphs)} engines built, {answers}, but {layers}: {', '.join(missing)} "
            "compute in another precision.",
            hint="the answers hold, but it is slower; send us what this test prints.",
            code="target.layers",
        )
    return f"{len(report.graphs)} engines built in {seconds:.0f} s, {layers}; {answers}"


TRIALS: Mapping[str, tuple[str, Callable[..., str]]] = {
    "module": ("the module", _module),
    "cuda": ("CUDA", _cuda),
    "bundle": ("a small bundle", _bundle),
}
"""What is tried, in words, and the function that tries it in the child process."""


def main(arguments: Sequence[str]) -> int:
    """Do a trial and write its answer as one line of JSON; an exception is part of the answer."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Engines print to file descriptor 1 as well.
    os.dup2(2, 1)
    name, *rest = arguments
    try:
        answer = {"found": TRIALS[name][1](*rest)}
    except EdgeExitError as error:
        answer = {"message": error.message, "hint": error.hint, "code": error.code}
    except Exception as error:  # what the child cannot foresee, the parent must still report
        words = f"{type(error).__name__}: {error}"
        answer = {
            "message": words.splitlines()[0],
            "hint": "this is a fault in edgeexit: report it with what this test prints.",
            "code": "bug",
        }
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
