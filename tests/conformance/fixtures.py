"""What all parts of the suite share: the target under test and the small transformer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edgeexit.targets.base import Engine, EngineOptions, Target, Unavailable
from edgeexit.targets.registry import get_target
from tests.conformance.chain import open_all
from tests.conformance.graphs import Graph, save_stages


def options(precision="f32", threads=1, **kwargs):
    return EngineOptions(precision=precision, threads=threads, **kwargs)


class TargetFixtures:
    """Needs a class-scoped fixture ``target_name``; without that target's engine, all skip."""

    @pytest.fixture(scope="class")
    @classmethod
    def graphs(cls, tmp_path_factory) -> tuple[Graph, tuple[Graph, ...]]:
        return save_stages(tmp_path_factory.mktemp("graphs"))

    @pytest.fixture(scope="class")
    @classmethod
    def target(cls, target_name) -> Target:
        target = get_target(target_name)
        found = target.probe()
        if isinstance(found, Unavailable):
            pytest.skip(found.reason)
        return target

    @pytest.fixture(scope="class")
    @classmethod
    def dynamic(cls, target, graphs) -> Iterator[list[Engine]]:
        engines = open_all(target, graphs[1], options())
        yield engines
        for engine in engines:
            engine.close()
