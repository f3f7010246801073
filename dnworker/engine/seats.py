"""`Seats`: what each node of a cluster says of itself, as it is read and written; for `holdings`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from dnworker.core.lease_time import LEASE, RENEW_AFTER, LeaseClock
from dnworker.engine.agreed_versions import PREFIX as TARGETS
from dnworker.engine.agreed_versions import AgreedVersions
from dnworker.engine.hold import answered
from dnworker.engine.hold_times import START_WITHIN, TAKEN_WITHIN
from dnworker.engine.placement import Seat, Table, read_seat
from dnworker.events.brokers.base import Broker, Entry

log = logging.getLogger("dnworker.cluster")

PREFIX = "seat."
"""How the keys of seats begin."""

OLD_AFTER = LEASE + 2.0
"""Seconds after which a seat that nobody has written again does not count."""


class Seats:
    """The seats that were read last, and this node's own.

    Args:
        broker: gives the present one.
        clock: of leases.
        mine: returns this node's seat as it is now.
        versions: the targets of the cluster; they are read with the seats.
    """

    def __init__(
        self,
        broker: Callable[[], Broker],
        clock: LeaseClock,
        mine: Callable[[], Seat],
        versions: AgreedVersions,
    ) -> None:
        self.versions = versions
        self.table = Table([])
        self.unreached: str | None = None
        """Why the broker could not be asked at last; None where it could."""
        self._broker, self._clock, self._mine = broker, clock, mine
        self._written: tuple[Seat, float] | None = None
        self._former: dict[str, Seat] = {}
        self._orphaned: dict[str, float] = {}
        self._seen: dict[str, tuple[int | None, float]] = {}
        """The revision of each seat that was read, and since when it is that one."""

    def forget(self) -> None:
        """Know nothing, as at a start."""
        self.table, self.unreached, self._written = Table([]), None, None
        self.versions.forget()
        self._former, self._orphaned, self._seen = {}, {}, {}

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` when a seat or a target changes; returns the end of it."""
        ends = [self._broker().watch(prefix, changed) for prefix in (PREFIX, TARGETS)]

        def end() -> None:
            for one in ends:
                one()

        return end

    async def read(self) -> None:
        """Read the seats; while the broker is away, those that were read last count."""
        mine = self._mine()
        others = [seat for seat in self.table.seats if seat.holder != mine.holder]
        try:
            entries = await answered(self._clock, self._broker().entries(PREFIX))
            found = [seat for entry in self._fresh(entries) if (seat := _seat_of(entry)) is not None]
            others = [seat for seat in found if seat.holder != mine.holder]
            there = [seat.versions for seat in others if not seat.is_leaving]
            await self.versions.look(there)
        except OSError as exc:
            self.unreached = str(exc) or type(exc).__name__
        else:
            self.unreached = None
            if len(found) < len(entries):
                log.debug("%d seats are old or no seats, and do not count", len(entries) - len(found))
        self.table = Table([*others, self._mine()], self.versions.targets)
        for seat in others:
            self._former.update(dict.fromkeys(seat.holds, seat))
        self._note_orphans()

    def _fresh(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return those that were written in the last seconds, as far as is known here.

        A seat ends by itself; one that somebody wrote without an end would keep its workers for ever.
        """
        now, before = self._clock.monotonic(), self._seen
        self._seen = {}
        for entry in entries:
            revision, since = before.get(entry.key, (None, now))
            self._seen[entry.key] = entry.revision, since if revision == entry.revision else now
        return [entry for entry in entries if now <= self._seen[entry.key][1] + OLD_AFTER]

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
        if self.unreached is not None:
            return
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

    @property
    def has_orphans(self) -> bool:
        """Whether nobody has held a worker for a short time that stands by somewhere: its lease ends soon."""
        now = self._clock.monotonic()
        return any(now < since + 2 * LEASE for since in self._orphaned.values())

    async def taken(self, worker: str) -> bool:
        """Return once another node has started a worker, and after a while; whether another node had it."""
        began, was_taken = self._clock.monotonic(), False
        while (past := self._clock.monotonic() - began) < START_WITHIN:
            seat = self.table.holder(worker)
            if seat is not None and seat.holder == self._mine().holder:
                seat = None  # the table is of before
            was_taken = was_taken or seat is not None
            if past >= TAKEN_WITHIN if seat is None else worker not in seat.starting:
                break
            await self._clock.sleep(0.1)
        return was_taken

    def _note_orphans(self) -> None:
        now = self._clock.monotonic()
        wanted = {worker for seat in self.table.seats for worker in seat.wants}
        orphans = (worker for worker in wanted if self.table.holder(worker) is None)
        self._orphaned = {worker: self._orphaned.get(worker, now) for worker in orphans}


def _seat_of(entry: Entry) -> Seat | None:
    """Return the seat at a key; None where what is there is none, or that of another key."""
    seat = read_seat(entry.value)
    return seat if seat is not None and entry.key == PREFIX + seat.holder else None
