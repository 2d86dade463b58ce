"""Small multi-exit classifiers and a plain numpy ``statistics`` gate, for tests."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np

from edgeexit.calibrate.builder import RecordBuilder
from edgeexit.calibrate.records import ExitRecords, GateLayout

FEATURES = (
    "bias",
    "log_odds",
    "log_odds_squared",
    "margin",
    "entropy",
    "energy",
    "agree_previous",
    "previous_log_odds",
    "agree_log_odds",
    "agree_fraction",
)
STATISTICS = GateLayout("statistics", 1, FEATURES, (1.0, 0.0, 1.0) + (0.0,) * 8)
CONFIDENCE = GateLayout("confidence", 1, FEATURES[:6], (1.0, 0.0, 1.0) + (0.0,) * 4)
PATIENCE = GateLayout("patience", 1, ("agreements",), (1.0, 1.0))

WIDTHS = (16, 32, 80, 240)
COSTS = (0.22, 0.45, 0.72, 1.02)
CLASSES, DIMENSION = 10, 12


@lru_cache(maxsize=1)
class Clusters:
    """Gaussian clusters, and ridge classifiers on ever more random features of them.

    Attributes:
        projection: ``(DIMENSION, WIDTHS[-1])``.
        offset: ``(WIDTHS[-1],)``.
        heads: One ``(WIDTHS[k], CLASSES)`` matrix an exit.
    """

    def __init__(self) -> None:
        world = np.random.default_rng(7)
        self.centres = 1.6 * world.normal(size=(CLASSES * 2, DIMENSION))
        self.projection = world.normal(size=(DIMENSION, WIDTHS[-1])) / np.sqrt(DIMENSION)
        self.offset = world.normal(size=WIDTHS[-1])
        points, labels = self.draw(3000, 11)
        hidden = self.hidden(points)
        self.heads = []
        for width in WIDTHS:
            design = hidden[:, :width]
            gram = design.T @ design + 1.0 * np.eye(width)
            self.heads.append(8 * np.linalg.solve(gram, design.T @ (np.eye(CLASSES)[labels] - 0.1)))

    def draw(self, samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Points ``(n, DIMENSION) float32`` and their labels."""
        rng = np.random.default_rng(seed)
        cluster = rng.integers(0, len(self.centres), samples)
        points = self.centres[cluster] + rng.normal(size=(samples, DIMENSION))
        return points.astype(np.float32), cluster % CLASSES

    def hidden(self, points: np.ndarray) -> np.ndarray:
        """All random features."""
        return np.maximum(points @ self.projection + self.offset, 0)


def random_feature_logits(samples: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Logits of all exits, and labels."""
    clusters = Clusters()
    points, labels = clusters.draw(samples, seed)
    hidden = clusters.hidden(points)
    widths = zip(WIDTHS, clusters.heads, strict=True)
    return [(hidden[:, :width] @ head).astype(np.float32) for width, head in widths], labels


def statistics_gate(logits: list[np.ndarray], width: int = len(FEATURES)) -> list[np.ndarray]:
    """The features of the compiled gate, written anew from their definition."""
    features, labels, log_odds = [], [], []
    for z in logits[:-1]:
        order = np.sort(z.astype(np.float64), axis=1)
        rest = np.log(np.exp(order[:, :-1]).sum(axis=1))
        energy = np.logaddexp(order[:, -1], rest)
        p = np.exp(order - energy[:, None])
        odds = np.clip(order[:, -1] - rest, -30, 30) / 3
        entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1) / np.log(z.shape[1])
        label = z.argmax(axis=1)
        agree = [(label == other).astype(float) for other in labels]
        zero = np.zeros(len(z))
        previous = agree[-1] if agree else zero
        columns = (
            np.ones(len(z)),
            odds,
            odds**2,
            p[:, -1] - p[:, -2],
            entropy,
            energy,
            previous,
            log_odds[-1] if log_odds else zero,
            previous * odds,
            np.mean(agree, axis=0) if agree else zero,
        )
        features.append(np.stack(columns[:width], axis=1).astype(np.float32))
        labels.append(label)
        log_odds.append(odds)
    return features


def patience_gate(logits: list[np.ndarray]) -> list[np.ndarray]:
    """Consecutive agreements, 0 at exit 1."""
    count = np.zeros(len(logits[0]), dtype=np.float32)
    features = [count[:, None]]
    for before, after in pairwise(logits[:-1]):
        count = np.where(before.argmax(axis=1) == after.argmax(axis=1), count + 1, 0)
        features.append(count[:, None].astype(np.float32))
    return features


@lru_cache(maxsize=32)
def make_records(
    samples: int = 2000, seed: int = 0, gate: GateLayout = STATISTICS, labelled: bool = True
) -> ExitRecords:
    """Exit records of the random-feature classifiers."""
    logits, labels = random_feature_logits(samples, seed)
    if gate is PATIENCE:
        features = patience_gate(logits)
    else:
        features = statistics_gate(logits, len(gate.features))
    builder = RecordBuilder(gate, len(logits))
    for start in range(0, samples, 512):
        part = slice(start, start + 512)
        builder.add(
            [a[part] for a in logits],
            [a[part] for a in features],
            labels[part] if labelled else None,
        )
    return builder.build("synthetic")
