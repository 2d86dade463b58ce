"""Rows of texts of three classes, and data that must be refused."""

from __future__ import annotations

import pytest

from edgeexit.dmpo.data.load import load_tune_data
from edgeexit.errors import InputError

COLOURS = {"warm": "red", "cold": "blue", "mild": "green"}


def rows(count=30, labels=tuple(COLOURS)):
    chosen = [labels[number % len(labels)] for number in range(count)]
    return [(label, f"{COLOURS.get(label, 'and')} and {n}") for n, label in enumerate(chosen)]


def refused(config, *words):
    with pytest.raises(InputError) as caught:
        load_tune_data(config)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    return caught.value
