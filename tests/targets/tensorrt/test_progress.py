"""Nested phases as one fraction."""

from __future__ import annotations

from edgeexit.targets.tensorrt.progress import Progress


def test_phases_inside_phases_move_one_fraction() -> None:
    told: list[tuple[str, float]] = []
    progress = Progress(lambda phase, fraction: told.append((phase, fraction)))
    progress.start("build", 4)
    progress.step("build", 0)
    progress.start("time", 2)
    progress.start("reformat", 5)
    progress.step("reformat", 4)
    progress.finish("reformat")
    progress.step("time", 0)
    progress.finish("time")
    progress.step("build", 1)
    progress.finish("build")
    assert told == [
        ("build", 0.0),
        ("build", 0.25),
        ("time", 0.25),
        ("time", 0.375),
        ("time", 0.5),
        ("build", 0.5),
        ("build", 1.0),
    ]


def test_a_second_root_and_lost_ends_never_turn_it_back() -> None:
    told: list[float] = []
    progress = Progress(lambda phase, fraction: told.append(fraction))
    progress.step("unknown", 3)
    progress.start("build", 0)
    progress.start("inside", 2)
    progress.step("build", 0)
    progress.finish("build")
    progress.finish("build")
    progress.start("again", 3)
    progress.step("again", 0)
    assert told == [0.0, 0.0, 1.0, 1.0]
