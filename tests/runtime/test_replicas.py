"""Copies of the engines: spread over the workers, prepared, closed, and with the same answers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from toy import make_inputs

from edgeexit.errors import InputError, ResourceError, TargetError
from edgeexit.runtime.replicas import Replicas
from edgeexit.runtime.runtime import Runtime


class FakeEngines:
    """Counts how often it is closed."""

    def __init__(self):
        self.buckets, self.plan, self.closed = (1, 4), None, 0

    def close(self):
        self.closed += 1


def test_workers_are_spread_evenly():
    replicas = Replicas(FakeEngines, 3)
    workers = [replicas.worker() for _ in range(6)]
    held = [sum(worker._engines is engines for worker in workers) for engines in replicas]
    assert held == [2, 2, 2]
    # Where one goes, as after a call that failed, the next one comes.
    lost = workers[1]._engines
    del workers[1]
    assert replicas.worker()._engines is lost
    replicas.close()
    assert [engines.closed for engines in replicas] == [1, 1, 1]


def test_those_opened_are_closed_where_one_cannot_be():
    made = []

    def open_engines():
        if len(made) == 2:
            raise TargetError("no memory is left.", hint="-", code="target.memory")
        made.append(FakeEngines())
        return made[-1]

    with pytest.raises(TargetError):
        Replicas(open_engines, 3)
    assert [engines.closed for engines in made] == [1, 1]


@pytest.mark.parametrize("device", ["cpu", "x86"])
def test_replicas_answer_as_one(toy_bundle, device):
    inputs = [make_inputs(rows) for rows in (1, 2, 5, 1, 7)]
    with Runtime(toy_bundle, target=device, threads=1) as one:
        wanted = [one(each) for each in inputs]
    with Runtime(toy_bundle, target=device, threads=1, replicas=2, max_batch=8) as runtime:
        assert len({id(worker._engines) for worker in runtime._pool._idle}) == 2
        assert [len(worker._lanes) for worker in runtime._pool._idle] == [5, 5]
        barrier = threading.Barrier(2)

        def answer(_):
            barrier.wait()
            return [runtime(each) for each in inputs * 20]

        with ThreadPoolExecutor(2) as threads:
            both = list(threads.map(answer, range(2)))
        for results in both:
            for found, expected in zip(results, wanted * 20, strict=True):
                np.testing.assert_array_equal(found.logits, expected.logits)
                np.testing.assert_array_equal(found.exits, expected.exits)
    with pytest.raises(ResourceError, match="closed"):
        runtime(inputs[0])


@pytest.mark.parametrize("count", [0, -1])
def test_no_replicas_are_refused(toy_bundle, count):
    with pytest.raises(InputError, match=f"replicas cannot be {count}: 1 or more is right") as e:
        Runtime(toy_bundle, replicas=count)
    assert e.value.code == "input.argument"
