"""What takes part in a race, and how its answers are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Answers:
    """What a contestant said.

    Attributes:
        labels: ``(n,)`` classes.
        exits: ``(n,)`` exits taken, from 1.
    """

    labels: Numbers
    exits: Numbers


@dataclass(frozen=True)
class Racer:
    """A contestant at one batch size.

    Attributes:
        name: Short name, unique in a race.
        call: What is timed.
        read: The answers in what ``call`` returns; not timed.
        take: What ``call`` is given for some images; not timed.
    """

    name: str
    call: Callable[[Any], Any]
    read: Callable[[Any], Answers]
    take: Callable[[Images], Any] = lambda images: images

    def answers(self, images: Images, batch: int) -> Answers:
        """Return what it says to ``(n, ...)`` images, n a multiple of the batch size."""
        given = (images[start : start + batch] for start in range(0, len(images), batch))
        parts = [self.read(self.call(self.take(each))) for each in given]
        return Answers(
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.exits for part in parts]),
        )
