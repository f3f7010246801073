"""`WorkerStream`: events of certain kinds for a worker process; `StreamReader`: what one socket reads of it.

A `WorkerQueue` has the streams of one process; `server/worker_stream.py` reads them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec

from dnworker.core.envelope import EVENTS_CUT, RESUMED, EventEnvelope
from dnworker.events.backlog import Timers
from dnworker.events.brokers.base import DeliveryWatcher


class Watcher(DeliveryWatcher, Protocol):
    """Knows which events the handlers of a process have not begun yet."""

    @property
    def is_closed(self) -> bool:
        """Whether it hears of them no more."""

    def outstanding(self) -> Mapping[str, EventEnvelope]:
        """Return the events, by id, that were queued and whose handlers have not begun yet."""

    def close(self) -> None:
        """Wait for nothing more."""


OnLost = Callable[[str | None, str, int], None]
"""Is told that events are lost: the id of one, or None for several that are not known; why; how many."""


class Queue(Protocol):
    """The queue that a stream is part of: a `WorkerQueue`."""

    owner: str
    on_lost: OnLost
    timers: Timers
    seconds: float
    """How long a stream is waited for."""
    why_given_up: str
    why_full: str

    def grow(self, stream: WorkerStream, size: int) -> bool:
        """Take so many bytes more for a stream; False if there is no room."""

    def shrink(self, size: int) -> None:
        """Give back so many bytes."""

    def drop(self, stream: WorkerStream) -> None:
        """Forget a stream that is wanted no more."""

    def is_left_to_another(self, stream: WorkerStream, envelope: EventEnvelope, *, is_new: bool) -> bool:
        """Return whether the handlers that a stream feeds get an event over another one, or lose it there."""

    def limit_awaited(self) -> None:
        """Give up streams, where too many are waited for."""


class _Gap:
    """Stands in a queue where events are missing."""

    def __init__(self) -> None:
        self.lost = 0

    @property
    def envelope(self) -> EventEnvelope:
        return EventEnvelope(seq=0, kind=EVENTS_CUT, payload={"lost": self.lost})


_Entry = tuple[EventEnvelope | _Gap, int]


class Resumed(msgspec.Struct, frozen=True):
    """What a stream goes on with after its socket broke."""

    after_seq: int | None
    """The last event that the client says it has; None if it does not say."""
    resent: int
    """Events that are sent again: they may have arrived."""
    lost: int
    """Events that were lost meanwhile."""

    @property
    def envelope(self) -> EventEnvelope:
        """It, as the stream says it."""
        return EventEnvelope(seq=0, kind=RESUMED, payload=msgspec.to_builtins(self))


class StreamReader:
    """What one socket reads of a stream, until the socket is gone or another takes its place."""

    def __init__(self, stream: WorkerStream, resumed: Resumed | None) -> None:
        self.resumed = resumed
        self.on_end: Callable[[], None] | None = None
        """Called when another socket takes its place."""
        self.is_over = False
        """Whether the process has ended; the socket is closed with its token, which is good no longer."""
        self.is_alive: Callable[[], Awaitable[bool]] | None = None
        """Asks the socket's client whether it is there; None if it cannot be asked."""
        self._stream = stream
        self._waiter: asyncio.Future[None] | None = None

    @property
    def stream(self) -> WorkerStream:
        """What it reads."""
        return self._stream

    @property
    def is_reading(self) -> bool:
        """Whether no other has taken its place."""
        return self._stream.reader is self

    async def next(self) -> EventEnvelope | None:
        """Return the next event as soon as there is one; None when it is over."""
        while (envelope := self.take()) is None:
            if self._stream.reader is not self:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return envelope

    def take(self) -> EventEnvelope | None:
        """Return the next event if there is one; it counts as sent."""
        return self._stream.send_next() if self._stream.reader is self else None

    def acknowledge(self, seq: int) -> None:
        """Note that all that was sent up to `seq` has arrived."""
        if self._stream.reader is self:
            self._stream.acknowledge(seq)

    def leave(self, *, clean: bool) -> None:
        """Note that the socket is gone; `clean` if the client closed it: then it wants nothing more."""
        if self._stream.reader is self:
            self._stream.detach(clean=clean)

    def wake(self) -> None:
        """Look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def end(self) -> None:
        """Let the socket go."""
        self.wake()
        if self.on_end is not None:
            self.on_end()


class WorkerStream:
    """The events of certain kinds for one process, over one socket after the other.

    A client that names its stream, and says which event it had last, gets each event once. Of a client that
    says nothing it cannot be known what of the unacknowledged has arrived: these come again, as `replay`.
    """

    def __init__(
        self, queue: Queue, kinds: frozenset[str] | None, name: str | None, watcher: Watcher | None
    ) -> None:
        # What it wants, and for whom.
        self.kinds = kinds
        self.session_id: str | None = None
        self.goes_by_seq = True
        self.owner: str | None = queue.owner
        self.name = name
        self.watcher = watcher
        # What is to be sent, what was sent and may not have arrived, and how many of the first may be copies.
        self._queue = queue
        self._unsent: deque[_Entry] = deque()
        self._sent: deque[_Entry] = deque()
        self._copies = 0
        self.size = 0
        """Bytes of both."""
        # Who reads it, and what becomes of it while nobody does.
        self.reader: StreamReader | None = None
        self._giving_up: asyncio.TimerHandle | None = None
        self.is_given_up = False
        self.lost_since = 0
        """Events that were lost while nobody read it."""

    def put(self, envelope: EventEnvelope, size: int = 0) -> bool:
        """Queue one event; False if it is lost. Called by the bus."""
        if self.is_given_up:
            self._lose(envelope, self._queue.why_given_up, is_new=True)
            return False
        if not self._queue.grow(self, size):
            self._lose(envelope, self._queue.why_full, is_new=True)
            self._mark_gap()
            return False
        self.queue(envelope, size)
        if self.reader is not None:
            self.reader.wake()
        return True

    def queue(self, envelope: EventEnvelope, size: int) -> None:
        """Queue an event that is counted already."""
        self._unsent.append((envelope, size))
        self.size += size
        if self.watcher is not None:
            self.watcher.expect(envelope)

    def open_gap(self, lost: int) -> None:
        """Begin with a note that events are missing."""
        gap = _Gap()
        gap.lost = lost
        self._unsent.append((gap, 0))

    def attach_new(self, resumed: Resumed | None) -> StreamReader:
        """Let the first socket read it; `resumed`, where its client had a stream that was forgotten."""
        self.reader = StreamReader(self, resumed)
        return self.reader

    def attach(self, after_seq: int | None) -> StreamReader:
        """Let a new socket read it; one that still reads is let go."""
        before, self.reader = self.reader, None
        if before is not None:
            before.end()
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
        if after_seq is not None:
            self.acknowledge(after_seq)
        resent = sum(not isinstance(entry, _Gap) for entry, _ in self._sent)
        self._unsent.extendleft(reversed(self._sent))
        self._copies = self._copies + len(self._sent) if after_seq is None else 0
        self._sent.clear()
        lost, self.lost_since, self.is_given_up = self.lost_since, 0, False
        self.reader = StreamReader(self, Resumed(after_seq, resent, lost))
        return self.reader

    def send_next(self) -> EventEnvelope | None:
        """Return the next event, which counts as sent."""
        if not self._unsent:
            return None
        entry = self._unsent.popleft()
        self._sent.append(entry)
        envelope = entry[0].envelope if isinstance(entry[0], _Gap) else entry[0]
        if self._copies:
            self._copies -= 1
            if envelope.seq:
                return msgspec.structs.replace(envelope, replay=True)
        return envelope

    def acknowledge(self, seq: int) -> None:
        """Forget what was sent up to `seq`: it has arrived."""
        freed = 0
        while self._sent and (isinstance(first := self._sent[0][0], _Gap) or first.seq <= seq):
            freed += self._sent.popleft()[1]
        if freed:
            self.size -= freed
            self._queue.shrink(freed)

    def detach(self, *, clean: bool) -> None:
        """Note that nobody reads it any more."""
        self.reader = None
        if clean:
            if self.watcher is not None:
                self.watcher.close()  # it knows then what was left, should the process be about to end
            self._queue.drop(self)
            return
        self._giving_up = self._queue.timers.call_later(self._queue.seconds, self.give_up)
        self._queue.limit_awaited()

    @property
    def is_awaited(self) -> bool:
        """Whether it waits for a client to come back."""
        return self._giving_up is not None

    def give_up(self) -> None:
        """Lose what is queued: nobody came back for it. What is published from now on is lost, too."""
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
        self.is_given_up = True
        for envelope in self._not_arrived():
            self._lose(envelope, self._queue.why_given_up)
        self.clear()

    def rest(self) -> list[tuple[EventEnvelope, int]]:
        """Return what is queued and not handled, for another stream, with sizes; what was sent is marked."""
        wanted = {envelope.event_id for envelope in self._not_arrived()}
        copies = len(self._sent) + self._copies
        return [
            (msgspec.structs.replace(entry, replay=True) if n < copies else entry, size)
            for n, (entry, size) in enumerate((*self._sent, *self._unsent))
            if not isinstance(entry, _Gap) and entry.event_id in wanted
        ]

    def not_handled(self) -> list[EventEnvelope]:
        """Return what has not arrived or, where the process reports, what it has not begun to handle."""
        return self._not_arrived() if self.watcher is None else [*self.watcher.outstanding().values()]

    def clear(self) -> None:
        """Forget everything that is queued."""
        if self.watcher is not None:
            for entry, _ in (*self._sent, *self._unsent):
                if not isinstance(entry, _Gap):
                    self.watcher.delivered(entry)
        self._sent.clear()
        self._unsent.clear()
        self._copies = 0
        freed, self.size = self.size, 0
        self._queue.shrink(freed)

    def close(self) -> None:
        """End it for good, with the socket that reads it."""
        self.clear()
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
        if self.watcher is not None:
            self.watcher.close()
        reader, self.reader = self.reader, None
        if reader is not None:
            reader.is_over = True
            reader.wake()

    def _not_arrived(self) -> list[EventEnvelope]:
        """Return the queued events that are not known to have arrived."""
        queued = [entry for entry, _ in (*self._sent, *self._unsent) if not isinstance(entry, _Gap)]
        if self.watcher is None:
            return queued
        outstanding = self.watcher.outstanding()
        return [envelope for envelope in queued if envelope.event_id in outstanding]

    @property
    def waiting(self) -> int:
        """How many events wait, or are not known to have arrived."""
        return len(self._unsent) + len(self._sent)

    def wants(self, kind: str) -> bool:
        """Return whether events of a kind come into it."""
        return self.kinds is None or kind in self.kinds

    def has(self, envelope: EventEnvelope) -> bool:
        """Return whether it feeds handlers that have not begun with an event."""
        return self.watcher is not None and envelope.event_id in self.watcher.outstanding()

    def _lose(self, envelope: EventEnvelope, why: str, *, is_new: bool = False) -> None:
        if self.reader is None:
            self.lost_since += 1
        if self.watcher is None or not self._queue.is_left_to_another(self, envelope, is_new=is_new):
            self._queue.on_lost(envelope.event_id, why, 1)

    def _mark_gap(self) -> None:
        """Let the client know, in its place, that events are missing."""
        last = self._unsent[-1][0] if self._unsent else None
        if not isinstance(last, _Gap):
            last = _Gap()
            self._unsent.append((last, 0))
        last.lost += 1
