"""Every target that is registered here passes the one suite."""

from __future__ import annotations

import os

import pytest

from edgeexit.targets.registry import target_names
from tests.conformance.suite import TargetConformance

NAMES = os.environ.get("EDGEEXIT_CONFORMANCE_TARGETS", ",".join(target_names())).split(",")


class TestTargets(TargetConformance):
    @pytest.fixture(scope="class", params=NAMES)
    @classmethod
    def target_name(cls, request):
        return request.param
