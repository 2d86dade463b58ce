"""The conformance suite's stages, opened on a target."""

from __future__ import annotations

from edgeexit.targets.base import EngineOptions
from tests.conformance.graphs import CARRIED

FIXED = {"batch": 1}


def open_stages(target, graphs, dims=None, **kwargs):
    options = EngineOptions(dims=dims or {}, native=CARRIED, **kwargs)
    return [target.open(g.file, g.inputs, g.outputs, options) for g in graphs[1]]
