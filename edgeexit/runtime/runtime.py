"""The runtime: a bundle, ready to answer."""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgeexit.budget import Budget
from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.exits import ExitFamily
from edgeexit.errors import InputError, ResourceError
from edgeexit.runtime.answers import single
from edgeexit.runtime.dial import Dial
from edgeexit.runtime.engines import EngineSet
from edgeexit.runtime.golden import check_once_built
from edgeexit.runtime.inputs import Checked, InputCheck, Inputs, OnInvalid
from edgeexit.runtime.lane import Lane
from edgeexit.runtime.live_profile import Profile
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.plan import Plan
from edgeexit.runtime.result import AllExits, Result
from edgeexit.runtime.router import forced_exits, route_batch, route_one, run_all, walk_one
from edgeexit.runtime.worker import Pool, Worker

_EXIT_SECONDS = 5.0
"""How long the end of the interpreter waits for calls in other threads."""


class Runtime:
    """Answers inputs with a bundle at a chosen average cost. Threads may share one.

    Without a budget the one that the bundle was calibrated at holds; where there is none, every
    sample goes to the last exit. Where rows must not leave a batch (the manifest says why) and
    where the model's batch is fixed, samples run one by one.

    Args:
        bundle: A bundle or the path of one.
        budget: The average cost to keep: a fraction of the static model's FLOPs, or ``"8ms"``.
        target: Name of a device or path of a device file; the bundle's own if None.
        threads: Threads an inference; the device file's if None, 0 for the engine's choice.
        max_batch: Largest batch to run at once, prepared now; if None, batches are prepared when
            the first one comes, as always where other sizes are dynamic too. Larger inputs are
            cut into chunks.
        check_finite: Whether inputs are searched for NaN and infinity.
        on_invalid: What happens to them: ``error``, or ``last_exit`` to answer such samples at
            the last exit and mark them in ``result.valid``.
        exits: Where the calibrated exits are: the bundle's own ``exits.json`` (None), another
            file, e.g. beside a read-only bundle, or False to ignore them.

    Raises:
        BundleError: The bundle is missing or damaged.
        TargetError: Its engine is not installed here or refuses it.
        BudgetError: The budget is out of bounds, or the bundle is not calibrated for it.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] | Bundle,
        budget: Budget | float | str | None = None,
        *,
        target: str | Path | None = None,
        threads: int | None = None,
        max_batch: int | None = None,
        check_finite: bool = True,
        on_invalid: OnInvalid = "error",
        exits: str | os.PathLike[str] | Literal[False] | None = None,
    ) -> None:
        _check_arguments(max_batch, on_invalid)
        self.bundle = Bundle.open(bundle)
        self.plan = Plan.of(self.bundle.manifest)
        self.machine = Machine.of(self.bundle, target, threads)
        self._gates = tuple(stage.gate for stage in self.plan.stages if stage.gate is not None)
        self._exits = exits
        self._family = self._read_exits()
        if budget is None and self._family is not None:
            budget = self._family.budget
        self._dial = self._make_dial(self._family, budget)
        self._dial_lock = threading.Lock()
        self._check = InputCheck(
            self.plan.inputs,
            self.plan.symbols,
            check_finite=check_finite,
            on_invalid=on_invalid,
            device_arrays=self.machine.target.takes_device_arrays,
        )
        files = [self.bundle.file(stage.file) for stage in self.plan.stages]
        self._engines = EngineSet(self.machine, self.plan, files, max_batch)
        self._pool = Pool(partial(Worker, self._engines))
        self._profile: Profile | None = None
        self._pid = os.getpid()
        self._closed = False
        # A thread inside an engine when the interpreter ends would abort the process.
        self._at_exit = weakref.finalize(
            self, _shut, self._pool, self._engines, self._pid, _EXIT_SECONDS
        )
        try:
            self._prepare(max_batch)
            check_once_built(self)
        except BaseException:
            self.close()
            raise

    def __call__(self, inputs: Inputs) -> Result:
        """Answer one input or a batch.

        Args:
            inputs: The array, or arrays by name, in the model's types; an array with one axis
                less than the model's input is one sample. On a GPU target arrays in its memory
                are taken as they are, and not searched for NaN and infinity.

        Returns:
            One row a sample.

        Raises:
            InputError: The input does not fit the model or is not finite.
            ResourceError: The runtime is closed, or was opened by the parent of this process.
        """
        return self._answer(inputs, None)

    def run_to(self, inputs: Inputs, exits: int | npt.NDArray[np.integer[Any]]) -> Result:
        """Answer with given exits instead of asking the gates, to measure what an exit costs.

        Args:
            inputs: As for a call.
            exits: The exit, from 1, of all samples, or ``(n,)`` one a sample.

        Raises:
            InputError: As for a call, or there is no such exit.
        """
        return self._answer(inputs, exits)

    def all_exits(self, inputs: Inputs) -> AllExits:
        """Run every sample through all stages and return what each exit says.

        Raises:
            InputError: As for a call.
        """
        checked = self._checked(inputs)
        with self._worker() as worker:
            return AllExits(*run_all(worker, checked, self._dial))

    @contextmanager
    def lane(self, inputs: Inputs) -> Iterator[Lane]:
        """Lend the chained stages with the inputs written, to run and measure them one by one.

        Raises:
            InputError: As for a call, or there are more samples than run at once.
        """
        checked = self._checked(inputs)
        with self._worker() as worker:
            if checked.rows > worker.largest:
                raise InputError(
                    f"{checked.rows} samples do not run at once: {worker.largest} do.",
                    hint="give fewer samples, or open the runtime with a larger max_batch.",
                    code="input.batch",
                )
            lane = worker.lane(checked.rows, checked.symbols, self._dial)
            lane.write(checked.arrays, 0, checked.rows)
            yield lane

    async def arun(self, inputs: Inputs) -> Result:
        """Answer in a thread of the event loop's executor; otherwise as a call."""
        # Imported late: apps without an event loop need not pay its 20 ms.
        import asyncio

        return await asyncio.to_thread(self, inputs)

    @property
    def calibrated(self) -> bool:
        """Whether the bundle has calibrated exits, without which no budget can be kept."""
        return self._family is not None

    @property
    def budget(self) -> Budget | None:
        """The budget in force; None where every sample goes to the last exit.

        Setting it takes effect at the next call; calls under way keep the old one.
        """
        return self._dial.budget

    @budget.setter
    def budget(self, budget: Budget | float | str | None) -> None:
        with self._dial_lock:
            self._dial = self._make_dial(self._family, budget)

    def reload(self) -> None:
        """Take up a new ``exits.json`` at the present budget; on any error the old one stays.

        A runtime without a budget takes up the one the new exits were calibrated at.

        Raises:
            BundleError: The file is damaged or belongs to another bundle.
            BudgetError: The new exits cannot keep the present budget.
        """
        with self._dial_lock:
            family = self._read_exits()
            budget = self._dial.budget
            if budget is None and family is not None:
                budget = family.budget
            self._dial = self._make_dial(family, budget)
            self._family = family

    @contextmanager
    def profile(self) -> Iterator[Profile]:
        """Measure the calls made in the block: stage times, exits, a trace.

        Raises:
            ResourceError: Another profile is being taken.
        """
        with self._dial_lock:
            if self._profile is not None:
                raise ResourceError(
                    "a profile of this runtime is being taken already.",
                    hint="leave the other `with runtime.profile()` block first.",
                    code="runtime.profile-active",
                )
            profile = self._profile = Profile(self.plan.exits)
        try:
            yield profile
        finally:
            self._profile = None

    def close(self) -> None:
        """Wait for the calls under way, then free the engines. Closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        self._at_exit.detach()
        _shut(self._pool, self._engines, self._pid, math.inf)

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _answer(self, inputs: Inputs, exits: int | npt.NDArray[np.integer[Any]] | None) -> Result:
        profile = self._profile
        if profile is not None:
            with profile.call() as done:
                return done(self._route(inputs, exits, profile))
        return self._route(inputs, exits, None)

    def _route(
        self,
        inputs: Inputs,
        exits: int | npt.NDArray[np.integer[Any]] | None,
        profile: Profile | None,
    ) -> Result:
        checked = self._checked(inputs)
        forced = None if exits is None else forced_exits(exits, checked.rows, self.plan.exits)
        dial = self._dial
        worker = self._pool.take()
        try:
            if checked.rows == 1:
                result = self._route_one(worker, checked, dial, profile, forced)
            else:
                answers = route_batch(worker, checked, dial, profile, forced)
                result = answers.result(checked.rejected)
        except BaseException:
            self._pool.discard()
            raise
        self._pool.give(worker)
        return result

    def _route_one(
        self,
        worker: Worker,
        checked: Checked,
        dial: Dial,
        profile: Profile | None,
        forced: npt.NDArray[np.intp] | None,
    ) -> Result:
        lane = worker.lane(1, checked.symbols, dial)
        lane.write(checked.arrays)
        runs = lane.runs if profile is None else profile.timed(lane)
        if forced is not None or checked.rejected is not None:
            index = self.plan.exits - 1 if forced is None else int(forced[0])
            score = walk_one(lane, index, runs)
        else:
            index, score = route_one(lane, dial.limits, runs)
        return single(self.plan, lane, index, score, checked.rejected)

    @contextmanager
    def _worker(self) -> Iterator[Worker]:
        worker = self._pool.take()
        try:
            yield worker
        except BaseException:
            self._pool.discard()
            raise
        self._pool.give(worker)

    def _checked(self, inputs: Inputs) -> Checked:
        if os.getpid() != self._pid:
            raise ResourceError(
                f"this runtime was opened by process {self._pid}, and process {os.getpid()} was "
                "forked from it: an engine's threads do not survive a fork.",
                hint="open the bundle in the process that uses it.",
                code="runtime.forked",
            )
        return self._check(inputs)

    def _read_exits(self) -> ExitFamily | None:
        return None if self._exits is False else self.bundle.exits(self._exits)

    def _make_dial(self, family: ExitFamily | None, budget: Budget | float | str | None) -> Dial:
        parsed = None if budget is None else Budget.parse(budget)
        return Dial.make(self._gates, family, parsed, self.machine.fingerprint)

    def _prepare(self, max_batch: int | None) -> None:
        if self.plan.symbols:
            return
        with self._worker() as worker:
            worker.lane(1, (), self._dial)
            if max_batch is not None:
                for bucket in self._engines.buckets[::-1]:
                    worker.lane(bucket, (), self._dial)


def _shut(pool: Pool, engines: EngineSet, process: int, seconds: float) -> None:
    """Free the engines once no call runs, but only in the process that opened them."""
    if os.getpid() == process and pool.close(seconds):
        engines.close()


def _check_arguments(max_batch: int | None, on_invalid: str) -> None:
    fault = None
    if max_batch is not None and max_batch < 1:
        fault = f"max_batch cannot be {max_batch}: 1 or more is right."
    if on_invalid not in ("error", "last_exit"):
        fault = f"on_invalid cannot be {on_invalid!r}: 'error' or 'last_exit' is right."
    if fault:
        raise InputError(fault, hint="correct the argument.", code="input.argument")
