"""`WorkerQueue`: the events of one run of a worker process, kept until they are known to have arrived.

Managed workers that are processes have one; the event streams of the server read it. It belongs to the run,
not to a socket: what a socket that broke did not bring is sent again over the next one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from dnworker.core.envelope import EVENTS_CUT, RESUMED, EventEnvelope
from dnworker.core.limits import Limits
from dnworker.events.backlog import Backlog, Timers
from dnworker.events.bus import DeliveryWatcher, EventBus

RESERVE = 1.25
"""How far a queue may be overfilled by what cannot be slowed down, such as the runtime's own events."""

AWAITED = 64
"""Streams of one process that broke and are waited for; beyond, the one that broke first is given up."""


class Watcher(DeliveryWatcher, Protocol):
    """Knows which events the handlers of a process have not begun yet."""

    def outstanding(self) -> Mapping[str, EventEnvelope]:
        """Return the events, by id, that were queued and whose handlers have not begun yet."""

    def close(self) -> None:
        """Wait for nothing more."""


OnLost = Callable[[str | None, str, int], None]
"""Is told that events are lost: the id of one, or None for several that are not known; why; how many."""


class _Gap:
    """Stands in a queue where events are missing."""

    def __init__(self) -> None:
        self.lost = 0

    @property
    def envelope(self) -> EventEnvelope:
        return EventEnvelope(seq=0, kind=EVENTS_CUT, payload={"lost": self.lost})


_Entry = tuple[EventEnvelope | _Gap, int]


@dataclass(frozen=True, slots=True)
class Resumed:
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
        """Called when it is over, and the socket is not gone: another socket, or the end of the process."""
        self.is_alive: Callable[[], Awaitable[bool]] | None = None
        """Asks the socket's client whether it is there; None if it cannot be asked."""
        self._stream = stream
        self._waiter: asyncio.Future[None] | None = None

    @property
    def stream(self) -> WorkerStream:
        """What it reads."""
        return self._stream

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
        self, queue: WorkerQueue, kinds: frozenset[str] | None, name: str | None, watcher: Watcher | None
    ) -> None:
        # What it wants, and for whom.
        self.kinds = kinds
        self.session_id: str | None = None
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
        self._is_given_up = False
        self._lost_since = 0

    def put(self, envelope: EventEnvelope, size: int = 0) -> bool:
        """Queue one event; False if it is lost. Called by the bus."""
        if self._is_given_up:
            self._lose(envelope, self._queue.why_given_up)
            return False
        if not self._queue.grow(self, size):
            self._lose(envelope, self._queue.why_full)
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

    def attach(self, after_seq: int | None, *, is_new: bool) -> StreamReader:
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
        self._copies = max(self._copies, len(self._sent)) if after_seq is None else 0
        self._sent.clear()
        lost, self._lost_since, self._is_given_up = self._lost_since, 0, False
        resumed = None if is_new else Resumed(after_seq, resent, lost)
        self.reader = StreamReader(self, resumed)
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
        self._is_given_up = True
        for envelope in self._not_arrived():
            self._lose(envelope, self._queue.why_given_up)
        self.clear()

    def lose_all(self, why: str) -> None:
        """Lose what has not arrived or, where the process reports, is not handled: the process has ended."""
        lost = self._not_arrived() if self.watcher is None else [*self.watcher.outstanding().values()]
        for envelope in lost:
            self._lose(envelope, why)
        self.clear()

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
            reader.end()

    def _not_arrived(self) -> list[EventEnvelope]:
        """Return the queued events that are not known to have arrived."""
        queued = [entry for entry, _ in (*self._sent, *self._unsent) if not isinstance(entry, _Gap)]
        if self.watcher is None:
            return queued
        outstanding = self.watcher.outstanding()
        return [envelope for envelope in queued if envelope.event_id in outstanding]

    def _lose(self, envelope: EventEnvelope, why: str) -> None:
        if self.reader is None:
            self._lost_since += 1
        self._queue.on_lost(envelope.event_id, why, 1)

    def _mark_gap(self) -> None:
        """Let the client know, in its place, that events are missing."""
        last = self._unsent[-1][0] if self._unsent else None
        if not isinstance(last, _Gap):
            last = _Gap()
            self._unsent.append((last, 0))
        last.lost += 1


class WorkerQueue:
    """All events that wait for one run of a worker process.

    It begins at the spawn, with a `Backlog`; the streams that the process opens take from it what they want.
    While it is over its bytes, publishers wait (`EventBus.pressure`): as long as the process takes something,
    and for `publish_seconds` when it takes nothing. After that, and then only, events are lost.

    Args:
        bus: where events come from.
        owner: the worker.
        limits: its bounds.
        on_lost: is told of every event that is lost.
        timers: what times are counted by; by default the loop that runs.
    """

    def __init__(
        self, bus: EventBus, owner: str, limits: Limits, on_lost: OnLost, *, timers: Timers | None = None
    ) -> None:
        self.owner = owner
        self.on_lost = on_lost
        self.timers: Timers = timers or asyncio.get_running_loop()
        self.seconds = limits.held_seconds
        self.why_given_up = f"its event stream broke and did not come back within {self.seconds:g} s"
        self.why_full = f"its queue was full ({limits.queue / 1_000_000:g} MB)"
        self._why_cut = (
            f"it had not subscribed yet, and more than {limits.held / 1_000_000:g} MB or "
            f"{self.seconds:g} s of events were waiting"
        )
        self._bus = bus
        self._backlog = Backlog(bus, limits.held, self.seconds, owner=owner, timers=self.timers)
        self._streams: dict[WorkerStream, None] = {}
        # How full it is, and whether publishers wait.
        self._size = 0
        self._max = limits.queue
        self._patience = limits.publish_seconds
        self._losing_patience: asyncio.TimerHandle | None = None
        self._is_stuck = False

    @property
    def size(self) -> int:
        """Bytes of events that wait, or are not known to have arrived."""
        return self._size

    async def forget_dead(self, kinds: Collection[str] | None) -> None:
        """Look whether a socket of these kinds is broken without our knowing, and let go of it.

        For a client that names no stream: it may be the one that had that socket, and it wants the rest.
        """
        wanted = None if kinds is None else frozenset(kinds)
        for stream in [*self._streams]:
            reader = stream.reader
            if stream.name is not None or stream.kinds != wanted or reader is None or reader.is_alive is None:
                continue
            if not await reader.is_alive() and stream.reader is reader:
                reader.leave(clean=False)
                reader.end()

    def open(
        self,
        kinds: Collection[str] | None,
        name: str | None = None,
        after_seq: int | None = None,
        watcher: Callable[[], Watcher | None] = lambda: None,
    ) -> StreamReader:
        """Return a reader of a stream: of the one that the client names or had before, or of a new one.

        Args:
            kinds: the kinds that it wants; None for all.
            name: what the client calls this stream; a client that names none gets a stream of its kinds back
                which nobody reads.
            after_seq: the last event that the client has had of it.
            watcher: makes the watcher of a new stream.
        """
        wanted = None if kinds is None else frozenset(kinds)
        found = self._find(wanted, name)
        if found is not None:
            return found.attach(after_seq, is_new=False)
        stream = WorkerStream(self, wanted, name, watcher())
        held, cut = self._backlog.take(wanted)
        if cut.events:
            for event_id in cut.event_ids:
                self.on_lost(event_id, self._why_cut, 1)
            if cut.events > len(cut.event_ids):
                self.on_lost(None, self._why_cut, cut.events - len(cut.event_ids))
            stream.open_gap(cut.events)
        for one in held:
            stream.queue(one.envelope, one.size)
        self._streams[stream] = None
        self._bus.remember(stream)
        self._add(stream.size)
        return stream.attach(None, is_new=True)

    def close(self, why: str | None = None) -> None:
        """The process is gone; `why`, if nobody asked it to end: what it had not taken is lost then."""
        self._backlog.close()
        for stream in [*self._streams]:
            if why is not None:
                stream.lose_all(why)
            self.drop(stream)
        self._end_pressure()

    def drop(self, stream: WorkerStream) -> None:
        """Forget a stream that is wanted no more."""
        self._bus.forget(stream)
        self._streams.pop(stream, None)
        stream.close()

    def limit_awaited(self) -> None:
        """Give up the streams that broke first, where too many are waited for."""
        gone = [stream for stream in self._streams if stream.reader is None]
        for stream in gone[: max(0, len(gone) - AWAITED)]:
            stream.give_up()
            self.drop(stream)

    def _find(self, kinds: frozenset[str] | None, name: str | None) -> WorkerStream | None:
        for stream in self._streams:
            if name is not None:
                if stream.name == name and stream.kinds == kinds:
                    return stream
            elif stream.name is None and stream.reader is None and stream.kinds == kinds:
                return stream
        return None

    # -- how full it is --------------------------------------------------------------------------------

    def blocks(self, kind: str, session_id: str | None, only: str | None) -> bool:
        """Return whether a publisher of such an event has to wait for this process."""
        if only is not None and only != self.owner:
            return False
        return any(self._takes_its_share(s) for s in self._streams if s.kinds is None or kind in s.kinds)

    def grow(self, stream: WorkerStream, size: int) -> bool:
        """Take so many bytes more for a stream; False if there is no room even for what cannot wait."""
        if self._size >= self._max * RESERVE and self._takes_its_share(stream):
            return False
        self._add(size)
        return True

    def shrink(self, size: int) -> None:
        """Give back so many bytes: the process has taken them, or they are lost."""
        self._size -= size
        if self._size < self._max:
            self._is_stuck = False
            self._end_pressure()
        elif size:  # it is full still, but moves
            self._is_stuck = False
            self._begin_pressure(anew=True)

    def _takes_its_share(self, stream: WorkerStream) -> bool:
        """Return whether it is this stream that fills the queue, and not another one that nobody reads."""
        return stream.size * max(1, len(self._streams)) >= self._max

    def _add(self, size: int) -> None:
        self._size += size
        if self._size >= self._max and not self._is_stuck and self._losing_patience is None:
            self._begin_pressure()

    def _begin_pressure(self, *, anew: bool = False) -> None:
        if self._losing_patience is not None and anew:
            self._losing_patience.cancel()
        self._losing_patience = self.timers.call_later(self._patience, self._give_way)
        self._bus.pressure.begin(self)

    def _give_way(self) -> None:
        """Let publishers go on: the process has taken nothing for too long."""
        self._losing_patience = None
        self._is_stuck = True
        self._bus.pressure.end(self)

    def _end_pressure(self) -> None:
        if self._losing_patience is not None:
            self._losing_patience.cancel()
            self._losing_patience = None
        self._bus.pressure.end(self)
