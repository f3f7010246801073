"""`HandOvers`: lets other nodes have workers, for their load or their version; for `holdings`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Protocol

from dnworker.core.causes import because
from dnworker.core.lease_time import LeaseClock
from dnworker.core.lifecycle import WorkerState
from dnworker.engine.former_workers import FormerWorkers
from dnworker.engine.hold import Hold
from dnworker.engine.hold_listeners import AddLine
from dnworker.engine.hold_times import (
    DECLINED_FOR,
    ENDS_WITHIN,
    FAILED_WITHIN,
    LOOK_EVERY,
    RUNS_ON,
    SETTLED_AFTER,
    TRY_APART,
    UPGRADED_AFTER,
)
from dnworker.engine.placement import Seat, why_moved, why_nowhere
from dnworker.engine.seats import Seats
from dnworker.engine.versions import Loaded
from dnworker.workers.access import Retired
from dnworker.workers.managed import ManagedWorker

log = logging.getLogger("dnworker.cluster")

BALANCED = frozenset({WorkerState.RUNNING})
UPGRADED = BALANCED | {WorkerState.ERROR}
"""States of workers that move for their load, and for a new version, which may have what is mended."""


class Held(Protocol):
    """What a node holds, as `holdings` has it."""

    node: str
    labels: list[str]
    is_leaving: bool
    holds: dict[str, Hold]

    def seat(self) -> Seat:
        """Return what the node says of itself now."""

    def hold(self, worker: str) -> Hold:
        """Return the lease of a worker, held or not."""

    def listed(self) -> dict[str, ManagedWorker]:
        """Return the workers that are declared, by name."""

    def is_busy(self, worker: str) -> bool:
        """Return whether something about a worker is under way."""

    def act(self, worker: str, act: Coroutine[Any, Any, None]) -> None:
        """Begin something about a worker, unless something else about it is under way."""

    async def settle(self, worker: str) -> None:
        """Wait until it is written how far a worker is."""

    async def give_back(self, worker: str) -> None:
        """Let another node have a worker of which nothing runs here."""


class HandOvers:
    """Hands workers over, one at a time in a cluster.

    Args:
        held: what this node holds.
        broker: gives the present one, or whatever else keeps leases.
        clock: of leases.
        seats: of all nodes.
        former: what may be left of workers here.
        log_line: writes to a worker's log.
    """

    def __init__(
        self,
        held: Held,
        broker: Callable[[], Any],
        clock: LeaseClock,
        seats: Seats,
        former: FormerWorkers,
        log_line: AddLine,
    ) -> None:
        self._held, self._broker, self._clock = held, broker, clock
        self._seats, self._former, self._log_line = seats, former, log_line
        self._under_way: str | None = None
        self.forget()

    def forget(self) -> None:
        """Know nothing, as at a start."""
        self._moved_at: dict[str, float] = {}
        self._declined: dict[tuple[str, str], float] = {}
        """Workers, and nodes that did not take them, by their holders' names; until when."""

    def note_moved(self, worker: str) -> None:
        """Take note that a worker has moved, and is to stay for a while."""
        self._moved_at[worker] = self._clock.monotonic()

    # -- to nodes that are to have it ------------------------------------------------------------------

    def balance(self, workers: Mapping[str, ManagedWorker]) -> None:
        """Begin to hand over a worker whose version is not the target, or that has a better place.

        Args:
            workers: all that are declared, by name.
        """
        if self._held.is_leaving or self._seats.unreached is not None or self._under_way is not None:
            return
        now, mine, table = self._clock.monotonic(), self._held.seat(), self._seats.table
        for choose, settled_after, states in (
            (table.upgrade, UPGRADED_AFTER, UPGRADED),
            (table.surplus, SETTLED_AFTER, BALANCED),
        ):
            up = {name: one for name, one in workers.items() if one.state in states}
            movable = self._movable(up, settled_after)
            while movable and (move := choose(mine, movable)) is not None:
                name, taker = move
                if now >= self._declined.get((name, taker.holder), now):
                    why = why_moved(name, mine, taker)
                    self._held.act(name, self._hand_over(workers[name], taker, why))
                    return
                movable.remove(name)

    def _movable(self, workers: Mapping[str, ManagedWorker], settled_after: float) -> list[str]:
        holds = self._held.holds.items()
        return [name for name, hold in holds if self._is_movable(hold, workers.get(name), settled_after)]

    def _is_movable(self, hold: Hold, worker: ManagedWorker | None, settled_after: float) -> bool:
        if worker is None or not hold.is_held:
            return False
        name, now = worker.qualified_name, self._clock.monotonic()
        is_free = not self._held.is_busy(name) and not self._former.run_on(name, worker)
        return is_free and now >= self._moved_at.get(name, -settled_after) + settled_after

    async def _hand_over(self, worker: ManagedWorker, taker: Seat, why: str) -> None:
        turn = Hold("handing-over", self._held.seat().holder, self._broker, self._clock, lambda why: None)
        self._under_way = name = worker.qualified_name
        try:
            if not await turn.take():
                await self._clock.sleep(TRY_APART)
                return
            text = f"it is handed over to node {taker.node}{why}"
            if why:
                self._log_line(name, text, source="runtime")
                log.info("%s: %s", name, text)
            with because(f"Handed over to node {taker.node}{why}"):
                await worker.stand_by(text)
            if await self._is_left(worker, turn):
                self._seats.take_former(name)
                self.note_moved(name)  # also where it comes back
                await self._held.give_back(name)
                if not await self._seats.taken(name):
                    self._declined[name, taker.holder] = self._clock.monotonic() + DECLINED_FOR
        except OSError as exc:
            log.info("%s is not handed over: %s", name, exc)
        finally:
            self._under_way = None
            await turn.give_back()

    # -- to nodes that have another version ------------------------------------------------------------

    def give_up_failed(self, workers: Mapping[str, ManagedWorker]) -> None:
        """Leave workers that do not start with a new version to nodes that have another.

        Args:
            workers: all that are declared, by name.
        """
        versions, now = self._seats.versions, self._clock.monotonic()
        for name, hold in self._held.holds.items():
            worker = workers.get(name)
            if worker is None or worker.state is not WorkerState.ERROR or not hold.is_held:
                continue
            capability = name.partition(":")[0]
            mine, since = versions.loaded().get(capability), versions.loaded_at(capability)
            is_new = now < max(hold.taken_at, since) + FAILED_WITHIN
            if mine is None or self._held.is_leaving or not is_new or versions.is_old(capability, mine):
                continue
            others = (one.versions.get(capability) for one in self._seats.table.candidates(name))
            if any(other != mine for other in others):
                self._held.act(name, self._give_up(worker, mine))

    async def _give_up(self, worker: ManagedWorker, version: Loaded) -> None:
        name, error = worker.qualified_name, worker.error
        if not await self._seats.versions.note_failed(name) or worker.state is not WorkerState.ERROR:
            return  # or it was started again meanwhile
        why = f"does not start with version {version}"
        text = f"it {why} on node {self._held.node}, and stays with another: {error}"
        self._log_line(name, text, source="runtime", level="error")
        log.warning("%s: %s", name, text)
        with because(f"It {why}"):
            await worker.stand_by(f"it {why}: {error}")
        if await self._is_left(worker):
            await self._held.give_back(name)

    # -- the end of it here ----------------------------------------------------------------------------

    async def _is_left(self, worker: ManagedWorker, turn: Hold | None = None) -> bool:
        """Return whether nothing of a worker that stands by runs, and it is written how far it is."""
        name = worker.qualified_name
        if not await self._has_ended(worker, turn):
            return False
        await self._held.settle(name)
        # Somebody may have started it again, or replaced it: then it stays.
        is_same = self._held.listed().get(name) is worker
        return is_same and worker.is_at_rest and not self._former.run_on(name, worker)

    async def _has_ended(self, worker: ManagedWorker, turn: Hold | None) -> bool:
        """Return whether nothing of a worker runs that was stopped, as soon as it is so or the lease is lost.

        A handler that ignores its cancellation runs on: nobody else may begin before it has ended. After a
        while, others may hand over, and a worker that was to be handed over and may run here does so again.
        """
        name, end = worker.qualified_name, self._clock.monotonic() + ENDS_WITHIN
        while worker.is_running_on and worker.state is WorkerState.STANDBY and self._held.hold(name).is_held:
            worker.note_standby(RUNS_ON)
            await self._clock.sleep(LOOK_EVERY)
            if turn is not None and self._clock.monotonic() >= end and turn.is_kept:
                await turn.give_back()
                if why_nowhere(self._seats.table, name, self._held.labels) is None:
                    await self._keep(worker)
        return not worker.is_running_on

    async def _keep(self, worker: ManagedWorker) -> None:
        """Start a worker again that could not be handed over."""
        name = worker.qualified_name
        text = f"it stays on this node, {self._held.node}: {RUNS_ON} within {ENDS_WITHIN:g} s"
        self._log_line(name, text, source="runtime", level="warning")
        self.note_moved(name)
        with suppress(Retired), because("It could not be handed over"):
            await worker.take_up()
