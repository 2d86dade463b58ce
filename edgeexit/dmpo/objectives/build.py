"""From a config to an objective."""

from __future__ import annotations

from collections.abc import Callable

from edgeexit.dmpo.config import ObjectiveConfig
from edgeexit.dmpo.objectives.base import Objective
from edgeexit.dmpo.objectives.distillation import DistillationObjective
from edgeexit.dmpo.objectives.dmpo import DecoupledObjective
from edgeexit.dmpo.objectives.joint import JointObjective
from edgeexit.dmpo.objectives.schedules import (
    PAPER_END,
    PAPER_START,
    Constant,
    Cosine,
    Exponential,
    Linear,
    Milestone,
    Schedule,
    TwoPhase,
    Weights,
    stretched,
)
from edgeexit.errors import InputError


def build_objective(
    config: ObjectiveConfig, exits: int, *, label_smoothing: float = 0.0
) -> Objective:
    """Return the objective of a config for a model of ``exits`` exits.

    Raises:
        InputError: The weights do not fit the number of exits or the schedule.
    """
    if config.method == "dmpo":
        schedule = build_schedule(config, exits)
        return DecoupledObjective(
            schedule, cross_exit=config.cross_exit, label_smoothing=label_smoothing
        )
    if config.method == "distill":
        return DistillationObjective(
            config.temperature, config.distill_weight, label_smoothing=label_smoothing
        )
    return JointObjective(separate=config.method == "sweet", label_smoothing=label_smoothing)


def build_schedule(config: ObjectiveConfig, exits: int) -> Schedule:
    """Return the schedule of DMPO's weights.

    Raises:
        InputError: ``start`` or ``end`` has another length than ``exits``, or a weight is out of
            range.
    """
    start = config.start or stretched(PAPER_START, exits)
    end = config.end or stretched(PAPER_END, exits)
    for name, weights in (("start", start), ("end", end)):
        _check_weights(name, weights, exits, positive=config.schedule == "exponential")
    if config.schedule == "two-phase":
        return TwoPhase(start, end, config.boundary)
    if config.schedule == "milestone":
        return Milestone(start, end, config.milestones)
    plain: dict[str, Callable[[Weights, Weights], Schedule]] = {
        "constant": Constant,
        "linear": Linear,
        "cosine": Cosine,
        "exponential": Exponential,
    }
    return plain[config.schedule](start, end)


def _check_weights(name: str, weights: tuple[float, ...], exits: int, *, positive: bool) -> None:
    if len(weights) != exits:
        raise InputError(
            f"objective.{name} has {len(weights)} weights for {exits} exits.",
            hint="give one weight an exit, or leave it out for the paper's.",
            code="tune.weights",
        )
    if min(weights) < 0 or (positive and min(weights) == 0):
        raise InputError(
            f"objective.{name} holds {min(weights):g}; weights are "
            f"{'above 0 for an exponential schedule' if positive else '0 or more'}.",
            hint="raise it.",
            code="tune.weights",
        )
