"""`Sightings`: what this node sees of all nodes, and who of them is gone; for `nodes`.

A node lives while its record is there and is written again and again, by the own monotonic clock. What its
clock says is never compared: a node whose clock is five minutes off is as alive as any other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from dnworker.core.clock import Clock
from dnworker.core.errors import DnworkerError
from dnworker.engine.node_records import Move, NodeRecord, NodeRow, PastRecord, past_of, row_of_past
from dnworker.engine.node_registration import LIFETIME, PAST, PAST_KEPT_FOR, PREFIX, past_record_of, record_of
from dnworker.events.brokers.base import Broker, Entry

log = logging.getLogger("dnworker.nodes")

PASTS_KEPT = 100
"""Nodes that are gone and stay listed; of more, those that were noted first are forgotten."""

CLOCK_OFF = 5.0
"""Seconds by which clocks may differ before it is said; less may be the way of a record."""

LATE = 4.0
"""Seconds without word after which the former holder of a worker counts as lost, not as giving it up."""


class Sighting(NamedTuple):
    """A record, and when it was first seen like this, in seconds of the own monotonic clock."""

    revision: int
    record: NodeRecord
    heard_at: float
    clock_off: float | None


class Sightings:
    """The nodes that are there, and those that are gone.

    Args:
        broker: gives the present one.
        clock: the own clock.
        instance: the id of this runtime.
    """

    def __init__(self, broker: Callable[[], Broker], clock: Clock, instance: str) -> None:
        self._broker = broker
        self._clock = clock
        self._instance = instance
        self._seen: dict[str, Sighting] = {}
        self._past: dict[str, PastRecord] = {}
        self._unreadable: set[str] = set()
        self._vanished: dict[str, Sighting] = {}
        """Those that are not noted as gone yet."""

    async def read(self, *, is_settled: bool = True) -> list[Move]:
        """Read all records, and note who is gone; returns the steps of the timeline that this node writes.

        Args:
            is_settled: whether this node has reached the broker for as long as a record lives. Where the
                broker itself was away, all records have ended, and all nodes are about to be back.

        Raises:
            OSError, DnworkerError: the broker is away; everything stays as it was seen last.
        """
        entries = await self._broker().entries(PREFIX)
        pasts = await self._broker().entries(PAST)
        seen = {entry.key.removeprefix(PREFIX): self._sighting(entry) for entry in entries}
        missing = {name: one for name, one in self._seen.items() if name not in seen}
        seen |= await self._ask_for(missing)
        self._seen = {name: one for name, one in seen.items() if one is not None}
        self._past = {past.name: past for past in map(self._past_of, pasts) if past is not None}
        self._vanished |= {name: one for name, one in missing.items() if name not in seen}
        for name in self._vanished.keys() & self._seen.keys():
            del self._vanished[name]  # it is back, or another has its name
        moves = await self._note_vanished() if is_settled else []
        await self._forget_old(pasts)
        return moves

    def rows(self) -> list[NodeRow]:
        """Return all nodes: those that are there first, each part by name."""
        known = self._vanished | self._seen
        there = [self._row(one) for one in known.values()]
        gone = [row_of_past(past) for name, past in self._past.items() if name not in known]
        order = ("up", "silent", "gone")
        return sorted([*there, *gone], key=lambda row: (order.index(row.state), row.name))

    def is_lost(self, name: str) -> bool:
        """Return whether a node is gone, or has said nothing for longer than one that gives up a worker."""
        one = self._seen.get(name)
        return one is None or self._clock.monotonic() - one.heard_at > LATE

    def _sighting(self, entry: Entry) -> Sighting | None:
        name, now = entry.key.removeprefix(PREFIX), self._clock.monotonic()
        before = self._seen.get(name)
        if before is not None and before.revision == entry.revision:
            return before
        record = record_of(entry)
        if record is None:
            self._say_unreadable(entry)
            return None
        off = None
        if before is not None and before.record.instance == record.instance:  # else it may be old
            off = record.at - self._clock.now().timestamp()
        return Sighting(entry.revision, record, now, off)

    def _row(self, one: Sighting) -> NodeRow:
        record, silence = one.record, self._clock.monotonic() - one.heard_at
        off = one.clock_off
        return NodeRow(
            name=record.name,
            state="up" if silence <= LIFETIME and one.record.name in self._seen else "silent",
            is_here=record.instance == self._instance,
            instance=record.instance,
            version=record.version,
            labels=record.labels,
            host=record.host,
            pid=record.pid,
            url=record.url,
            since=record.since,
            heard_sec=round(silence, 1),
            clock_off_sec=round(off) if off is not None and abs(off) > CLOCK_OFF else None,
            held=record.held,
            backlog=record.backlog,
            pending=record.pending,
            lag_ms=record.lag_ms,
            failure=record.failure,
            workers=record.workers,
            capabilities=record.capabilities,
        )

    # -- who is gone -----------------------------------------------------------------------------------

    async def _ask_for(self, missing: dict[str, Sighting]) -> dict[str, Sighting | None]:
        """Return those of the nodes that are missing in the list which are there all the same, or may be.

        Where the broker is away, the list ends by this node's time alone: nobody is gone by that.
        """
        found: dict[str, Sighting | None] = {}
        for name in missing:
            try:
                entry = await self._broker().get(PREFIX + name)
            except (OSError, DnworkerError):
                return missing | found
            if entry is not None:
                found[name] = self._sighting(entry)
        return found

    async def _note_vanished(self) -> list[Move]:
        """Note all that are gone; those after a failure of the broker, the next time."""
        moves = []
        for name, one in [*self._vanished.items()]:
            try:
                move = await self._note_gone(one) if one.record.instance != self._instance else None
            except (OSError, DnworkerError):
                break
            moves += [] if move is None else [move]
            del self._vanished[name]
        return moves

    async def _note_gone(self, one: Sighting) -> Move | None:
        """Note that a node is gone; None where it has left by itself, or another has noted it."""
        name, record = one.record.name, one.record
        entry = await self._broker().get(PAST + name)
        past = None if entry is None else self._past_of(entry)
        if past is not None and (past.instance != record.instance or past.gone_at is not None):
            return None
        silence = self._clock.monotonic() - one.heard_at
        gone = past_of(record, gone_at=self._clock.now().timestamp() - silence)
        revision = 0 if entry is None else entry.revision
        data = msgspec.json.encode(gone)
        if await self._broker().put(PAST + name, data, revision=revision, seconds=PAST_KEPT_FOR) is None:
            return None
        self._past[name] = gone
        log.warning("node %s is gone: nothing was heard of it for %.0f s", name, silence)
        return Move(at=gone.gone_at or 0.0, kind="gone", node=name)

    async def _forget_old(self, entries: list[Entry]) -> None:
        """Delete what is left of nodes beyond those that are kept."""
        gone = [one for one in entries if one.key.removeprefix(PAST) not in self._seen]
        for entry in sorted(gone, key=lambda one: one.revision)[: max(0, len(gone) - PASTS_KEPT)]:
            self._past.pop(entry.key.removeprefix(PAST), None)
            await self._broker().delete(entry.key)

    def _past_of(self, entry: Entry) -> PastRecord | None:
        past = past_record_of(entry)
        if past is None:
            self._say_unreadable(entry)
        return past

    def _say_unreadable(self, entry: Entry) -> None:
        """Say once of a record that it cannot be read."""
        if entry.key not in self._unreadable:
            self._unreadable.add(entry.key)
            log.warning(
                "the record %s cannot be read, and is not shown: is it of another version?", entry.key
            )
