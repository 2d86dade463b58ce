"""Exit records and costs in, an exit family out. Needs numpy alone."""

from __future__ import annotations

from edgeexit.calibrate.builder import RecordBuilder
from edgeexit.calibrate.compare import ComparedPoint, Side, compare_exits
from edgeexit.calibrate.costs import flops_table, latency_table
from edgeexit.calibrate.family import fit_family
from edgeexit.calibrate.frontier import OperatingPoint, frontier, point_at, recommend
from edgeexit.calibrate.guarantee import fit_certified_family
from edgeexit.calibrate.nesting import simulate
from edgeexit.calibrate.policies import POLICIES, Policy, find_policy
from edgeexit.calibrate.promise import Promise
from edgeexit.calibrate.records import ExitRecords, GateLayout
from edgeexit.calibrate.sweep import Sweep, sweep
from edgeexit.calibrate.verdict import Verdict, judge

__all__ = [
    "POLICIES",
    "ComparedPoint",
    "ExitRecords",
    "GateLayout",
    "OperatingPoint",
    "Policy",
    "Promise",
    "RecordBuilder",
    "Side",
    "Sweep",
    "Verdict",
    "compare_exits",
    "find_policy",
    "fit_certified_family",
    "fit_family",
    "flops_table",
    "frontier",
    "judge",
    "latency_table",
    "point_at",
    "recommend",
    "simulate",
    "sweep",
]
