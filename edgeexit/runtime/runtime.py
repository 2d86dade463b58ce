"""The runtime: a bundle, ready to answer."""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from typing import Literal

from edgeexit.budget import Budget
from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.exits import ExitFamily
from edgeexit.runtime.dial import Dial, warn_of_mode
from edgeexit.runtime.engines import EngineSet
from edgeexit.runtime.golden import check_once_built
from edgeexit.runtime.governor import Governor
from edgeexit.runtime.inputs import Checked, InputCheck, Inputs, OnInvalid, check_arguments
from edgeexit.runtime.lane import Lane
from edgeexit.runtime.live_profile import Profile, profile_active
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.monitor import Monitor
from edgeexit.runtime.plan import Plan
from edgeexit.runtime.replicas import Replicas
from edgeexit.runtime.result import AllExits, Result
from edgeexit.runtime.router import Exits, forced_exits, route, run_all
from edgeexit.runtime.setting import Setting
from edgeexit.runtime.stats import Stats
from edgeexit.runtime.stream import Flow, Stream, Streamed
from edgeexit.runtime.worker import EXIT_SECONDS, Pool, forked_runtime, shut


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
        replicas: Copies of the compiled stages: OpenVINO runs one call at a time in each.
        max_batch: Largest batch to run at once, prepared now; larger inputs are cut. If None, or
            where other sizes are dynamic too, batches are prepared when the first one comes.
        check_finite: Whether inputs are searched for NaN and infinity.
        on_invalid: What happens to them: ``error``, or ``last_exit`` to answer such samples at
            the last exit and mark them in ``result.valid``.
        exits: The calibrated exits: the bundle's own ``exits.json`` (None), another file, e.g.
            beside a read-only bundle, or False to ignore them.
        governor: Holds the budget against drift and load; see :attr:`governor`.

    Attributes:
        monitor: Counts the calls; set a deadline or look for drift there.

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
        replicas: int = 1,
        max_batch: int | None = None,
        check_finite: bool = True,
        on_invalid: OnInvalid = "error",
        exits: str | os.PathLike[str] | Literal[False] | None = None,
        governor: Governor | None = None,
    ) -> None:
        check_arguments(max_batch, replicas, on_invalid)
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
        opens = partial(EngineSet, self.machine, self.plan, files, max_batch)
        self._engines = Replicas(opens, replicas)
        self._pool = Pool(self._engines.worker)
        self.monitor = Monitor(self.plan.exits, self._family)
        self._governor: Governor | None = None
        self._profile: Profile | None = None
        self._pid = os.getpid()
        self._closed = False
        # A thread inside an engine when the interpreter ends would abort the process.
        self._at_exit = weakref.finalize(
            self, shut, self._pool, self._engines.close, self._pid, EXIT_SECONDS
        )
        try:
            self._prepare(max_batch)
            check_once_built(self)
            self.governor = governor
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

    def run_to(self, inputs: Inputs, exits: Exits) -> Result:
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
        with self._pool.lent() as worker:
            return AllExits(*run_all(worker, checked, self._dial))

    @contextmanager
    def lane(self, inputs: Inputs) -> Iterator[Lane]:
        """Lend the chained stages with the inputs written, to run and measure them one by one.

        Raises:
            InputError: As for a call, or there are more samples than run at once.
        """
        checked = self._checked(inputs)
        with self._pool.lent() as worker:
            lane = worker.lane(checked.rows, checked.symbols, self._dial)
            lane.write(checked.arrays, 0, checked.rows)
            yield lane

    def stream(
        self,
        items: Iterable[Inputs],
        *,
        batch: int | None = None,
        depth: int = 4,
        wait_ms: float | None = None,
    ) -> Iterator[Result]:
        """Answer an iterator of samples in its order; deep stages wait for full batches.

        It works in this thread, while it is asked for results. A governor moves the thresholds as
        in calls, without audits and deadlines.

        Args:
            items: One sample each. They are copied.
            batch: Samples that a stage waits for; the largest that runs at once if None.
            depth: Batches of samples taken and not yet handed out, at most.
            wait_ms: Milliseconds after which the oldest sample's stage runs with what is there;
                looked at between items, so an iterator that blocks delays it.

        Raises:
            EdgeExitError: An item (the message tells which), the iterator or a stage failed; the
                results of the items before it come first.
        """
        largest = self._engines.buckets[-1] if self.plan.compacts else 1
        flow = Flow(largest if batch is None else min(batch, largest), depth, wait_ms)
        host = Streamed(self.plan, self.monitor, self._in_force, self._checked, self._pool.lent)
        return Stream(host, items, flow).results()

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

        Setting it takes effect at the next call; calls under way keep the old one. Under a
        governor, set ``governor.budget``: this one is in force again once the governor has left.
        """
        return self._dial.budget

    @budget.setter
    def budget(self, budget: Budget | float | str | None) -> None:
        with self._dial_lock:
            self._dial = self._make_dial(self._family, budget)

    @property
    def governor(self) -> Governor | None:
        """Who moves the thresholds call by call; None where the budget's own stand still.

        Raises:
            BudgetError: On setting: its goal cannot be held with the calibrated exits.
        """
        return self._governor

    @governor.setter
    def governor(self, governor: Governor | None) -> None:
        with self._dial_lock:
            if governor is not None:
                governor.attach(self._family, self._dial.budget, self.machine.fingerprint)
            self._governor = self.monitor.governor = governor

    def stats(self) -> Stats:
        """Return what was answered since the runtime was opened: exits, cost, drift, audits."""
        return self.monitor.stats(self.bundle.manifest.name, self.plan.costs, self._dial.budget)

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
            dial = self._make_dial(family, budget)
            if self._governor is not None:
                self._governor.attach(family, dial.budget, self.machine.fingerprint)
            self._dial, self._family = dial, family
            self.monitor.restart(family)

    @contextmanager
    def profile(self) -> Iterator[Profile]:
        """Measure the calls made in the block: stage times, exits, a trace.

        Raises:
            ResourceError: Another profile is being taken.
        """
        with self._dial_lock:
            if self._profile is not None:
                raise profile_active()
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
        shut(self._pool, self._engines.close, self._pid, math.inf)

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, inputs: Inputs, exits: Exits | None) -> Result:
        profile = self._profile
        if profile is None:
            return self._route(inputs, exits, None)
        with profile.call() as done:
            return done(self._route(inputs, exits, profile))

    def _route(self, inputs: Inputs, exits: Exits | None, profile: Profile | None) -> Result:
        governor, start = self._governor, perf_counter_ns()
        begun = governor.clock() if governor else 0.0
        checked = self._checked(inputs)
        forced = None if exits is None else forced_exits(exits, checked.rows, self.plan.exits)
        dial, turn = self._dial, None
        if governor is not None and forced is None:
            turn = governor.begin(checked.rows, begun)
            dial = turn.setting
        worker = self._pool.take()
        try:
            result = route(worker, checked, dial, profile, forced, turn.guide if turn else None)
        except BaseException:
            self._pool.discard()
            raise
        self._pool.give(worker)
        if forced is None:
            overruled = governor.end(turn, result) if governor and turn else None
            self.monitor.note(result, dial, perf_counter_ns() - start, overruled)
        return result

    def _checked(self, inputs: Inputs) -> Checked:
        if os.getpid() != self._pid:
            raise forked_runtime(self._pid)
        return self._check(inputs)

    def _in_force(self) -> tuple[Setting, Governor | None, Profile | None]:
        governor = self._governor
        return governor.setting if governor else self._dial, governor, self._profile

    def _read_exits(self) -> ExitFamily | None:
        family = None if self._exits is False else self.bundle.exits(self._exits)
        warn_of_mode(family, self.machine.fingerprint)
        return family

    def _make_dial(self, family: ExitFamily | None, budget: Budget | float | str | None) -> Setting:
        parsed = None if budget is None else Budget.parse(budget)
        dial = Dial.make(self._gates, family, parsed, self.machine.fingerprint)
        return Setting.of(dial, family)

    def _prepare(self, max_batch: int | None) -> None:
        if not self.plan.symbols:
            buckets = () if max_batch is None else self._engines.buckets[::-1]
            with ExitStack() as lent:
                for worker in [lent.enter_context(self._pool.lent()) for _ in self._engines]:
                    for bucket in (1, *buckets):
                        worker.lane(bucket, (), self._dial)
