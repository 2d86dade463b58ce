"""The target ``tensorrt`` over the two fakes: everything of ours but the probe is the real code."""

from __future__ import annotations

from typing import Any

from fake_cuda import FakeCuda
from fake_tensorrt import FakeApi

from edgeexit.targets.base import DeviceInfo
from edgeexit.targets.info import Built, BuiltLayer, EngineOptions
from edgeexit.targets.tensorrt.plans import Plan, PlanStore
from edgeexit.targets.tensorrt.target import TensorRtTarget, _Found

ENVIRONMENT = {"engine": "tensorrt 10.3.0", "gpu": "Fake GPU"}
LAYERS = (BuiltLayer("fake", "gemm", "int8"),)


class FakeStore(PlanStore):
    """Builds in this process, and keeps plans in a dict."""

    def __init__(self, api: FakeApi, kept: dict[str, Plan], options: EngineOptions) -> None:
        super().__init__(options.cache, "tensorrt", ENVIRONMENT)
        self.api = api
        self.kept = kept

    def plan(self, job: Any, report: Any = None, useless: str = "") -> Plan:
        key = self.key(job)
        if key in self.kept and self.kept[key].sha256 != useless and self._cache is not None:
            held = self.kept[key]
            return Plan(held.data, Built(True, True, 1.0, len(held.data), LAYERS))
        data = self.api.build(job, report)
        self.kept[key] = Plan(data, Built(True, False, 1.0, len(data), LAYERS))
        return self.kept[key]


class FakeTarget(TensorRtTarget):
    """The real target on fake hardware.

    Attributes:
        cuda: The fake CUDA runtime.
        api: The fake TensorRT.
        kept: Plans by key.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cuda = FakeCuda()
        self.api = FakeApi(self.cuda)
        self.kept: dict[str, Plan] = {}

    def _look(self) -> Any:
        return _Found(DeviceInfo("tensorrt 10.3.0", "Fake GPU", 1, ("sm87",)), ENVIRONMENT)

    def _store(self, options: EngineOptions) -> PlanStore:
        return FakeStore(self.api, self.kept, options)

    def _cuda(self) -> Any:
        return self.cuda

    def _api(self) -> Any:
        return self.api
