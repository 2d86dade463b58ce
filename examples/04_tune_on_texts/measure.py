"""How often the bundle is right about the texts of a table, and at what cost.

Run ``python measure.py test.csv`` where ``news.eex`` and ``tuned/`` are; see README.md.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from app import load_tokenizer, model_length, tokenize

import edgeexit

BATCH = 64

_MAX_FIELD = 1 << 24
"""Most characters of a text."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print accuracy and mean cost at a few budgets, and of the last exit for everything."""
    parser = argparse.ArgumentParser(description="Accuracy and cost of a bundle on a table.")
    parser.add_argument("table", type=Path, metavar="CSV", help="columns text and label")
    parser.add_argument("--bundle", default="news.eex")
    parser.add_argument("--tokenizer", default="tuned/tokenizer.json")
    options = parser.parse_args(arguments)

    csv.field_size_limit(_MAX_FIELD)
    with options.table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with edgeexit.Runtime(options.bundle, max_batch=BATCH) as runtime:
        places = {name: number for number, name in enumerate(runtime.bundle.classes or ())}
        labels = np.asarray([places[row["label"]] for row in rows])
        tokenizer = load_tokenizer(options.tokenizer, model_length(runtime))
        inputs = tokenize(tokenizer, [row["text"] for row in rows])
        for budget in (0.3, 0.5, 0.7, None):
            runtime.budget = budget
            result = runtime(inputs)
            accuracy = float((result.labels == labels).mean())
            name = "last exit" if budget is None else f"budget {budget}"
            print(f"{name}: accuracy {accuracy:.3f}, cost {result.cost:.3f}, {len(rows)} texts")


if __name__ == "__main__":
    main()
