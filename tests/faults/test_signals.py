"""Commands that are stopped, killed or run out of disk anywhere: the old or the new, no part."""

from __future__ import annotations

import random
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgeexit.bundle.bundle import Bundle
from edgeexit.runtime.runtime import Runtime
from tests.cli.conftest import contents
from tests.faults.commands import Commands, copy_work, leftovers
from tests.faults.counts import count

VERBS = {
    "compile": ("compile", "model.onnx", "--precision", "f32"),
    "calibrate": ("calibrate", "model.eex", "--data", "data.npz", "--budget", "0.7"),
    "run": ("run", "model.eex", "--input", "data.npz"),
    "profile": ("profile", "model.eex", "--seconds", "0.3"),
    "report": ("report", "model.eex", "--data", "data.npz", "-o", "page.html"),
}
SIGNALS = {
    "compile": count(16, 100), "calibrate": count(28, 100), "run": count(28, 100),
    "profile": count(28, 100),
}  # fmt: skip
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
KILLS = count(16, 200)
LONGEST = 2.0
"""Seconds that a command may take to stop."""


@pytest.fixture(scope="module")
def places(made, tmp_path_factory):
    """Two folders with a server each; OpenVINO is left out, to halve what a compile takes."""
    folders = [copy_work(made, tmp_path_factory.mktemp(f"place{n}") / "work") for n in (1, 2)]
    with Commands(folders[0], ("openvino",)) as one, Commands(folders[1], ("openvino",)) as two:
        yield one, two


def share(places, work, jobs):
    """Do every job once, half of them in each place; return what was returned."""
    halves = [(place, jobs[number::2]) for number, place in enumerate(places)]
    with ThreadPoolExecutor(2) as threads:
        done = threads.map(lambda half: [work(half[0], job) for job in half[1]], halves)
        return [each for half in done for each in half]


def check_whole(place):
    """The bundle opens, its every file is what was sealed, and its exits belong to it."""
    bundle = Bundle.open(place.folder / "model.eex")
    for entry in bundle.manifest.files:
        bundle.file(entry.path)
    bundle.exits()


def succeed(place, *names):
    for name in names:
        ran = place.run(*VERBS[name])
        assert (ran.code, ran.left) == (0, False), ran


@pytest.mark.slow
@pytest.mark.parametrize("verb", SIGNALS)
def test_a_signal_at_a_random_time_stops_it_and_leaves_nothing(places, verb):
    length = min(place.run(*VERBS[verb]).late for place in places for _ in range(2))
    rng = random.Random(verb)
    numbers = (signal.SIGINT, signal.SIGTERM)
    jobs = [
        (numbers[index % 4 // 2], rng.uniform(0.02, 1.0) * length) for index in range(SIGNALS[verb])
    ]

    def work(place, job):
        number, delay = job
        before, old = contents(place.folder / "model.eex"), leftovers(place.folder)
        ran = place.run(*VERBS[verb], signal=number, delay=delay)
        assert not ran.left, "a process of its own outlived it"
        assert "Traceback" not in ran.stderr, ran.stderr
        assert leftovers(place.folder) <= old
        check_whole(place)
        if ran.code == 0 or (ran.code == -number and (ran.stdout or not ran.stderr)):
            # It came when all was done, for Python gives signals back to the system as it ends; or
            # before the command had begun.
            return 0
        assert ran.sent
        # A shell shows both alike.
        assert ran.code in (CODES[number], -number), ran
        assert ran.late <= LONGEST, ran
        error, hint = ran.stderr.splitlines()[-2:]
        word = "interrupted" if number == signal.SIGINT else "terminated"
        assert error == f"error: {word}."
        assert hint == "hint: what stood before is unchanged; run the command again."
        after = contents(place.folder / "model.eex")
        assert after == before or verb == "compile" or ran.stdout
        return 1

    stopped = sum(share(places, work, jobs))
    # Times are drawn over the shortest of four runs; on a busy machine most come in the middle.
    assert stopped >= SIGNALS[verb] // 8
    for place in places:
        succeed(place, verb)


def _kills(total):
    """Return write points, spread over a run of ``total`` writes, and as many random times."""
    at_writes = KILLS * 3 // 4
    points = [1 + number * total // at_writes % total for number in range(at_writes)]
    return [(point, None) for point in points] + [
        (None, random.Random(number).random()) for number in range(KILLS - at_writes)
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_kill_in_a_compile_leaves_the_old_bundle_or_the_new_one(places):
    """At every write point in turn and at random times; what was killed is not cleaned first."""
    for place in places:
        succeed(place, "compile")
    ran = places[0].run(*VERBS["compile"])

    def work(place, job):
        point, part = job
        if point is not None:
            done = place.run(*VERBS["compile"], event=point, action="kill")
        else:
            done = place.run(*VERBS["compile"], signal=signal.SIGKILL, delay=part * ran.late)
        check_whole(place)
        return done.code == -signal.SIGKILL

    killed = share(places, work, _kills(ran.writes))
    assert sum(killed) >= KILLS * 3 // 4
    for place in places:
        succeed(place, "compile", "calibrate", "run")
        beside = {path.name for path in place.folder.iterdir() if "model.eex" in path.name}
        assert beside == {"model.eex", ".model.eex.lock"}


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["calibrate", "profile", "report"])
def test_a_kill_at_every_write_leaves_no_bad_entry(places, verb):
    """Exits, cache, page: the old one is read, or the new one; then the command succeeds."""
    place = places[0]
    succeed(place, "compile", "calibrate", verb)
    writes = place.run(*VERBS[verb]).writes
    assert writes >= 2
    for point in range(1, writes + 1):
        ran = place.run(*VERBS[verb], event=point, action="kill")
        assert ran.code in (-signal.SIGKILL, 0), ran
        check_whole(place)
        with Runtime(place.folder / "model.eex", threads=1) as runtime:
            assert runtime.calibrated
    succeed(place, verb)


def _full(place, verb, point):
    before, litter = contents(place.folder / "model.eex"), leftovers(place.folder)
    page = place.folder / "page.html"
    old = page.read_bytes() if page.exists() else None
    ran = place.run(*VERBS[verb], event=point, action="full")
    assert "Traceback" not in ran.stderr, ran.stderr
    assert not ran.left
    assert leftovers(place.folder) <= litter
    check_whole(place)
    if ran.code == 0:
        return 0
    assert ran.code == 8, ran
    error, hint = ran.stderr.splitlines()[-2:]
    # Where not even a temporary file can be made, Python says so in its own words.
    assert "No space left on device" in error or "No usable temporary directory" in error
    assert hint.startswith("hint: ")
    assert contents(place.folder / "model.eex") == before
    assert (page.read_bytes() if page.exists() else None) == old
    return 1


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["calibrate", "profile", "report"])
def test_a_disk_that_is_full_from_any_write_on(places, verb):
    """What must be written is an error of one line; a cache that cannot be is only not kept."""
    place = places[0]
    succeed(place, "compile", "calibrate", verb)
    writes = place.run(*VERBS[verb]).writes
    refused = [_full(place, verb, point) for point in range(1, writes + 1)]
    assert sum(refused) >= (0 if verb == "profile" else 1), refused
    succeed(place, verb)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_disk_that_is_full_in_a_compile(places):
    for place in places:
        succeed(place, "compile")
    writes = places[0].run(*VERBS["compile"]).writes
    points = range(1, writes + 1, count(5, 1))
    refused = share(places, lambda place, point: _full(place, "compile", point), points)
    assert sum(refused) >= len(points) // 2
    for place in places:
        succeed(place, "compile", "calibrate")
