"""Many threads on one runtime: every answer is the serial one, bit for bit, on both engines."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from edgeexit.bundle import Bundle
from edgeexit.runtime.result import Result
from edgeexit.runtime.runtime import Runtime
from tests.runtime.families import make_family
from tests.runtime.toy import make_inputs, write_bundle

THREADS = 8
ENGINES = ("cpu", "x86")
BUDGETS = (0.5, 0.9)
ROWS = (1, 1, 1, 1, 1, 2, 1, 5, 1, 9)
"""Samples of the calls, in turn: most are single, some batches of several sizes."""

_INPUTS = 50

Answer = tuple[bytes, bytes, bytes]


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    bundle = write_bundle(tmp_path_factory.mktemp("threads"))
    bundle.write_exits(make_family(bundle))
    return bundle


@pytest.fixture(params=ENGINES)
def runtime(request: pytest.FixtureRequest, calibrated: Bundle) -> Iterator[Runtime]:
    with Runtime(calibrated, BUDGETS[0], target=request.param, threads=1) as opened:
        yield opened


def _bits(result: Result) -> Answer:
    logits: Any = result.logits
    return logits.tobytes(), result.exits.tobytes(), result.scores.tobytes()


def _work() -> list[dict[str, np.ndarray]]:
    return [make_inputs(ROWS[seed % len(ROWS)], seed) for seed in range(_INPUTS)]


def _in_threads(answer: Callable[[int], int]) -> list[int]:
    """Start ``answer(number)`` in all threads at one moment and return what they return."""
    together = threading.Barrier(THREADS)

    def begin(number: int) -> int:
        together.wait()
        return answer(number)

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(begin, range(THREADS)))


@pytest.mark.slow
def test_eight_threads_of_ten_thousand_calls_answer_as_one(runtime: Runtime) -> None:
    calls = 10_000
    work = _work()
    serial = [_bits(runtime(inputs)) for inputs in work]
    taken = np.concatenate([np.frombuffer(exits, np.int32) for _, exits, _ in serial])
    assert set(taken.tolist()) == {1, 2, 3}

    def wrong(number: int) -> int:
        """Answer from a place of one's own in the work; no two threads go in step."""
        places = np.random.default_rng(number).integers(0, len(work), calls).tolist()
        return sum(_bits(runtime(work[place])) != serial[place] for place in places)

    before = runtime.stats().calls
    assert _in_threads(wrong) == [0] * THREADS
    assert runtime.stats().calls - before == THREADS * calls
    assert len(runtime._pool._idle) <= THREADS


def test_no_answer_mixes_two_budgets(runtime: Runtime) -> None:
    work = _work()
    serial = []
    for budget in BUDGETS:
        runtime.budget = budget
        serial.append([_bits(runtime(inputs)) for inputs in work])
    assert serial[0] != serial[1]
    ended = threading.Event()

    def turn() -> None:
        while not ended.is_set():
            for budget in BUDGETS:
                runtime.budget = budget

    def wrong(number: int) -> int:
        count = 0
        for place in np.random.default_rng(number).integers(0, len(work), 500).tolist():
            count += _bits(runtime(work[place])) not in (serial[0][place], serial[1][place])
        return count

    dial = threading.Thread(target=turn)
    dial.start()
    try:
        assert _in_threads(wrong) == [0] * THREADS
    finally:
        ended.set()
        dial.join()


def test_streams_of_several_threads_answer_as_one_stream(runtime: Runtime) -> None:
    samples = [make_inputs(1, seed) for seed in range(300)]
    serial = [_bits(result) for result in runtime.stream(samples, batch=4)]

    def wrong(number: int) -> int:
        answers = [_bits(result) for result in runtime.stream(samples, batch=4)]
        return sum(one != other for one, other in zip(answers, serial, strict=True))

    assert _in_threads(wrong) == [0] * THREADS


def test_opening_and_closing_other_runtimes_leaves_answers_alone(calibrated: Bundle) -> None:
    work = _work()
    with Runtime(calibrated, target="x86", threads=1) as kept:
        serial = [_bits(kept(inputs)) for inputs in work]

        def wrong(number: int) -> int:
            count = 0
            for start in range(5):
                with Runtime(calibrated, target=ENGINES[number % 2], threads=1) as other:
                    other(work[start])
                count += sum(_bits(kept(work[place])) != serial[place] for place in range(20))
            return count

        assert _in_threads(wrong) == [0] * THREADS
