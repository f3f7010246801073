"""`Deduped`: publishes an event of a key once a day, however often a worker asks: `publish(dedupe=key)`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple, Protocol

import msgspec

from dnworker.core.clock import Clock
from dnworker.core.envelope import EventEnvelope
from dnworker.core.ids import new_id
from dnworker.core.keys import check_key
from dnworker.engine.recent_keys import RecentKeys
from dnworker.events.bus import EventBus


class Publish(Protocol):
    """Publishes the event under an id."""

    def __call__(self, *, event_id: str, may_exist: bool) -> EventEnvelope:
        """Publish it, as `EventBus.publish`."""


class First(NamedTuple):
    """The event of a key, and whether it was there before."""

    event_id: str
    seq: int
    is_duplicate: bool


class _Kept(msgspec.Struct):
    """What is kept of a key; without `seq` it is not known whether the event was accepted."""

    event_id: str
    seq: int = 0


class Deduped:
    """The keys of events that are published once.

    The event's id is kept before the event is published, so that after a kill in between the same id is
    published again, and the broker knows whether it has the event.
    """

    def __init__(self, bus: EventBus, clock: Clock) -> None:
        self._bus = bus
        self._keys = RecentKeys(bus, clock, "dedupe")
        self._busy: dict[tuple[str, str], asyncio.Event] = {}

    async def publish(self, worker: str, key: str, publish: Publish) -> First:
        """Publish the event unless one of this key was within a day; return when it is accepted.

        Raises:
            Invalid: the key is none.
            NotStored: the broker could not keep it; it may be published again.
        """
        check_key(key)
        async with self._alone(worker, key):
            kept, is_fresh = await self._reserve(worker, key)
            if kept.seq:
                return First(kept.event_id, kept.seq, is_duplicate=True)
            envelope = publish(event_id=kept.event_id, may_exist=not is_fresh)
            first, is_new = await self._bus.acceptance(envelope)
            await self._keys.put(worker, key, msgspec.json.encode(_Kept(kept.event_id, first.seq)))
            return First(kept.event_id, first.seq, is_duplicate=not is_new)

    async def _reserve(self, worker: str, key: str) -> tuple[_Kept, bool]:
        """Return what is kept of a key, and whether it was not kept before."""
        while (entry := await self._keys.get(worker, key)) is None:
            made = _Kept(new_id())
            if await self._keys.put(worker, key, msgspec.json.encode(made), revision=0) is not None:
                return made, True
        return msgspec.json.decode(entry.value, type=_Kept), False

    @asynccontextmanager
    async def _alone(self, worker: str, key: str) -> AsyncIterator[None]:
        name = worker, key
        while (other := self._busy.get(name)) is not None:
            await other.wait()
        ended = self._busy[name] = asyncio.Event()
        try:
            yield
        finally:
            del self._busy[name]
            ended.set()
