"""`Registration`: the record of this node under its name, which one runtime at a time may have; for `nodes`.

The record is its own lease: it is written over a known revision, and the broker drops it when it is not
written again in time. Nobody's clock but the broker's and the own monotonic one takes part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from dnworker.core.clock import Clock
from dnworker.core.errors import Conflict
from dnworker.engine.node_records import NodeRecord, PastRecord, past_of
from dnworker.events.brokers.base import Broker, Entry

PREFIX, PAST = "node.", "past."

BEAT = 3.0
"""Seconds between two writes of a record."""

LIFETIME = 10.0
"""Seconds after which the broker drops a record that is not written again."""

MARGIN = 2.0
"""Seconds beyond that after which a name is taken over though the broker has not dropped its record."""

POLL = 0.5
"""Seconds between two looks at a name that is in use."""

PAST_KEPT_FOR = 24 * 3600.0
"""Seconds for which a node stays listed that is gone."""

LARGEST = 500_000
"""Bytes of a record that is read: one of ours is a fifth of that at most."""

R = TypeVar("R", NodeRecord, PastRecord)

PAST_EVERY = 60.0
"""Seconds between two writes of that."""


class NameTaken(Conflict):
    """Another runtime is the node of this name."""

    code = "DN808"


class Registration:
    """Claims a name, keeps it, and gives it back.

    Args:
        broker: gives the present one.
        clock: what time it sleeps by.
        record: makes the record as of now.
    """

    def __init__(self, broker: Callable[[], Broker], clock: Clock, record: Callable[[], NodeRecord]) -> None:
        self._broker = broker
        self._clock = clock
        self._record = record
        self._revision = 0
        self._past_at: float | None = None

    async def claim(self) -> None:
        """Take the name; waits up to 12 s for the record of a runtime that was killed to go.

        Raises:
            NameTaken: a runtime has it that lives; says which, and the way out.
            OSError, DnworkerError: the broker is away.
        """
        began, first = self._clock.monotonic(), None
        while True:
            record = self._record()
            if await self._put(record, 0):
                return
            found = await self._broker().get(PREFIX + record.name)
            if found is not None:
                if first is None:
                    first = found
                if found.revision != first.revision and instance_of(found) != record.instance:
                    raise NameTaken(_taken(record.name, found))
                waited = self._clock.monotonic() - began > LIFETIME + MARGIN
                if (waited or instance_of(found) == record.instance) and await self._put(
                    record, found.revision
                ):
                    return
            await self._clock.sleep(POLL)

    async def write(self) -> bool:
        """Write the record; returns whether others have noted meanwhile that this node is gone.

        Raises:
            NameTaken: another runtime took the name while this one was away.
            OSError, DnworkerError: the broker is away.
        """
        record = self._record()
        if not await self._put(record, self._revision):
            self._past_at = None  # others may have noted it as gone
            found = await self._broker().get(PREFIX + record.name)
            if found is not None and instance_of(found) != record.instance:
                raise NameTaken(_taken(record.name, found))
            if not await self._put(record, 0 if found is None else found.revision):
                raise NameTaken(f"another runtime has taken the name of node {record.name!r} just now")
        return await self._write_past(record)

    async def end(self) -> None:
        """Give the name back, and note that the node has left."""
        record = self._record()
        found = await self._broker().get(PREFIX + record.name)
        if found is None or instance_of(found) != record.instance:
            return
        past = past_of(record, gone_at=record.at, has_left=True)
        await self._broker().put(PAST + record.name, msgspec.json.encode(past), seconds=PAST_KEPT_FOR)
        await self._broker().delete(PREFIX + record.name)

    async def _put(self, record: NodeRecord, revision: int) -> bool:
        data = msgspec.json.encode(record)
        entry = await self._broker().put(PREFIX + record.name, data, revision=revision, seconds=LIFETIME)
        if entry is not None:
            self._revision = entry.revision
        return entry is not None

    async def _write_past(self, record: NodeRecord) -> bool:
        """Write what stays of the node where nobody sees its end, now and then; returns as of `write`."""
        now = self._clock.monotonic()
        if self._past_at is not None and now - self._past_at < PAST_EVERY:
            return False
        entry = await self._broker().get(PAST + record.name)
        before = None if entry is None else past_record_of(entry)
        data, revision = msgspec.json.encode(past_of(record)), 0 if entry is None else entry.revision
        key = PAST + record.name
        if await self._broker().put(key, data, revision=revision, seconds=PAST_KEPT_FOR) is None:
            return False  # somebody notes just now that it is gone: the next beat sees that
        self._past_at = now
        return before is not None and before.instance == record.instance and before.gone_at is not None


def instance_of(entry: Entry) -> str | None:
    """Return which runtime wrote a record; None where it cannot be read."""
    record = record_of(entry)
    return None if record is None else record.instance


def record_of(entry: Entry) -> NodeRecord | None:
    """Return a record; None where it cannot be read, as of another version, or is not of its key."""
    return _read(entry, NodeRecord, PREFIX)


def past_record_of(entry: Entry) -> PastRecord | None:
    """Return what is left of a node; None where it cannot be read, or is not of its key."""
    return _read(entry, PastRecord, PAST)


def _read(entry: Entry, kind: type[R], prefix: str) -> R | None:
    if len(entry.value) > LARGEST:
        return None
    try:
        record = msgspec.json.decode(entry.value, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return record if record.name == entry.key.removeprefix(prefix) else None


def _taken(name: str, found: Entry) -> str:
    record = record_of(found)
    who = "" if record is None else f" (process {record.pid} on {record.host})"
    return f"node {name!r} is in this namespace already{who}; give this runtime another name: --node NAME"
