"""The targets ``tensorrt`` and ``rtx``: stages on an NVIDIA GPU."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ClassVar

from edgeexit.bundle.specs import TensorSpec
from edgeexit.errors import ResourceError, TargetError
from edgeexit.targets.base import DeviceInfo, Engine, EngineOptions, Setting, Target, Unavailable
from edgeexit.targets.cuda.probe import CudaProbe, probe_cuda
from edgeexit.targets.cuda.runtime import CudaRuntime
from edgeexit.targets.faults import check_tensors
from edgeexit.targets.info import Built, Report
from edgeexit.targets.jetson import read_jetson
from edgeexit.targets.tensorrt.api import Api
from edgeexit.targets.tensorrt.engine import TensorRtEngine
from edgeexit.targets.tensorrt.job import BuildJob, gather_job
from edgeexit.targets.tensorrt.loaded import Loaded
from edgeexit.targets.tensorrt.plans import PlanStore
from edgeexit.targets.tensorrt.profiles import profiles_of
from edgeexit.targets.tensorrt.session import Session
from edgeexit.targets.tensorrt.versions import MODULES, load_api, load_module

_LEVELS = range(6)
"""What TensorRT takes as builder optimization level."""


@dataclass(frozen=True)
class _Found:
    """What a probe found."""

    info: DeviceInfo
    environment: Mapping[str, str]


class TensorRtTarget(Target):
    """TensorRT 10 or 11 on the GPU of this machine.

    The type in which what stays float computes is written in the graph (``int8_compute`` of the
    device file tells the compiler). A bundle's engines are built on the device, by :meth:`build` or
    at the first :meth:`open`. All engines of one object share a stream and scratch memory. Its
    settings, left to TensorRT unless told:

    - ``optimization_level``: 0 (built fast) to 5 (runs fast).
    - ``workspace``: bytes of scratch memory that one layer may ask for.
    - ``tf32``: whether float32 products may be rounded to 10 bits of mantissa; False unless told.
    - ``cuda_graphs``: whether runs are recorded and replayed; True unless told.
    - ``trust_plans``: whether engines built on another machine are loaded; False unless told, as
      an engine is native code.
    """

    name: ClassVar[str] = "tensorrt"
    precisions: ClassVar[tuple[str, ...]] = ("f32", "fp16", "int8")
    builds_on_device: ClassVar[bool] = True
    takes_device_arrays: ClassVar[bool] = True
    settings: ClassVar[Mapping[str, Setting]] = {
        "optimization_level": int,
        "workspace": int,
        "tf32": bool,
        "cuda_graphs": bool,
        "trust_plans": bool,
    }

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: _Found | None = None
        # Weakly: engines and buffers keep it, and once the last is gone all of it is freed.
        self._session: weakref.ref[Session] | None = None

    def _probe_impl(self, threads: int) -> DeviceInfo | Unavailable:
        if self._found is None:
            found = self._look()
            if isinstance(found, Unavailable):
                return Unavailable(f"target {self.name!r}: {found.reason}", found.hint)
            self._found = found
        return self._found.info

    def _look(self) -> _Found | Unavailable:
        """Ask for module, version, CUDA and GPU in this order, and call TensorRT for nothing."""
        module = load_module(MODULES[self.name])
        if isinstance(module, Unavailable):
            return module
        cuda = probe_cuda()
        if isinstance(cuda, Unavailable):
            return cuda
        return self._unfit(module, cuda) or describe(module.__name__, module.__version__, cuda)

    def _unfit(self, module: ModuleType, cuda: CudaProbe) -> Unavailable | None:
        """Return why this GPU does not fit the module, where that can be told beforehand."""
        return None

    def _open_impl(
        self,
        model: Path,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        options: EngineOptions,
    ) -> Engine:
        self._check_compute(options)
        job = build_job(model, inputs, outputs, options)
        store = self._store(options)
        with self._lock:
            session = self._shared_session(store, options)
            key = f"{store.key(job)} {_identity(model, options)}"
            loaded = session.loaded.get(key)
            if loaded is None:
                loaded = self._load(session, store, job)
                check_engine(model, loaded, inputs, outputs)
                session.loaded[key] = loaded
        return TensorRtEngine(session, loaded, inputs, outputs, options)

    def _build_impl(
        self,
        model: Path,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        options: EngineOptions,
        report: Report | None,
    ) -> Built:
        self._check_compute(options)
        store = self._store(options)
        built = store.plan(build_job(model, inputs, outputs, options), report).built
        _keep_gather(store, options)
        return built

    def _load(self, session: Session, store: PlanStore, job: BuildJob) -> Loaded:
        api = session.api

        def load(plan: bytes) -> Loaded | None:
            engine = api.deserialize(plan)
            return None if engine is None else Loaded(api, engine, job.profiles)

        loaded, plan = store.load(job, load)
        loaded.operations = tuple((layer.kind, layer.precision) for layer in plan.built.layers)
        return loaded

    def _shared_session(self, store: PlanStore, options: EngineOptions) -> Session:
        session = None if self._session is None else self._session()
        if session is None:
            session = Session(self._cuda(), self._api(), lambda: store.plan(gather_job()).data)
            self._session = weakref.ref(session)
            _keep_gather(store, options)
        return session

    def _store(self, options: EngineOptions) -> PlanStore:
        assert self._found is not None
        trust = bool(options.settings.get("trust_plans", False))
        module = MODULES[self.name]
        return PlanStore(options.cache, module, self._found.environment, trust)

    def _cuda(self) -> CudaRuntime:
        return CudaRuntime.load()

    def _api(self) -> Api:
        api = load_api(MODULES[self.name])
        if isinstance(api, Unavailable):
            raise TargetError(api.reason, hint=api.hint, code="target.unavailable")
        return api

    def _check_compute(self, options: EngineOptions) -> None:
        if options.int8_compute == "bf16":
            raise TargetError(
                f"target {self.name!r} does not compute in bf16: what stays float at precision "
                "int8 is fp16 or f32.",
                hint="set int8_compute to fp16 in the device file, and compile again.",
                code="target.precision",
            )
        level = options.settings.get("optimization_level", 0)
        workspace = options.settings.get("workspace", 1)
        for key, value, fits, right in (
            ("optimization_level", level, level in _LEVELS, "0 to 5"),
            ("workspace", workspace, workspace > 0, "a positive number of bytes"),
        ):
            if not fits:
                raise TargetError(
                    f"setting {key!r} of target {self.name!r} cannot be {value}: {right} is right.",
                    hint="mend the [settings] table of the device file.",
                    code="target.setting",
                )


class RtxTarget(TensorRtTarget):
    """TensorRT-RTX on a GeForce or RTX GPU; settings as for ``tensorrt``."""

    name: ClassVar[str] = "rtx"

    def _unfit(self, module: ModuleType, cuda: CudaProbe) -> Unavailable | None:
        own = "SM{}{}".format(*cuda.device.capability)
        served = [name for name in dir(module.ComputeCapability) if name.startswith("SM")]
        if own in served:
            return None
        return Unavailable(
            f"TensorRT-RTX {module.__version__} does not serve this GPU, {cuda.device.name} "
            f"({own}): it serves {', '.join(served)}.",
            "use the target tensorrt (device nvidia-gpu, or jetson on a Jetson).",
        )


def describe(module: str, version: str, cuda: CudaProbe) -> _Found:
    """Return what tells this device from others, in words and as the key of its plans.

    Args:
        module: ``tensorrt`` or ``tensorrt_rtx``.
        version: The module's version.
        cuda: What was found of CUDA.
    """
    capability = "sm{}{}".format(*cuda.device.capability)
    # Without asking for the power mode, which plans do not depend on.
    board = read_jetson(nvpmodel="")
    environment = {
        "engine": f"{module} {version}",
        "gpu": cuda.device.name,
        "capability": capability,
        "cuda": cuda.runtime,
        "driver": cuda.driver,
    }
    features = [capability, f"cuda {cuda.runtime}", f"driver {cuda.driver}"]
    if board is not None:
        environment |= {"board": board.model or "", "l4t": board.l4t or ""}
        features += [board.model or "a Jetson", f"l4t {board.l4t or 'unknown'}"]
    # One thread puts the work in, however many compute on the GPU.
    info = DeviceInfo(environment["engine"], cuda.device.name, 1, tuple(features))
    return _Found(info, environment)


def build_job(
    model: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], options: EngineOptions
) -> BuildJob:
    """Return what is to be built of a stage.

    Raises:
        InputError: A dimension is malformed.
    """
    settings = options.settings
    return BuildJob(
        model=str(model),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        profiles=profiles_of(inputs, options),
        optimization_level=settings.get("optimization_level"),
        workspace=settings.get("workspace"),
        tf32=settings.get("tf32", False),
    )


def check_engine(
    model: Path, loaded: Loaded, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> None:
    """Check that an engine has exactly the tensors that its specs name, in their types.

    Raises:
        TargetError: It has not.
    """
    for specs, is_input, direction in ((inputs, True, "inputs"), (outputs, False, "outputs")):
        found = {name: dtype for name, reads, dtype in loaded.tensors if reads is is_input}
        check_tensors(model, [spec.name for spec in specs], found, direction)
        for spec in specs:
            if found[spec.name] != spec.dtype:
                raise TargetError(
                    f"tensor {spec.name!r} of {model.name} is {found[spec.name]} in its engine, "
                    f"but its bundle says {spec.dtype}.",
                    hint="compile the bundle again.",
                    code="target.tensors",
                )


def _keep_gather(store: PlanStore, options: EngineOptions) -> None:
    """Build the gather engine now rather than in the middle of the first batch.

    That one reports a failure, and goes on without: copies do the same.
    """
    if options.cache is not None:
        with contextlib.suppress(TargetError, ResourceError):
            store.plan(gather_job())


def _identity(model: Path, options: EngineOptions) -> str:
    """Return what tells a file from another of the same name."""
    if options.cache is not None:
        return str(options.cache.folder)
    found = model.resolve().stat()
    return f"{model.resolve()} {found.st_mtime_ns} {found.st_size}"
