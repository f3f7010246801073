"""`Seats`: what each node of a cluster says of itself, as it is read and written; for `holdings`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

import msgspec

from dnworker.core.lease_time import LEASE, RENEW_AFTER, LeaseClock
from dnworker.engine.hold import answered
from dnworker.engine.placement import Seat, Table, read_seat
from dnworker.events.brokers.base import Broker

log = logging.getLogger("dnworker.cluster")

PREFIX = "seat."
"""How the keys of seats begin."""


class Seats:
    """The seats that were read last, and this node's own.

    Args:
        broker: gives the present one.
        clock: of leases.
        mine: returns this node's seat as it is now.
    """

    def __init__(self, broker: Callable[[], Broker], clock: LeaseClock, mine: Callable[[], Seat]) -> None:
        self.table = Table([])
        self.unreached: str | None = None
        """Why the broker could not be asked at last; None where it could."""
        self._broker, self._clock, self._mine = broker, clock, mine
        self._written: tuple[Seat, float] | None = None
        self._former: dict[str, Seat] = {}
        self._orphaned: dict[str, float] = {}

    def forget(self) -> None:
        """Know nothing, as at a start."""
        self.table, self.unreached, self._written = Table([]), None, None
        self._former, self._orphaned = {}, {}

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` when a seat changes; returns the end of it."""
        return self._broker().watch(PREFIX, changed)

    async def read(self) -> None:
        """Read the seats; while the broker is away, those that were read last count."""
        mine = self._mine()
        others = [seat for seat in self.table.seats if seat.holder != mine.holder]
        try:
            entries = await answered(self._clock, self._broker().entries(PREFIX))
        except OSError as exc:
            self.unreached = str(exc) or type(exc).__name__
        else:
            self.unreached = None
            found = [seat for entry in entries if (seat := read_seat(entry.value)) is not None]
            if len(found) < len(entries):
                log.debug("%d seats cannot be read, and do not count", len(entries) - len(found))
            others = [seat for seat in found if seat.holder != mine.holder]
        self.table = Table([*others, self._mine()])
        for seat in others:
            self._former.update(dict.fromkeys(seat.holds, seat))
        self._note_orphans()

    async def write(self) -> None:
        """Write this node's seat where it has changed, and now and then, or the others take it for gone."""
        seat, now = self._mine(), self._clock.monotonic()
        if self._written is not None and self._written[0] == seat and now < self._written[1] + RENEW_AFTER:
            return
        try:
            data = msgspec.json.encode(seat)
            await answered(self._clock, self._broker().put(PREFIX + seat.holder, data, seconds=LEASE))
        except OSError as exc:
            self.unreached = str(exc) or type(exc).__name__
            return
        self._written = seat, now

    async def leave(self) -> None:
        """Say that this node is gone; by this, others tell an orderly end from a death for a while."""
        seat = self._mine()
        with suppress(OSError):  # what it has said before ends by itself
            data = msgspec.json.encode(seat)
            await answered(self._clock, self._broker().put(PREFIX + seat.holder, data, seconds=LEASE))

    def take_former(self, worker: str) -> Seat | None:
        """Return the other node that held a worker when that was seen last, and forget it."""
        return self._former.pop(worker, None)

    def former(self, worker: str) -> Seat | None:
        """Return the other node that held a worker when that was seen last."""
        return self._former.get(worker)

    def orphaned_for(self, worker: str) -> float:
        """Return for how many seconds nobody has held a worker that stands by somewhere; 0 for no time."""
        now = self._clock.monotonic()
        return now - self._orphaned.get(worker, now)

    def _note_orphans(self) -> None:
        now = self._clock.monotonic()
        wanted = {worker for seat in self.table.seats for worker in seat.wants}
        orphans = (worker for worker in wanted if self.table.holder(worker) is None)
        self._orphaned = {worker: self._orphaned.get(worker, now) for worker in orphans}
