"""`WorkerQueue`: the events of one run of a worker process, kept until they are known to have arrived.

Managed workers that are processes have one; the event streams of the server read it. It belongs to the run,
not to a socket: what a socket that broke did not bring is sent again over the next one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from dnworker.core.envelope import EventEnvelope
from dnworker.core.limits import Limits
from dnworker.core.members import family_of
from dnworker.events.abandoned import Abandoned
from dnworker.events.backlog import Backlog, Timers
from dnworker.events.bus import EventBus
from dnworker.events.fed_stream import Acknowledges
from dnworker.events.streams import OnLost, Resumed, StreamReader, Watcher, WorkerStream

if TYPE_CHECKING:
    from dnworker.events.feed import Feed

RESERVE = 1.25
"""How far a queue may be overfilled by what cannot be slowed down, such as the runtime's own events."""

AWAITED = 64
"""Streams of one process that broke and are waited for; beyond, the one that broke first is given up."""


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
        heard: returns the kinds of the process's handlers, as far as it has said.
        timers: what times are counted by; by default the loop that runs.
    """

    def __init__(
        self,
        bus: EventBus,
        owner: str,
        limits: Limits,
        on_lost: OnLost,
        *,
        heard: Callable[[], Collection[str]] = tuple,
        timers: Timers | None = None,
    ) -> None:
        self.owner = owner
        self.on_lost = on_lost
        self.timers: Timers = timers or asyncio.get_running_loop()
        self.seconds = limits.held_seconds
        self.why_given_up = f"its event stream broke and did not come back within {self.seconds:g} s"
        self.why_abandoned = f"its event stream broke, and more than {AWAITED} are waited for"
        self.why_full = f"its queue was full ({limits.queue / 1_000_000:g} MB)"
        self._why_cut = (
            f"it had not subscribed yet, and more than {limits.held / 1_000_000:g} MB or "
            f"{self.seconds:g} s of events were waiting"
        )
        self._bus = bus
        self._heard = heard
        self._backlog = Backlog(bus, limits.held, self.seconds, owner=owner, timers=self.timers, heard=heard)
        self._streams: dict[WorkerStream, None] = {}
        self._abandoned = Abandoned(bus, owner, self._is_taken, self._lose_abandoned)
        # How full it is, and whether publishers wait.
        self._size = 0
        self._max = limits.queue
        self._patience = limits.publish_seconds
        self._losing_patience: asyncio.TimerHandle | None = None
        self._is_stuck = False
        bus.queues.add(self)

    @property
    def feed(self) -> Feed | None:
        """What brings the events that a broker keeps; None where it keeps none."""
        return None

    @property
    def acknowledges(self) -> Acknowledges | None:
        """When events of the worker count as handled; None where nothing keeps them until then."""
        return None

    @property
    def held(self) -> int:
        """Bytes of events that are held for further streams."""
        return self._backlog.size

    @property
    def size(self) -> int:
        """Bytes of events that wait, or are not known to have arrived."""
        return self._size

    @property
    def waiting(self) -> int:
        """How many events wait for streams that are open, and before there is any for the first."""
        if not self._streams:
            return len(self._backlog)
        return sum(stream.waiting for stream in self._streams)

    def owed_kinds(self) -> Counter[str]:
        """Return how many events of each kind the process has not got; where it reports, not begun with."""
        return Counter(one.kind for stream in self._streams for one in stream.not_handled())

    def held_kinds(self) -> Counter[str]:
        """Return how many events of each kind are held until the process says what it wants."""
        return self._backlog.held_kinds()

    @property
    def kinds(self) -> frozenset[str] | None:
        """The kinds that its streams are for, None for all; before there is any, those of its handlers."""
        if not self._streams:
            return frozenset(self._heard())
        asked = [stream.kinds for stream in self._streams]
        return None if None in asked else frozenset().union(*filter(None, asked))

    def hears(self, kind: str) -> bool:
        """Return whether a stream of the process is for events of this kind."""
        return any(stream.kinds is None or kind in stream.kinds for stream in self._streams)

    async def forget_dead(self, kinds: Collection[str] | None) -> None:
        """Look whether a socket of these kinds is broken without our knowing, and let go of it.

        For a client that names no stream: it may be the one that had that socket, and it wants the rest.
        """
        wanted = None if kinds is None else frozenset(kinds)
        alive: set[StreamReader] = set()
        while True:  # others may come while one is asked
            unnamed = (s.reader for s in self._streams if s.name is None and s.kinds == wanted)
            reader = next((one for one in unnamed if one is not None and one not in alive), None)
            if reader is None:
                return
            alive.add(reader)
            if reader.is_alive is not None and not await reader.is_alive() and reader.is_reading:
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
            return found.attach(after_seq)
        lost = self._abandoned.take_back(name, wanted)
        stream = WorkerStream(self, wanted, name, watcher())
        before = self._replaced_by(stream)
        self._fill(stream, before)
        self._streams[stream] = None
        self._bus.remember(stream)
        self._add(stream.size)
        for one in before:  # now that the new one has what they had
            self.drop(one)
        return stream.attach_new(None if lost is None else Resumed(after_seq, 0, lost))

    def open_kept(
        self,
        kinds: Collection[str] | None,
        name: str | None = None,
        after_seq: int | None = None,
        watcher: Callable[[], Watcher | None] = lambda: None,
        *,
        is_explicit: bool = False,
    ) -> StreamReader:
        """Return a reader of a stream that loses nothing where the broker redelivers, as `open` otherwise.

        Args:
            kinds, name, after_seq, watcher: as of `open`.
            is_explicit: whether the client says of each event that it is handled.
        """
        return self.open(kinds, name, after_seq, watcher)

    def _replaced_by(self, new: WorkerStream) -> list[WorkerStream]:
        """Return the broken streams whose handlers a new one feeds: the process listens anew."""
        return [
            stream
            for stream in (self._streams if new.watcher is not None else ())
            if stream.watcher is not None
            and stream.reader is None
            and (new.kinds is None or (stream.kinds is not None and stream.kinds <= new.kinds))
        ]

    def _fill(self, stream: WorkerStream, before: Iterable[WorkerStream]) -> None:
        """Let a new stream begin with what those before it have left, and with what was held for it."""
        held, cut = self._backlog.take(stream.kinds)
        if cut.events:
            self._bus.queues.held_dropped += cut.events
            for event_id in cut.event_ids:
                self.on_lost(event_id, self._why_cut, 1)
            if cut.events > len(cut.event_ids):
                self.on_lost(None, self._why_cut, cut.events - len(cut.event_ids))
            stream.open_gap(cut.events)
        waiting = {envelope.event_id: (envelope, size) for one in before for envelope, size in one.rest()}
        waiting |= {one.envelope.event_id: (one.envelope, one.size) for one in held}
        for envelope, size in sorted(waiting.values(), key=lambda one: one[0].seq):
            stream.queue(envelope, size)

    def close(self, why: str | None = None, left: Iterable[str] = (), left_unknown: int = 0) -> None:
        """The process is gone; `why`, if nobody asked it to end: what it had not taken is lost then.

        So is what is held for those of its handlers that had not subscribed yet.

        Args:
            why: the reason that is noted of each lost event.
            left: events, by id, that it had not begun to handle when it closed a stream.
            left_unknown: how many more such events there are.
        """
        if why is not None:
            if heard := self._heard():
                self.open(heard)
            lost = dict.fromkeys(left)
            for stream in self._streams:
                lost |= dict.fromkeys(envelope.event_id for envelope in stream.not_handled())
            for event_id in lost:
                self.on_lost(event_id, why, 1)
            if left_unknown:
                self.on_lost(None, why, left_unknown)
        self._backlog.close()
        for stream in [*self._streams]:
            self.drop(stream)
        self._abandoned.close()
        self._end_pressure()
        self._bus.queues.remove(self)

    def drop(self, stream: WorkerStream) -> None:
        """Forget a stream that is wanted no more."""
        self._bus.forget(stream)
        self._streams.pop(stream, None)
        stream.close()

    def limit_awaited(self) -> None:
        """Give up the streams that broke first, where too many are waited for."""
        gone = [*self._broken()]
        for stream in gone[: max(0, len(gone) - AWAITED)]:
            stream.give_up()
            self.drop(stream)
            self._abandoned.add(stream.name, stream.kinds, stream.lost_since)

    def _broken(self) -> Iterator[WorkerStream]:
        return (stream for stream in self._streams if stream.reader is None)

    def is_left_to_another(self, stream: WorkerStream, envelope: EventEnvelope, *, is_new: bool) -> bool:
        """Return whether the handlers that a stream feeds get an event over another one, or lose it there.

        What `is_new`, that is, published now, the last one that the bus comes to takes or loses.
        """
        fed = [other for other in self._streams if other.watcher is not None]
        if any(other is not stream and other.has(envelope) for other in fed):
            return True
        wanting = [other for other in fed if other.wants(envelope.kind)]
        wanting.sort(key=lambda other: other.kinds is None)  # the bus comes to these at the end
        return is_new and bool(wanting) and wanting[-1] is not stream

    def _is_taken(self, kind: str) -> bool:
        """Return whether a stream gets events of a kind, or counts them as lost."""
        return any(stream.wants(kind) for stream in self._streams)

    def _lose_abandoned(self, event_id: str) -> None:
        self.on_lost(event_id, self.why_abandoned, 1)

    def _find(self, kinds: frozenset[str] | None, name: str | None) -> WorkerStream | None:
        for stream in self._streams:
            if name is not None:
                if stream.name == name and stream.kinds == kinds:
                    return stream
            elif stream.name is None and stream.reader is None and stream.kinds == kinds:
                return stream
        return None

    # -- how full it is --------------------------------------------------------------------------------

    def wants(self, kind: str, session_id: str | None, only: str | None) -> bool:
        """Return whether such an event would come to this process."""
        return any(self._wanting(kind, only))

    def blocks(self, kind: str, session_id: str | None, only: str | None) -> bool:
        """Return whether a publisher of such an event has to wait for this process."""
        return any(self._takes_its_share(stream) for stream in self._wanting(kind, only))

    def _wanting(self, kind: str, only: str | None) -> Iterator[WorkerStream]:
        if only is None or only == family_of(self.owner):
            yield from (s for s in self._streams if s.wants(kind))

    def grow(self, stream: WorkerStream, size: int) -> bool:
        """Take so many bytes more for a stream; False if there is no room even for what cannot wait."""
        if self._size >= self._max * RESERVE and self._takes_its_share(stream):
            self._bus.queues.dropped += 1
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
