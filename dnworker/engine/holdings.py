"""`Holdings`: which workers run on this node, where several runtimes share a broker; the engine has one.

A declared worker whose gate is open runs where its lease is held, and stands by elsewhere. Each node writes
a seat (`placement.py`) for the others, looks at theirs whenever one changes, and once a second. Over a broker
that is not shared it does nothing.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any

from dnworker.core.causes import because
from dnworker.core.clock import Clock
from dnworker.core.lease_time import BootClock, lease_clock
from dnworker.core.lifecycle import ALIVE, WorkerState
from dnworker.core.members import family_of
from dnworker.core.task_ends import end_tasks
from dnworker.engine.agreed_versions import AgreedVersions
from dnworker.engine.former_workers import FormerWorkers
from dnworker.engine.hand_overs import HandOvers
from dnworker.engine.hold import Hold, answered, apart, woken
from dnworker.engine.hold_listeners import AddLine, Moves
from dnworker.engine.hold_times import (
    ASK_APART,
    CLOSE_WITHIN,
    KILL_BEFORE,
    LEFT_FOR,
    LOOK_APART,
    LOOK_EVERY,
    PATIENCE,
    RUNS_ON,
    SETTLE_SECONDS,
    TRY_APART,
)
from dnworker.engine.placement import Place, Seat, why_nowhere
from dnworker.engine.replicas import Replicas
from dnworker.engine.seats import Seats
from dnworker.engine.versions import Loaded
from dnworker.events.brokers.base import Broker
from dnworker.workers.access import Retired
from dnworker.workers.managed import ManagedWorker

log = logging.getLogger("dnworker.cluster")

_DOWN = frozenset({WorkerState.STOPPED, WorkerState.GATED_OFF, WorkerState.STANDBY})

_STARTING = frozenset({WorkerState.LOADING, WorkerState.STARTING, WorkerState.STANDBY})
"""The states of a worker whose lease is held, and which does not run yet."""


class Holdings:
    """Takes leases of workers for one node, and starts and stops workers by them.

    Args:
        place: what the node is called, and what it may run.
        broker: gives the present one.
        clock: of the runtime.
        workers: gives the workers that are declared.
        log_line: writes to a worker's log.
        is_changing: whether what is declared changes at the moment, as by a reload.
        loaded: returns the capabilities that are loaded from disk.
    """

    def __init__(
        self,
        place: Place,
        *,
        broker: Callable[[], Broker],
        clock: Clock,
        workers: Callable[[], Iterable[ManagedWorker]],
        log_line: AddLine,
        is_changing: Callable[[], bool] = lambda: False,
        loaded: Callable[[], Mapping[str, Loaded]] = dict,
    ) -> None:
        self.replicas = Replicas(broker, lease_clock(clock))
        """How workers are divided among their members."""
        self.use(place)
        self.moves: Moves | None = None
        """Is told of workers that this node takes."""
        self.is_on = False
        """Whether workers go by leases: from the start over a shared broker to the stop."""
        # what it uses
        self._broker, self._clock = broker, lease_clock(clock)
        self._workers, self._log_line, self._is_changing = workers, log_line, is_changing
        self.versions = AgreedVersions(
            lambda: self.node, broker, self._clock, lambda: clock.now().timestamp(), loaded
        )
        """Which versions of capabilities the cluster is to run."""
        self._seats = Seats(broker, self._clock, self.seat, self.versions)
        self._former = FormerWorkers(self._clock)
        self._hand_overs = HandOvers(self, broker, self._clock, self._seats, self._former, log_line)
        # of one run
        self.is_leaving = False
        """Whether it hands over all, and takes nothing."""
        self._holder = self.node
        self.holds: dict[str, Hold] = {}
        """The leases by worker, also of those that are not held."""
        self._tried: dict[str, float] = {}
        self._acts: dict[str, asyncio.Task[None]] = {}
        """What is under way about workers: one thing each."""
        self._stops: dict[str, asyncio.Task[None]] = {}
        """Of workers whose leases are lost."""
        self._wake = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._end_watch: Callable[[], None] = lambda: None

    def use(self, place: Place) -> None:
        """Be another node from the next `open` on."""
        self.place = place
        self.node, self.labels, self.require = place.node, place.labels, place.require
        self.replicas.partitions = place.partitions

    # -- start and stop --------------------------------------------------------------------------------

    async def open(self) -> None:
        """Begin, once the broker is open and before workers start."""
        if not self._broker().capabilities.is_shared:
            return
        self._holder, self.is_leaving = f"{self.node}/{secrets.token_hex(4)}", False
        self.holds, self._tried = {}, {}
        self._former.forget()
        self._hand_overs.forget()
        self._wake = asyncio.Event()  # of this loop
        self._seats.forget()
        self.is_on = True
        await self._seats.read()
        await self._seats.write()
        self._end_watch = self._seats.watch(self.wake)
        self._looking = apart(self._look_on(), "dnworker holdings")

    def leave(self) -> None:
        """Take nothing more, and give each lease back as soon as its worker has stopped."""
        self.is_leaving = True
        self.wake()

    async def close(self) -> None:
        """Give back what is left, once all workers have stopped, and be gone for the others."""
        if not self.is_on:
            return
        self.is_leaving = True
        self._end_watch()
        await end_tasks(*self._acts.values(), self._looking)
        try:
            await answered(self._clock, self._leave_all(), CLOSE_WITHIN)
        except OSError as exc:
            log.info("node %s leaves its leases to end by themselves: %s", self.node, exc)
        self.is_on, self._looking = False, None

    async def _leave_all(self) -> None:
        workers = self.listed()
        await asyncio.gather(*(self._leave_to_others(n, workers.get(n)) for n in self.holds))
        await self._seats.leave()

    async def _leave_to_others(self, name: str, worker: ManagedWorker | None) -> None:
        """Give a lease back, or let it end by itself where something of its worker may run on."""
        hold = self.holds[name]
        is_down = worker is None or (worker.state in _DOWN and worker.is_at_rest)
        if is_down and not self._former.run_on(name, worker):
            await self.settle(name)
            await hold.give_back()
        else:
            await hold.abandon()

    async def settle(self, name: str) -> None:
        """Wait until it is written how far a worker is: the next node would give it some events again."""
        if not await self._broker().settled(name, SETTLE_SECONDS):
            log.warning("%s goes to another node before it is written how far it is", name)

    def wake(self) -> None:
        """Look again soon: a worker, or another node, is in another state."""
        self._wake.set()

    # -- asked by workers ------------------------------------------------------------------------------

    async def admit(self, worker: str) -> str | None:
        """Take the lease of a worker that is to start; returns why it may not start here, None if it may."""
        if not self.is_on:
            return None
        hold = self.hold(worker)
        if hold.is_held:
            return None
        self.listed()
        self._tried[worker] = self._clock.monotonic()
        try:
            is_elsewhere = self._seats.table.is_elsewhere(worker, self._holder)
            why = await self.replicas.why_wait(worker, is_elsewhere=is_elsewhere)
            if (why := why or self._why_not(worker)) is not None:
                return why
            if not await hold.take():
                return "its lease is held, or has not run out yet"
        except OSError as exc:
            return f"the broker cannot be asked for its lease: {exc}"
        if (why := await self.replicas.join(worker, hold)) is not None:
            return why
        self._note_taken(worker, hold)
        return None

    def fence(self, worker: str) -> int | None:
        """Return the number of this node's turn with a worker; None where nothing is shared, or held."""
        hold = self.holds.get(worker)
        return None if hold is None else hold.fence

    def until(self, worker: str) -> float | None:
        """Return when nothing of a worker may be left here, by `family.boot_time`; None if not held."""
        hold = self.holds.get(worker)
        if hold is None or not hold.is_kept or not isinstance(self._clock, BootClock):
            return None
        return hold.until - KILL_BEFORE

    def holder(self, worker: str) -> str | None:
        """Return the name of the node that holds a worker, as far as is known here."""
        if (hold := self.holds.get(worker)) is not None and hold.is_held:
            return self.node
        seat = self._seats.table.holder(worker)
        return None if seat is None or seat.holder == self._holder else seat.node

    def _why_not(self, worker: str) -> str | None:
        if self.is_leaving:
            return "this node stops"
        if self._former.run_on(worker, self._former.listed.get(worker)):
            return RUNS_ON
        seat = self._seats.table.holder(worker)
        if seat is not None and seat.holder != self._holder:
            return f"node {seat.node} holds it"
        if (why := why_nowhere(self._seats.table, worker, self.labels)) is not None:
            return why
        is_left = self._seats.orphaned_for(worker) < LEFT_FOR
        return self._seats.table.why_second(worker, self.seat()) if is_left else None

    def _note_taken(self, worker: str, hold: Hold) -> None:
        former, why = self._seats.take_former(worker), "started"
        if former is not None:
            self._hand_overs.note_moved(worker)
            is_there = any(seat.holder == former.holder for seat in self._seats.table.seats)
            why = "handed over" if is_there or former.is_leaving else "failover"
            text = f"this node, {self.node}, holds it now; {former.node} did before ({why})"
            self._log_line(worker, text, source="runtime")
        if self.moves is not None and hold.fence is not None:
            self.moves.note(worker, hold.fence, None if former is None else former.node, why)
        self.wake()

    def hold(self, worker: str) -> Hold:
        """Return the lease of a worker, held or not."""
        if worker not in self.holds:
            self.holds[worker] = Hold(
                f"hold.{worker}",
                self._holder,
                self._broker,
                self._clock,
                lambda why: self._lost(worker, why),
                lambda: self._renewed(worker),
            )
        return self.holds[worker]

    def listed(self) -> dict[str, ManagedWorker]:
        """Return the workers that are declared, by name, and take note of them."""
        return self._former.note(self._workers())

    def seat(self) -> Seat:
        """Return what this node says of itself now."""
        states = {one.qualified_name: one.state for one in self._workers()}
        standby = (name for name, state in states.items() if state is WorkerState.STANDBY)
        wants = [name for name in standby if family_of(name) not in self.replicas.refused]
        holds = {name: hold.fence for name, hold in self.holds.items() if hold.is_held and hold.fence}
        return Seat(
            node=self.node,
            holder=self._holder,
            labels=self.labels,
            requires=self.require,
            wants=[] if self.is_leaving else sorted(wants),
            holds=dict(sorted(holds.items())),
            starting=sorted(name for name in holds if states.get(name) in _STARTING),
            versions=dict(self.versions.loaded()),
            is_leaving=self.is_leaving,
        )

    # -- looking ---------------------------------------------------------------------------------------

    async def _look_on(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._look()
            except Exception:  # a node that no longer looks would keep what it is to hand over
                log.exception("node %s cannot look at what it is to hold", self.node)
            await self._clock.sleep(LOOK_APART)
            seconds = TRY_APART if self._seats.has_orphans else LOOK_EVERY
            await woken(self._wake, self._clock, seconds, "dnworker holdings")

    async def _look(self) -> None:
        for hold in [*self.holds.values()]:
            hold.check()
        await self._seats.read()
        workers, plan = self.listed(), self._seats.table.assigned()
        for name, worker in workers.items():
            if worker.state in ALIVE and not self.hold(name).is_kept:
                self._stop_soon(worker, "it runs without its lease")
            if worker.state is WorkerState.STANDBY:
                self._look_at(worker, plan)
        self._give_back_unwanted(workers)
        self._hand_overs.give_up_failed(workers)
        await self._seats.write()
        self._hand_overs.balance(workers)

    def _look_at(self, worker: ManagedWorker, plan: Mapping[str, str]) -> None:
        """Start a worker that stands by if it is this node's turn; else say why it stands by."""
        name, now = worker.qualified_name, self._clock.monotonic()
        if family_of(name) in self.replicas.refused:
            if now >= self._tried.get(name, -ASK_APART) + ASK_APART:
                self.act(name, self._take_up(worker))
            return
        why = self._why_not(name)
        if why is None and self._seats.unreached is not None:
            why = f"the broker cannot be asked for its lease: {self._seats.unreached}"
        if why is not None:
            if name not in self._acts:
                worker.note_standby(why)
            return
        is_mine = plan.get(name, self._holder) == self._holder
        is_turn = is_mine or self._seats.orphaned_for(name) >= PATIENCE
        if is_turn and now >= self._tried.get(name, -TRY_APART) + TRY_APART:
            self.act(name, self._take_up(worker))

    async def _take_up(self, worker: ManagedWorker) -> None:
        former = self._seats.former(worker.qualified_name)
        cause = "Its lease was free" if former is None else f"Taken over from node {former.node}"
        with suppress(Retired), because(cause):
            await worker.take_up()

    def is_busy(self, worker: str) -> bool:
        """Return whether something about a worker is under way."""
        return worker in self._acts

    def act(self, name: str, act: Coroutine[Any, Any, None]) -> None:
        """Begin something about a worker, unless something else about it is under way."""
        if name in self._acts:
            act.close()
            return
        task = self._acts[name] = apart(act, f"dnworker holdings, {name}")
        task.add_done_callback(lambda done: self._acted(name, done))

    def _acted(self, name: str, done: asyncio.Task[None]) -> None:
        self._acts.pop(name, None)
        if done.cancelled():
            return
        if (failure := done.exception()) is not None:
            log.error("%s: what follows from its lease has failed", name, exc_info=failure)
        else:
            self.wake()

    # -- giving back and losing ------------------------------------------------------------------------

    def _give_back_unwanted(self, workers: Mapping[str, ManagedWorker]) -> None:
        """Give back the leases of workers that are not to run here any more."""
        for name, hold in self.holds.items():
            if hold.is_kept and name not in self._acts and self._may_give_back(name, workers.get(name)):
                self.act(name, self._give_back_still(name))

    def _may_give_back(self, name: str, worker: ManagedWorker | None) -> bool:
        if self._former.run_on(name, worker) or (worker is not None and not worker.is_at_rest):
            self._former.note_up(name)
            return False
        return self._is_gone(name) if worker is None else self._is_unwanted(worker)

    def _is_unwanted(self, worker: ManagedWorker) -> bool:
        if self.is_leaving:
            return worker.state in _DOWN
        if worker.state in (WorkerState.STOPPED, WorkerState.LOADING) and not worker.is_stopped:
            return worker.definition.problem is not None or self._is_gone(worker.qualified_name)
        self._former.note_up(worker.qualified_name)
        is_down = worker.state in (WorkerState.STOPPED, WorkerState.GATED_OFF)
        return is_down or worker.definition.problem is not None

    def _is_gone(self, name: str) -> bool:
        """Return whether nobody is about to declare a worker again, or to start it, as a reload is."""
        return (self._former.is_gone(name) and not self._is_changing()) or self.is_leaving

    async def _give_back_still(self, name: str) -> None:
        await self.settle(name)
        if self._may_give_back(name, self.listed().get(name)):  # or it was started meanwhile
            await self.give_back(name)

    async def give_back(self, name: str) -> None:
        """Let another node have a worker of which nothing runs here, and say so."""
        await self.hold(name).give_back()
        await self._seats.write()

    def _renewed(self, worker: str) -> None:
        if (until := self.until(worker)) is None:
            return
        for one in self._workers():  # a dict of all would be made for each of hundreds of renewals
            if worker.endswith(one.name) and one.qualified_name == worker:
                one.bound_by(until)

    def _lost(self, worker: str, why: str) -> None:
        """Stop a worker before another node can start it."""
        text = f"it stops on this node, {self.node}: {why}"
        self._log_line(worker, text, source="runtime", level="warning")
        if (one := self.listed().get(worker)) is not None:
            self._stop_soon(one, why)
        self.wake()

    def _stop_soon(self, worker: ManagedWorker, why: str) -> None:
        name = worker.qualified_name
        if name not in self._stops:
            self._stops[name] = apart(self._stop_lost(worker, why), f"dnworker holdings, {name} is lost")
            self._stops[name].add_done_callback(lambda _: self._stops.pop(name))

    async def _stop_lost(self, worker: ManagedWorker, why: str) -> None:
        left = self.hold(worker.qualified_name).until - KILL_BEFORE - self._clock.monotonic()
        with because("Its lease was lost"):
            await worker.stand_by(why, within=max(0.1, left))
        self.wake()
