"""A fake TensorRT: ONNX Runtime at the bound addresses, in a fake stream.

It proves that our code binds the right addresses, sets shapes, profiles and scratch before a run,
and keeps what must live. It does not prove that any engine of NVIDIA runs.
"""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from edgeexit.targets.tensorrt.api import Api
from edgeexit.targets.tensorrt.job import GATHER, BuildJob
from edgeexit.targets.tensorrt.log import Log

_TYPES = {"float": "float32", "double": "float64"}
_OPTIONS = onnxruntime.SessionOptions()
_OPTIONS.intra_op_num_threads = 1
_OPTIONS.log_severity_level = 4


def _dtype(kind: str) -> str:
    word = kind[len("tensor(") : -1]
    return _TYPES.get(word, word)


class FakeEngine:
    """What a fake plan holds: a graph on ONNX Runtime, or the gather network."""

    def __init__(self, job: BuildJob) -> None:
        self.profiles = job.profiles
        self.scratch = 300
        if job.model == GATHER:
            self.session = None
            self.types = dict.fromkeys(("data", "rows", "taken"), "int32")
            self.inputs: tuple[str, ...] = ("data", "rows")
            self.outputs: tuple[str, ...] = ("taken",)
            return
        self.session = onnxruntime.InferenceSession(
            job.model, _OPTIONS, providers=["CPUExecutionProvider"]
        )
        found = self.session.get_inputs(), self.session.get_outputs()
        wanted = {spec.name for spec in job.outputs} or {tensor.name for tensor in found[1]}
        self.types = {t.name: _dtype(t.type) for ts in found for t in ts}
        self.inputs = tuple(tensor.name for tensor in found[0])
        self.outputs = tuple(tensor.name for tensor in found[1] if tensor.name in wanted)
        self.scratch += 16 * Path(job.model).stat().st_size

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        if self.session is None:
            return {"taken": inputs["data"][:, inputs["rows"], :]}
        found = self.session.run(list(self.outputs), inputs)
        return dict(zip(self.outputs, found, strict=True))


class FakeContext:
    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.profile = 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.scratch: tuple[int, int] | None = None
        self.runs = 0
        self.outputs: dict[str, tuple[int, ...]] = {}


class FakeApi(Api):
    """The calls of Api.

    Args:
        cuda: A fake CUDA runtime.

    Attributes:
        contexts: Contexts made so far.
        deserialized: Engines made so far.
        enqueued: Enqueue calls, those recorded into graphs included.
        unfit: How many plans are refused before one is loaded.
    """

    name = "tensorrt"
    measures = True

    def __init__(self, cuda: Any) -> None:
        self.module: Any = None
        self.log = Log()
        self.version, self.major = "10.3.0", 10
        self.cuda = cuda
        self.contexts = self.deserialized = self.enqueued = self.unfit = 0
        self.scratches: list[tuple[int, int]] = []
        self.collect_in_enqueue = False

    def build(self, job: BuildJob, report: Any) -> bytes:
        FakeEngine(job)
        return b"FAKE" + job.to_json().encode()

    def deserialize(self, plan: bytes) -> Any | None:
        if self.unfit or not plan.startswith(b"FAKE"):
            self.unfit -= 1
            self.log.add("fake: the plan is of another version", warning=False, error=True)
            return None
        self.deserialized += 1
        return FakeEngine(BuildJob.from_json(plan[4:].decode()))

    def tensors(self, engine: Any) -> Any:
        return tuple(
            (name, name in engine.inputs, engine.types[name])
            for name in (*engine.inputs, *engine.outputs)
        )

    def scratch_bytes(self, engine: Any) -> int:
        return int(engine.scratch)

    def context(self, engine: Any) -> Any:
        self.contexts += 1
        return FakeContext(engine)

    def set_scratch(self, context: Any, address: int, size: int) -> None:
        assert size >= context.engine.scratch
        assert address % 256 == 0
        context.scratch = address, size
        self.scratches.append((address, size))

    def select_profile(self, context: Any, index: int, stream: int) -> None:
        assert index < max(len(context.engine.profiles), 1)
        context.profile, context.shapes = index, {}

    def set_shape(self, context: Any, name: str, shape: Any) -> None:
        profiles = context.engine.profiles
        if profiles:
            low, _, high = profiles[context.profile][name]
            if not all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
                raise self.refusal(f"input {name!r} cannot have the shape {tuple(shape)}")
        context.shapes[name] = tuple(shape)
        context.outputs = {}

    def shape(self, context: Any, name: str) -> tuple[int, ...]:
        if not context.outputs:
            zeros = {n: np.zeros(context.shapes[n], t) for n, t in self._inputs(context.engine)}
            context.outputs = {n: a.shape for n, a in context.engine.run(zeros).items()}
        return tuple(context.outputs[name])

    def set_address(self, context: Any, name: str, address: int) -> None:
        assert name in context.engine.types
        assert address
        context.addresses[name] = address

    def enqueue(self, context: Any, stream: int) -> None:
        self.enqueued += 1
        engine, cuda, scratch = context.engine, self.cuda, context.scratch
        shapes, addresses = dict(context.shapes), dict(context.addresses)
        assert scratch is not None
        assert addresses.keys() == engine.types.keys() & {*engine.inputs, *engine.outputs}
        if cuda.recording(stream):
            assert context.runs, "captured before it ran once"
            if self.collect_in_enqueue:
                gc.collect()
        context.runs += 1

        def work() -> None:
            cuda.view(*scratch)[:] = np.uint8(engine.scratch % 251)
            arrays = {}
            for name, dtype in self._inputs(engine):
                size = int(np.prod(shapes[name])) * dtype.itemsize
                arrays[name] = cuda.view(addresses[name], size).view(dtype).reshape(shapes[name])
            for name, array in engine.run(arrays).items():
                flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
                cuda.view(addresses[name], flat.size)[:] = flat

        cuda.put(stream, work)

    def inspect(self, engine: Any) -> str:
        return json.dumps({"Layers": []})

    @staticmethod
    def _inputs(engine: Any) -> list[tuple[str, Any]]:
        return [(name, np.dtype(engine.types[name])) for name in engine.inputs]
