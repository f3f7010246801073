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
from dnworker.core.lifecycle import WorkerState
from dnworker.engine.agreed_versions import AgreedVersions
from dnworker.engine.hold import Hold, apart, woken
from dnworker.engine.holding_terms import (
    CANCEL_AGAIN,
    DOWN,
    FAILED_WITHIN,
    KILL_BEFORE,
    LEFT_FOR,
    LOOK_APART,
    LOOK_EVERY,
    PATIENCE,
    SETTLED_AFTER,
    STARTING,
    TRY_APART,
    UNLISTED_FOR,
    UPGRADED_AFTER,
    AddLine,
    Moves,
)
from dnworker.engine.placement import Place, Seat, why_moved, why_nowhere
from dnworker.engine.seats import Seats
from dnworker.engine.versions import Loaded
from dnworker.events.brokers.base import Broker
from dnworker.workers.access import Retired
from dnworker.workers.managed import ManagedWorker

log = logging.getLogger("dnworker.cluster")


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
        self._seats = Seats(broker, self._clock, self._seat, self.versions)
        # of one run
        self._holder, self._is_leaving = self.node, False
        self._holds: dict[str, Hold] = {}
        self._moved_at: dict[str, float] = {}
        self._unlisted: dict[str, float] = {}
        self._tried: dict[str, float] = {}
        self._acts: dict[str, asyncio.Task[None]] = {}
        """What is under way about workers: one thing each."""
        self._handing_over: str | None = None
        self._stops: set[asyncio.Task[None]] = set()
        """Of workers whose leases are lost."""
        self._wake = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._end_watch: Callable[[], None] = lambda: None

    def use(self, place: Place) -> None:
        """Be another node from the next `open` on."""
        self.node, self.labels, self.require = place.node, place.labels, place.require

    # -- start and stop --------------------------------------------------------------------------------

    async def open(self) -> None:
        """Begin, once the broker is open and before workers start."""
        if not self._broker().capabilities.is_shared:
            return
        self._holder, self._is_leaving = f"{self.node}/{secrets.token_hex(4)}", False
        self._holds, self._moved_at, self._unlisted, self._tried = {}, {}, {}, {}
        self._wake = asyncio.Event()  # of this loop
        self._seats.forget()
        self.is_on = True
        await self._seats.read()
        await self._seats.write()
        self._end_watch = self._seats.watch(self.wake)
        self._looking = apart(self._look_on(), "dnworker holdings")

    def leave(self) -> None:
        """Take nothing more, and give each lease back as soon as its worker has stopped."""
        self._is_leaving = True
        self.wake()

    async def close(self) -> None:
        """Give back what is left, once all workers have stopped, and be gone for the others."""
        if not self.is_on:
            return
        self._is_leaving = True
        self._end_watch()
        under_way = {*self._acts.values(), *([self._looking] if self._looking is not None else [])}
        while under_way:  # until Python 3.12, wait_for loses a cancellation that comes with its result
            for task in under_way:
                task.cancel()
            _, under_way = await asyncio.wait(under_way, timeout=CANCEL_AGAIN)
        workers = self._listed()
        await asyncio.gather(
            *(self._leave_to_others(hold, workers.get(n)) for n, hold in self._holds.items())
        )
        self.is_on, self._looking = False, None
        await self._seats.remove()

    async def _leave_to_others(self, hold: Hold, worker: ManagedWorker | None) -> None:
        """Give a lease back, or let it end by itself where something of its worker may run on."""
        if worker is None or (worker.state in DOWN and not worker.is_running_on):
            await hold.give_back()
        else:
            await hold.abandon()

    def wake(self) -> None:
        """Look again soon: a worker, or another node, is in another state."""
        self._wake.set()

    # -- asked by workers ------------------------------------------------------------------------------

    async def admit(self, worker: str) -> str | None:
        """Take the lease of a worker that is to start; returns why it may not start here, None if it may."""
        if not self.is_on:
            return None
        hold = self._hold(worker)
        if hold.is_held:
            return None
        if (why := self._why_not(worker)) is not None:
            return why
        self._tried[worker] = self._clock.monotonic()
        try:
            if not await hold.take():
                return "its lease is held, or has not run out yet"
        except OSError as exc:
            return f"the broker cannot be asked for its lease: {exc}"
        self._note_taken(worker, hold)
        return None

    def fence(self, worker: str) -> int | None:
        """Return the number of this node's turn with a worker; None where nothing is shared, or held."""
        hold = self._holds.get(worker)
        return None if hold is None else hold.fence

    def until(self, worker: str) -> float | None:
        """Return when nothing of a worker may be left here, by `family.boot_time`; None if not held."""
        hold = self._holds.get(worker)
        if hold is None or not hold.is_kept or not isinstance(self._clock, BootClock):
            return None
        return hold.until - KILL_BEFORE

    def holder(self, worker: str) -> str | None:
        """Return the name of the node that holds a worker, as far as is known here."""
        if (hold := self._holds.get(worker)) is not None and hold.is_held:
            return self.node
        seat = self._seats.table.holder(worker)
        return None if seat is None or seat.holder == self._holder else seat.node

    def _why_not(self, worker: str) -> str | None:
        if self._is_leaving:
            return "this node stops"
        seat = self._seats.table.holder(worker)
        if seat is not None and seat.holder != self._holder:
            return f"node {seat.node} holds it"
        if (why := why_nowhere(self._seats.table, worker, self.labels)) is not None:
            return why
        is_left = self._seats.orphaned_for(worker) < LEFT_FOR
        return self._seats.table.why_second(worker, self._seat()) if is_left else None

    def _note_taken(self, worker: str, hold: Hold) -> None:
        former, why = self._seats.take_former(worker), "started"
        if former is not None:
            self._moved_at[worker] = self._clock.monotonic()
            is_there = any(seat.holder == former.holder for seat in self._seats.table.seats)
            why = "handed over" if is_there or former.is_leaving else "failover"
            text = f"this node, {self.node}, holds it now; {former.node} did before ({why})"
            self._log_line(worker, text, source="runtime")
        if self.moves is not None and hold.fence is not None:
            self.moves.note(worker, hold.fence, None if former is None else former.node, why)
        self.wake()

    def _hold(self, worker: str) -> Hold:
        if worker not in self._holds:
            self._holds[worker] = Hold(
                f"hold.{worker}",
                self._holder,
                self._broker,
                self._clock,
                lambda why: self._lost(worker, why),
                lambda: self._renewed(worker),
            )
        return self._holds[worker]

    def _listed(self) -> dict[str, ManagedWorker]:
        return {worker.qualified_name: worker for worker in self._workers()}

    def _seat(self) -> Seat:
        wants = [one.qualified_name for one in self._workers() if one.state is WorkerState.STANDBY]
        holds = {name: hold.fence for name, hold in self._holds.items() if hold.is_held and hold.fence}
        states = {one.qualified_name: one.state for one in self._workers()}
        return Seat(
            node=self.node,
            holder=self._holder,
            labels=self.labels,
            requires=self.require,
            wants=[] if self._is_leaving else sorted(wants),
            holds=dict(sorted(holds.items())),
            starting=sorted(name for name in holds if states.get(name) in STARTING),
            versions=dict(self.versions.loaded()),
            is_leaving=self._is_leaving,
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
            await woken(self._wake, self._clock, LOOK_EVERY, "dnworker holdings")

    async def _look(self) -> None:
        for hold in [*self._holds.values()]:
            hold.check()
        await self._seats.read()
        workers, plan = self._listed(), self._seats.table.assigned()
        for worker in workers.values():
            if worker.state is WorkerState.STANDBY:
                self._look_at(worker, plan)
        self._give_back_unwanted(workers)
        self._give_up_failed(workers)
        await self._seats.write()
        self._balance(workers)

    def _look_at(self, worker: ManagedWorker, plan: Mapping[str, str]) -> None:
        """Start a worker that stands by if it is this node's turn; else say why it stands by."""
        name, now = worker.qualified_name, self._clock.monotonic()
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
            self._act(name, self._take_up(worker))

    async def _take_up(self, worker: ManagedWorker) -> None:
        former = self._seats.former(worker.qualified_name)
        cause = "Its lease was free" if former is None else f"Taken over from node {former.node}"
        with suppress(Retired), because(cause):
            await worker.take_up()

    def _act(self, name: str, act: Coroutine[Any, Any, None]) -> None:
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
        for name, hold in self._holds.items():
            worker = workers.get(name)
            if not hold.is_kept or name in self._acts or (worker is not None and worker.is_running_on):
                continue
            if self._is_gone(name) if worker is None else self._is_unwanted(worker):
                self._act(name, self._give_back(hold))

    def _is_unwanted(self, worker: ManagedWorker) -> bool:
        if self._is_leaving:
            return worker.state in DOWN
        self._unlisted.pop(worker.qualified_name, None)
        is_stopped = worker.state is WorkerState.STOPPED and worker.is_stopped
        return is_stopped or worker.state is WorkerState.GATED_OFF or worker.definition.problem is not None

    def _is_gone(self, name: str) -> bool:
        """Return whether a worker that is not declared is gone for good: a reload may list it again."""
        now = self._clock.monotonic()
        since = self._unlisted.setdefault(name, now)
        return self._is_leaving or (now >= since + UNLISTED_FOR and not self._is_changing())

    def _give_up_failed(self, workers: Mapping[str, ManagedWorker]) -> None:
        """Leave workers that do not start with a new version to nodes that have another."""
        for name, hold in self._holds.items():
            worker = workers.get(name)
            if worker is None or worker.state is not WorkerState.ERROR or not hold.is_held:
                continue
            capability = name.partition(":")[0]
            mine, since = self.versions.loaded().get(capability), self.versions.loaded_at(capability)
            is_new = self._clock.monotonic() < max(hold.taken_at, since) + FAILED_WITHIN
            if mine is None or self._is_leaving or not is_new or self.versions.is_old(capability, mine):
                continue
            others = (one.versions.get(capability) for one in self._seats.table.candidates(name))
            if any(other != mine for other in others):
                self._act(name, self._give_up(worker, mine))

    async def _give_up(self, worker: ManagedWorker, version: Loaded) -> None:
        name, error = worker.qualified_name, worker.error
        if not await self.versions.note_failed(name):
            return
        text = (
            f"it does not start with version {version} on node {self.node}, and stays with another: {error}"
        )
        self._log_line(name, text, source="runtime", level="error")
        log.warning("%s: %s", name, text)
        with because(f"It does not start with version {version}"):
            await worker.stand_by(f"it does not start with version {version}: {error}")
        if await self._has_ended(worker):
            await self._give_back(self._hold(name))

    async def _give_back(self, hold: Hold) -> None:
        await hold.give_back()
        await self._seats.write()

    def _renewed(self, worker: str) -> None:
        if (until := self.until(worker)) is not None and (one := self._listed().get(worker)) is not None:
            one.bound_by(until)

    def _lost(self, worker: str, why: str) -> None:
        """Stop a worker before another node can start it."""
        text = f"it stops on this node, {self.node}: {why}"
        self._log_line(worker, text, source="runtime", level="warning")
        if (one := self._listed().get(worker)) is not None:
            stop = apart(self._stop_lost(one, why), f"dnworker holdings, {worker} is lost")
            self._stops.add(stop)
            stop.add_done_callback(self._stops.discard)
        self.wake()

    async def _stop_lost(self, worker: ManagedWorker, why: str) -> None:
        left = self._hold(worker.qualified_name).until - KILL_BEFORE - self._clock.monotonic()
        with because("Its lease was lost"):
            await worker.stand_by(why, within=max(0.1, left))
        self.wake()

    # -- balance ---------------------------------------------------------------------------------------

    def _balance(self, workers: Mapping[str, ManagedWorker]) -> None:
        """Begin to hand over a worker where another node has fewer, or one that may not run here."""
        if self._is_leaving or self._seats.unreached is not None or self._handing_over is not None:
            return
        seat, table = self._seat(), self._seats.table
        moves = table.upgrade(seat, self._movable(workers, UPGRADED_AFTER))
        moves = moves or table.surplus(seat, self._movable(workers, SETTLED_AFTER))
        if moves is not None:
            name, taker = moves
            self._act(name, self._hand_over(workers[name], taker, why_moved(name, seat, taker)))

    def _movable(self, workers: Mapping[str, ManagedWorker], settled_after: float) -> list[str]:
        holds = self._holds.items()
        return [name for name, hold in holds if self._is_movable(hold, workers.get(name), settled_after)]

    def _is_movable(self, hold: Hold, worker: ManagedWorker | None, settled_after: float) -> bool:
        if worker is None or worker.state is not WorkerState.RUNNING or not hold.is_held:
            return False
        name, now = worker.qualified_name, self._clock.monotonic()
        return name not in self._acts and now >= self._moved_at.get(name, -settled_after) + settled_after

    async def _hand_over(self, worker: ManagedWorker, taker: Seat, why: str = "") -> None:
        """Let another node have a worker; one hand-over is under way in a cluster."""
        turn = Hold("handing-over", self._holder, self._broker, self._clock, lambda why: None)
        self._handing_over = name = worker.qualified_name
        try:
            if not await turn.take():
                await self._clock.sleep(TRY_APART)
                return
            if why:
                text = f"it is handed over to node {taker.node}{why}"
                self._log_line(name, text, source="runtime")
                log.info("%s: %s", name, text)
            with because(f"Handed over to node {taker.node}{why}"):
                await worker.stand_by(f"it is handed over to node {taker.node}{why}")
            if await self._has_ended(worker):
                self._seats.take_former(name)
                await self._give_back(self._hold(name))
                await self._seats.taken(name)
        except OSError as exc:
            log.info("%s is not handed over: %s", name, exc)
        finally:
            self._handing_over = None
            await turn.give_back()

    async def _has_ended(self, worker: ManagedWorker) -> bool:
        """Return whether nothing of a worker runs that was stopped, as soon as it is so or the lease is lost.

        A handler that ignores its cancellation runs on: nobody else may begin before it has ended.
        """
        while worker.is_running_on and self._hold(worker.qualified_name).is_held:
            worker.note_standby("a handler of it has not ended here, though it was cancelled")
            await self._clock.sleep(LOOK_EVERY)
        return not worker.is_running_on
