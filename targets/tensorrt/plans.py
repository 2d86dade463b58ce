"""The plans that were built here: kept in the device's cache, and used only where they are ours.

A plan is native code for one GPU, so it is used where all of this holds:

1. its record was written for this bundle, device and plan (:class:`DeviceCache`), under a key of
   everything that a plan depends on;
2. its bytes have the digest in the record;
3. the file and its folder belong to this user (or root), and nobody else may write to them;
4. it was built on this machine, unless plans of others are trusted.

A plan of which 1, 2, 3 or 4 does not hold is not used but built anew in its place; a folder of
which 3 does not hold is refused, since what is built into it could be exchanged.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from edgeexit.bundle.atomic import flush, writing
from edgeexit.bundle.cache import DeviceCache, cache_root
from edgeexit.errors import TargetError
from edgeexit.targets.info import Built, BuiltLayer, Report
from edgeexit.targets.tensorrt.building import MAX_SECONDS, build_plan
from edgeexit.targets.tensorrt.job import BuildJob
from edgeexit.targets.tensorrt.private import machine_id, privacy_fault

BUILDER = 1
"""Raised with every change of how plans are built, so that older ones are not used any more."""

_OWN = 0o600

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """A plan and what is known of it.

    Attributes:
        data: The serialized engine.
        built: How it came to be.
        note: Why a kept plan was not used; empty where there was none or it was.
    """

    data: bytes
    built: Built
    note: str = ""

    @property
    def sha256(self) -> str:
        """Digest of the data, hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()


class PlanStore:
    """Builds plans, each once on a device, and keeps them.

    Args:
        cache: The device's cache; None builds every time and keeps nothing.
        module: ``tensorrt`` or ``tensorrt_rtx``.
        environment: What a plan depends on besides its job, by name: the module's version, those
            of CUDA's library and driver, the GPU's name and compute capability, L4T.
        trust: Use plans that were built on another machine, too.
        max_seconds: A build is stopped after so many.
    """

    def __init__(
        self,
        cache: DeviceCache | None,
        module: str,
        environment: Mapping[str, str],
        trust: bool = False,
        max_seconds: float = MAX_SECONDS,
    ) -> None:
        self._cache = cache
        self._module = module
        self._environment = dict(environment)
        self._trust = trust
        self._max_seconds = max_seconds

    def load(
        self, job: BuildJob, load: Callable[[bytes], T | None], report: Report | None = None
    ) -> tuple[T, Plan]:
        """Return what ``load`` makes of the plan; a kept plan that does not load is rebuilt once.

        Raises:
            TargetError: The build fails, or even a new plan does not load.
            ResourceError: The cache cannot be written.
        """
        plan = self.plan(job, report)
        loaded = load(plan.data)
        if loaded is None and plan.built.cached:
            plan = self.plan(job, report, useless=plan.sha256)
            loaded = load(plan.data)
        if loaded is None:
            raise TargetError(
                f"the engine that was just built of {_stage(job)} does not load on this GPU.",
                hint="run edgeexit doctor on this device, and report what it prints.",
                code="target.plan-load",
            )
        return loaded, plan

    def plan(self, job: BuildJob, report: Report | None = None, useless: str = "") -> Plan:
        """Return the kept plan of a job, or build it: one process builds, others wait for it.

        Args:
            job: What to build. The paths in it say where files lie, not what a plan is.
            report: Told the phase and the progress, from 0 to 1.
            useless: Digest of a kept plan that is not to be used.

        Raises:
            TargetError: The build fails, or others may write to the cache's folder.
            ResourceError: The cache cannot be written.
        """
        if self._cache is None:
            with tempfile.TemporaryDirectory(prefix="edgeexit-") as folder:
                return self._build(job, Path(folder) / "plan", report, "")
        name = self.name(job)
        plan, _ = self._kept(self._cache, name, useless)
        if plan is not None:
            return plan
        with _locked(self._cache, report):
            plan, fault = self._kept(self._cache, name, useless)
            if plan is not None:
                return plan
            if fault and report is not None:
                report(f"building anew: {fault}", 0.0)
            return self._keep(self._cache, name, job, report, fault)

    def name(self, job: BuildJob) -> str:
        """Return the cache entry's name of a job: its stage, and the digest of its whole key."""
        stage = re.sub(r"[^a-z0-9]+", "-", Path(job.model).stem.lower()).strip("-")
        return f"plan-{stage or 'graph'}-{self.key(job)[:32]}"

    def key(self, job: BuildJob) -> str:
        """Return the digest of all that a plan depends on, besides the cache's bundle and device.

        The stage's bytes are not in it: they are in the bundle's digest, and verified.
        """
        what = asdict(replace(job, model=_stage(job), timing_cache=None))
        key = {
            "builder": BUILDER,
            "module": self._module,
            "environment": self._environment,
            "job": what,
        }
        text = json.dumps(key, sort_keys=True)
        return hashlib.sha256(text.encode("utf-8")).hexdigest()

    def _kept(self, cache: DeviceCache, name: str, useless: str) -> tuple[Plan | None, str]:
        """Return the kept plan, or why there is none to use; no reason where none was kept."""
        path = cache.folder / f"{name}.plan"
        if not os.path.lexists(path):
            return None, ""
        fault = privacy_fault(cache.folder) or privacy_fault(path)
        if fault:
            return None, f"the kept plan is not used: {fault}"
        record = cache.read_json(name)
        if not isinstance(record, dict):
            return None, "the kept plan has no record that can be trusted"
        try:
            data = path.read_bytes()
        except OSError as error:
            return None, f"the kept plan cannot be read ({error.strerror})"
        digest = hashlib.sha256(data).hexdigest()
        if digest != record.get("sha256"):
            return None, "the kept plan is damaged"
        if digest == useless:
            return None, "the kept plan does not load"
        if record.get("machine") != machine_id() and not self._trust:
            return None, "the kept plan was built on another machine (trust_plans is not set)"
        return Plan(data, _built(record, len(data))), ""

    def _keep(
        self, cache: DeviceCache, name: str, job: BuildJob, report: Report | None, note: str
    ) -> Plan:
        temporary = cache.folder / f".edgeexit-{os.urandom(8).hex()}.tmp"
        path = cache.folder / f"{name}.plan"
        try:
            plan = self._build(_with_timings(job, cache), temporary, report, note)
            with writing(path):
                temporary.chmod(_OWN)
                temporary.replace(path)
                flush(cache.folder)
        finally:
            with suppress(OSError):
                temporary.unlink()
        record: dict[str, Any] = {
            "model": _stage(job),
            "sha256": plan.sha256,
            "machine": machine_id(),
            "seconds": plan.built.seconds,
            "layers": [[layer.name, layer.kind, layer.precision] for layer in plan.built.layers],
            "key": self.key(job),
            "environment": self._environment,
        }
        # Last: a plan without its record is as good as none.
        cache.write_json(name, record)
        return plan

    def _build(self, job: BuildJob, path: Path, report: Report | None, note: str) -> Plan:
        told = build_plan(self._module, job, path, report, self._max_seconds)
        data = path.read_bytes()
        built = Built(True, False, told.seconds, len(data), told.layers)
        return Plan(data, built, note)


@contextmanager
def _locked(cache: DeviceCache, report: Report | None) -> Iterator[None]:
    """Hold the cache's lock, and say so where another process has it: its builds take minutes."""
    lock = cache.lock()
    _check_folder(cache.folder)
    try:
        lock.acquire(timeout=0)
    except TimeoutError:
        if report is not None:
            report("waiting for another process that builds", 0.0)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _check_folder(folder: Path) -> None:
    fault = privacy_fault(folder)
    if fault:
        raise TargetError(
            f"engines cannot be kept in {folder}: {fault}; an engine is native code, and whoever "
            "can exchange it runs as you.",
            hint=f"make it yours alone (chmod 700 {folder}), or set EDGEEXIT_CACHE to a folder "
            "that is.",
            code="target.plan-folder",
        )


def _with_timings(job: BuildJob, cache: DeviceCache) -> BuildJob:
    """Return the job with the timing cache that all bundles on this device share."""
    if job.timing_cache is not None:
        return job
    return replace(job, timing_cache=str(cache_root() / "timings" / f"{cache.folder.name}.bin"))


def _stage(job: BuildJob) -> str:
    path = Path(job.model)
    return f"{path.parent.name}/{path.name}" if path.parent.name else path.name


def _built(record: Mapping[str, Any], size: int) -> Built:
    layers = tuple(BuiltLayer(*layer) for layer in record["layers"])
    return Built(True, True, record["seconds"], size, layers)
