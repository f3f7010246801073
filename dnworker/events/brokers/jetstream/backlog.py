"""`Backlog`: events that are read from the stream again: pages for workers, single ones, a session's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence

from msgspec.structs import replace

from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import Invalid
from dnworker.events.brokers.jetstream.api import Message
from dnworker.events.brokers.jetstream.connecting import Connected
from dnworker.events.brokers.jetstream.events import Read, read_event
from dnworker.events.brokers.jetstream.pulling import Raw, after, create, pull, remove
from dnworker.events.brokers.kept.cursors import Cursor
from dnworker.events.brokers.kept.pages import Page, Stored

log = logging.getLogger("dnworker.broker")

AT_ONCE = 50
"""Single events that are asked for side by side."""

SESSION_BYTES = 64_000_000
"""Bytes of a session's events that are read at once."""


MOST_UNREADABLE = 1_000
"""Messages of which it is remembered that the log says of them that they cannot be read."""


class Backlog:
    """Reads events of the stream.

    Args:
        connected: the server.
        is_let_go: whether no worker is to get the event of a `seq`.
    """

    def __init__(self, connected: Connected, is_let_go: Callable[[int], bool]) -> None:
        self._connected = connected
        self._names = connected.names
        self._api = connected.api
        self._is_let_go = is_let_go
        self._warned: dict[str, int] = {}
        self._unreadable: dict[int, None] = {}
        """Numbers of messages of which it was said that they are no events."""

    async def page(
        self, kinds: dict[str | None, int], seen: int, upto: int, *, most: int, max_bytes: int, worker: str
    ) -> Page:
        """Return the next events of some kinds, each since its own `seq`, after one up to another.

        Raises:
            Away, Refused: they cannot be read now.
        """
        begin = max(seen, min(kinds.values(), default=upto))
        if begin >= upto:
            return Page([], max(seen, upto))
        await self._say_gone(worker, begin)
        filters = self._names.of_kinds(kinds, worker)
        raws, is_end = await pull(
            self._api, self._names.events, filters, after(begin), most=most, max_bytes=max_bytes
        )
        within = [raw for raw in raws if raw.seq <= upto]
        if len(within) < len(raws):
            reached = upto
        elif is_end:
            reached = await self._end(filters, max(begin, raws[-1].seq if raws else 0), upto)
        else:
            reached = min(raws[-1].seq, upto) if raws else begin
        found = [stored for raw in within if (stored := self._stored(raw)) and not self._is_let_go(raw.seq)]
        return Page(found, reached)

    async def _end(self, filters: list[str], reached: int, upto: int) -> int:
        """Return how far was read: a server that is not the stream's leader may not have all events yet."""
        if self._connected.replicas > 1:
            for subject in filters:
                if reached >= upto:
                    break
                missed = await self._api.message(self._names.events, seq=reached + 1, next_by_subj=subject)
                if missed is not None:
                    upto = min(upto, missed.seq - 1)
        return max(reached, upto)

    async def _say_gone(self, worker: str, begin: int) -> None:
        """Say which events are gone that a worker was to get."""
        if (info := await self._api.info(self._names.events)) is None or info.first_seq <= begin + 1:
            return
        if self._warned.get(worker, 0) < info.first_seq:
            self._warned[worker] = info.first_seq
            log.warning(
                "%s comes too late for events %d to %d: they are too old, too many or purged, and gone",
                worker,
                begin + 1,
                info.first_seq - 1,
            )

    async def by_seq(self, numbers: Sequence[int]) -> list[Stored]:
        """Return those events of some numbers that are kept and that a worker may get, in that order.

        Raises:
            Away, Refused: they cannot be read now.
        """
        found = await self.by_seq_of_all(numbers)
        if len(found) < len(numbers):
            gone = sorted({*numbers} - {one.envelope.seq for one in found})
            log.warning(
                "%d events were to be given again, and are gone, too old or purged: %s",
                len(gone),
                ", ".join(str(seq) for seq in gone[:10]) + (" ..." if len(gone) > 10 else ""),
            )
        return [one for one in found if not self._is_let_go(one.envelope.seq)]

    async def by_seq_of_all(self, numbers: Sequence[int]) -> list[Stored]:
        """Return those events of some numbers that are kept, in that order; raises as `by_seq` does."""
        found: list[Stored] = []
        for begin in range(0, len(numbers), AT_ONCE):
            messages = await asyncio.gather(
                *(self._api.message(self._names.events, seq=seq) for seq in numbers[begin : begin + AT_ONCE])
            )
            found += [
                stored for one in messages if one is not None and (stored := self._stored(one)) is not None
            ]
        return found

    async def first(self, event_id: str) -> Read | None:
        """Return the event of an id that may be published again; None where there is none."""
        found = await self._api.message(self._names.events, seq=1, next_by_subj=self._names.of_id(event_id))
        return None if found is None else read_event(found.data, found.headers, found.seq)

    async def of_session(self, session_id: str | None, begin: int, limit: int) -> list[EventEnvelope]:
        """Return the events of a session, or of none, after a `seq`, marked `replay`.

        Raises:
            Away, Refused: they cannot be read now.
        """
        raws, _ = await pull(
            self._api,
            self._names.events,
            [self._names.of_session(session_id)],
            after(begin),
            most=limit,
            max_bytes=SESSION_BYTES,
        )
        found = [stored.envelope for raw in raws if (stored := self._stored(raw)) is not None]
        return [replace(one, replay=True) for one in found if one.session_id == session_id]

    async def count(self, cursor: Cursor, let_go: Collection[int]) -> int:
        """Return how many events wait for a worker behind those that it has handled.

        Args:
            let_go: the numbers of those that no worker is to get.

        Raises:
            Away, Refused: they cannot be counted now.
        """
        by_start: dict[int, list[str | None]] = {}
        for kind, since in cursor.kinds.items():
            by_start.setdefault(max(since, cursor.handled_to), []).append(kind)
        if None in cursor.kinds:
            by_start = {max(cursor.kinds[None], cursor.handled_to): [None]}
        total = 0
        for start, kinds in by_start.items():
            filters = self._names.of_kinds(kinds, cursor.family)
            name, waiting = await create(self._api, self._names.events, filters, after(start))
            await remove(self._api.client, self._names.events, name)
            total += waiting
            for one in await self.by_seq_of_all([seq for seq in let_go if seq > start]):
                is_for_it = one.only in (None, cursor.family)
                total -= is_for_it and (one.envelope.kind in kinds or None in kinds)
        return max(total, 0)

    def _stored(self, message: Raw | Message) -> Stored | None:
        """Return an event of the stream; None, and once a line in the log, where it is none."""
        try:
            return read_event(message.data, message.headers, message.seq).stored
        except Invalid as exc:
            if message.seq not in self._unreadable:
                self._unreadable[message.seq] = None
                if len(self._unreadable) > MOST_UNREADABLE:
                    del self._unreadable[next(iter(self._unreadable))]
                log.error("event %d of the stream cannot be read, and is left out: %s", message.seq, exc)
            return None
