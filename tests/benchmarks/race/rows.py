"""The race, and the rows it gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import numpy as np

from edgeexit.runtime.timing import Ratio
from edgeexit.targets.processor import available_threads
from tests.benchmarks.measure import Times, spread_text
from tests.benchmarks.race.clock import race
from tests.benchmarks.race.course import Course, demo_course
from tests.benchmarks.race.earlyon_racer import missing_earlyon
from tests.benchmarks.race.line_up import AGAIN, IF_DEVICES, JUDGED, Heat, line_up
from tests.benchmarks.race.racer import Answers, Numbers
from tests.benchmarks.rows import Effort, Row

BATCHES = (1, 32)
WANTED = {1: 5.0, 32: 8.0}
"""Times that int8 on OpenVINO must be faster than earlyon, by batch size."""

POINTS = 0.5
"""Percentage points of accuracy that contestants may be apart."""

ON_ONE_THREAD = (("x86", "f32"), ("x86", "int8"))
"""What is raced again on one thread, where there are more."""

OF_LARGE_MODELS = (*ON_ONE_THREAD, ("cpu", "f32"))


def race_rows(effort: Effort) -> Iterator[Row]:
    """Yield the rows of the demo model, of the CNN and of the ViT-S/16."""
    from tests.benchmarks.race.cnn import cnn_course
    from tests.benchmarks.race.vit import vit_course

    threads = available_threads()
    every = heats(threads)
    large = [Heat(batch, threads, OF_LARGE_MODELS, others=batch == 1) for batch in BATCHES]
    makers = ((demo_course, every), (cnn_course, every), (vit_course, large))
    for make, races in makers:
        course = make(effort)
        for heat in races:
            effort.tell(f"race: {course.name}, {heat.title}")
            yield from heat_rows(course, heat)


def heats(threads: int) -> list[Heat]:
    """Return the races to run: all cores for everyone, then a smaller one on one thread."""
    found = [Heat(batch, threads) for batch in BATCHES]
    if threads > 1:
        found += [Heat(batch, 1, ON_ONE_THREAD, others=False) for batch in BATCHES]
    return found


def heat_rows(course: Course, heat: Heat) -> Iterator[Row]:
    """Yield the rows of one model in one race."""
    with ExitStack() as stack:
        racers, refused = line_up(course, heat, stack)
        count = len(course.images) // heat.batch * heat.batch
        images, labels = course.images[:count], course.labels[:count]
        asked = racers if heat.others else {}
        answers = {name: racer.answers(images, heat.batch) for name, racer in asked.items()}
        times = race(racers, images, heat.batch, course.rounds)
    stem, what = f"race.{course.name}.{heat.name}", f"{course.title}, {heat.title}"
    for kind in heat.kinds:
        yield earlyon_row(stem, what, heat.batch, kind, times)
    if not heat.others:
        return
    accuracy = accuracy_row(stem, what, answers, labels)
    yield accuracy if course.trained else dataclasses.replace(accuracy, wanted=None, met=None)
    yield decisions_row(stem, what, answers, alone=heat.batch == 1)
    if "staged" in times:
        own = times[f"edgeexit.{'.'.join(JUDGED)}"]
        title = f"{what}: earlyon's staged model ÷ edgeexit {' '.join(JUDGED)}"
        yield _ratio_row(f"{stem}.staged", title, times["staged"], own)
    for device in IF_DEVICES:
        name, title = f"{stem}.if.{device}", f"{what}: `If` {device} f32 ÷ edgeexit {device} f32"
        if device in refused:
            yield Row(name, title, f"NOT RUN: {refused[device]}")
        else:
            yield _ratio_row(name, title, times[f"if.{device}"], times[f"edgeexit.{device}.f32"])


def earlyon_row(
    stem: str, what: str, batch: int, kind: tuple[str, str], times: Mapping[str, Times]
) -> Row:
    """Return how many times faster than earlyon edgeexit is, and what of it the engine gives."""
    key, judged = ".".join(kind), kind == JUDGED
    own, whole = times[f"edgeexit.{key}"], times[f"static.{key}"]
    engine, exits = Ratio.of(times["torch"], whole), Ratio.of(whole, own)
    parts = {"engine": engine.median, "exits": exits.median}
    said = f"engine {engine.median:.2f}, exits {exits.median:.2f}"
    name, title = f"{stem}.earlyon.{key}", f"{what}: earlyon ÷ edgeexit {' '.join(kind)}"
    wanted = f"≥ {WANTED[batch]:g}" if judged else None
    if absent := missing_earlyon():
        value = f"{absent}; {said}"
        return Row(name, title, value, parts, wanted=wanted, met=False if judged else None)
    theirs = Ratio.of(times["torch"], times["earlyon"]).median
    row = _ratio_row(name, title, times["earlyon"], own)
    same = Ratio.of(times[AGAIN], own) if judged else None
    return dataclasses.replace(
        row,
        value=f"{row.value}; {said}, earlyon's exits {theirs:.2f}",
        values={**row.values, **parts, "earlyon_exits": theirs},
        same="" if same is None else f"{same.median:.3f} [{same.low:.3f}, {same.high:.3f}]",
        wanted=wanted,
        met=Ratio.of(times["earlyon"], own).median >= WANTED[batch] if judged else None,
    )


def accuracy_row(stem: str, what: str, answers: Mapping[str, Answers], labels: Numbers) -> Row:
    """Return everyone's accuracy, and how far edgeexit's is from earlyon's."""
    percent = {
        name: 100 * float((said.labels == labels).mean())
        for name, said in answers.items()
        if name != AGAIN
    }
    told = ", ".join(f"{_spoken(name)} {value:.2f}" for name, value in percent.items())
    name, title = f"{stem}.accuracy", f"{what}: accuracy on {len(labels)} images, %"
    wanted = f"≤ {POINTS} point apart"
    if "earlyon" not in percent:
        return Row(name, title, f"{missing_earlyon()}; {told}", percent, wanted=wanted, met=False)
    own = [value for name, value in percent.items() if name.startswith("edgeexit")]
    apart = max(abs(value - percent["earlyon"]) for value in own)
    values = {**percent, "apart": apart, "images": len(labels)}
    value = f"edgeexit at most {apart:.2f} from earlyon; {told}"
    return Row(name, title, value, values, wanted=wanted, met=apart <= POINTS)


def decisions_row(stem: str, what: str, answers: Mapping[str, Answers], *, alone: bool) -> Row:
    """Return where images leave.

    Args:
        stem: Of the row's name.
        what: Of its title.
        answers: What everyone said.
        alone: Whether everyone decides image by image, so that it can be counted who differs
            from edgeexit in f32 on OpenVINO.
    """
    own = answers["edgeexit.x86.f32"].exits
    count, last = len(own), int(answers["torch"].exits.max())
    parts, values = [], {"images": count}
    for name, said in answers.items():
        if not name.startswith(("earlyon", "edgeexit", "staged", "if")):
            continue
        shares = np.bincount(said.exits, minlength=last + 1)[1:] / count
        text = f"{_spoken(name)} {'/'.join(f'{share:.3f}' for share in shares)}"
        if alone or name.startswith("edgeexit"):
            values[name] = int((said.exits != own).sum())
            text += f" ({values[name]} differ)"
        parts.append(text)
    title = f"{what}: share of {count} images at each exit"
    return Row(f"{stem}.decisions", title, "; ".join(parts), values)


def _ratio_row(name: str, title: str, above: Times, below: Times) -> Row:
    found, least = Ratio.of(above, below), float((above / below).min())
    return Row(
        name,
        title,
        f"{found.median:.2f} [{found.low:.2f}, {found.high:.2f}], {found.of_minima:.2f}; least "
        f"{least:.2f}; {spread_text(above)} against {spread_text(below)}",
        {
            "median": found.median, "low": found.low, "high": found.high,
            "of_minima": found.of_minima, "least": least, "rounds": found.pairs,
            "above_ms": float(np.median(above)), "below_ms": float(np.median(below)),
        },
    )  # fmt: skip


def _spoken(name: str) -> str:
    words = {"torch": "PyTorch whole", "staged": "earlyon's stages", "if": "If"}
    first, *rest = name.split(".")
    return " ".join([words.get(first, first), *rest])
