"""What an architecture costs: counted once on its exported graph, by the project's own rules.

The costs do not depend on weights, so the graph is exported with random ones and without adapters
(LoRA is merged before export). They are kept in the cache under a digest of the architecture and
of the code that builds and counts it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import edgeexit
from edgeexit.bundle.atomic import write_atomic
from edgeexit.dmpo.config import AdapterConfig, TuneConfig
from tests.benchmarks.methods.records import gate_flops
from tests.benchmarks.methods.sources import methods_cache

_COUNTED = ("dmpo", "graph")
"""Rooms whose code decides what is counted."""


@dataclass(frozen=True)
class Flops:
    """FLOPs of one sample.

    Attributes:
        upto: Cumulative, of leaving at each exit: trunk, all exits so far and all gates so far.
        alone: Of each exit without the exits before it, as a model that is cut there.
    """

    upto: tuple[int, ...]
    alone: tuple[int, ...]

    def costs(self, static: int) -> tuple[float, ...]:
        """Return the cost of leaving at each exit in units of ``static`` FLOPs."""
        return tuple(flops / static for flops in self.upto)

    @property
    def overhead(self) -> float:
        """Early exits and gates as a fraction of the model without them."""
        return self.upto[-1] / self.alone[-1] - 1


def count_flops(config: TuneConfig, classes: int) -> Flops:
    """Return the FLOPs of a tuning run's architecture, which has two exits or more."""
    plain = dataclasses.replace(config, adapter=AdapterConfig(kind="none"))
    file = methods_cache() / f"flops-{_digest(plain, classes)}.json"
    if file.exists():
        kept = json.loads(file.read_text())
        return Flops(tuple(kept["upto"]), tuple(kept["alone"]))
    counted = _count(plain, classes)
    write_atomic(file, json.dumps(dataclasses.asdict(counted)).encode())
    return counted


def _count(config: TuneConfig, classes: int) -> Flops:
    """Export the model and count, stage by stage, as the compiler does for a manifest."""
    import torch

    from edgeexit.dmpo.build import build_model
    from edgeexit.graph.cost import node_flops
    from edgeexit.graph.describe import ancestors
    from edgeexit.graph.export_torch import convert_program
    from edgeexit.graph.normalize import normalize
    from edgeexit.graph.partition import partition

    model = build_model(config, classes).eval()
    example = tuple(_one_input(spec, config.data.length) for spec in model.backbone.inputs)
    with torch.no_grad():
        program = torch.export.export(model, example, strict=False)
    graph = normalize(convert_program(program))
    flops = node_flops(graph, {})
    plans = partition(graph)
    stages = [sum(flops[str(node.name)] for node in plan.owned) for plan in plans]
    # Every exit but the last has a gate behind it.
    gated = [each + gate_flops(classes) for each in stages[:-1]] + stages[-1:]
    alone = [
        sum(flops[str(node.name)] for node in ancestors(output)) for output in graph.graph.outputs
    ]
    return Flops(tuple(accumulate(gated)), tuple(alone))


def _one_input(spec: Any, length: int) -> Any:
    import torch

    shape = (1, *(length if size is None else size for size in spec.shape))
    return torch.ones(shape, dtype=getattr(torch, spec.dtype))


def _digest(config: TuneConfig, classes: int) -> str:
    """Return a digest of all that the counts depend on."""
    told = dataclasses.asdict(config)
    parts = ("exits", "backbone", "bypass", "second_order")
    architecture = {name: told[name] for name in parts} | {"length": config.data.length}
    hasher = hashlib.sha256(json.dumps([architecture, classes], sort_keys=True).encode())
    root = Path(edgeexit.__file__).parent
    for room in _COUNTED:
        for path in sorted((root / room).rglob("*.py")):
            hasher.update(path.read_bytes())
    return hasher.hexdigest()[:24]
