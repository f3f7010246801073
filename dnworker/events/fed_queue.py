"""`FedQueue`: the events of one run of a worker process, over a broker that keeps what is not handled.

It stands in for a `WorkerQueue` where the broker redelivers: nothing is lost when the process ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator

from dnworker.core.envelope import EventEnvelope
from dnworker.core.limits import Limits
from dnworker.events.backlog import Timers
from dnworker.events.brokers.base import BacklogWatcher
from dnworker.events.bus import EventBus
from dnworker.events.fed_stream import Acknowledges, FedStream
from dnworker.events.feed import Feed, Spawn
from dnworker.events.streams import OnLost, StreamReader, Watcher, WorkerStream
from dnworker.events.worker_queue import WorkerQueue


class FedQueue(WorkerQueue):
    """The streams of one run of a worker process, of which those that the worker lives by lose nothing.

    These take from the broker only what there is room for, so that no publisher waits for them. A stream that
    a handler opens beside them, such as to wait for an answer, ends with it: the bus fills it.

    Args:
        bus: where the events of such streams come from; its broker has the others.
        owner: the worker.
        limits: its bounds.
        on_lost: is told of every event that is lost.
        spawn: starts the task that waits for events.
        heard: returns the kinds of the process's handlers, as far as it has said.
        watcher: returns what is notified of events that wait for handlers, where the process reports.
        timers: what times are counted by; by default the loop that runs.
    """

    def __init__(
        self,
        bus: EventBus,
        owner: str,
        limits: Limits,
        on_lost: OnLost,
        *,
        spawn: Spawn,
        heard: Callable[[], Collection[str]] = tuple,
        watcher: Callable[[], BacklogWatcher | None] = lambda: None,
        timers: Timers | None = None,
    ) -> None:
        super().__init__(bus, owner, limits, self._lose, timers=timers)
        self._tell_lost = on_lost
        self._feed = Feed(
            bus.broker,
            owner,
            limits,
            self.drop,
            spawn=spawn,
            heard=heard,
            watcher=watcher,
            timers=self.timers,
            on_lost=on_lost,
        )

    @property
    def feed(self) -> Feed:
        """What brings the events that the broker keeps."""
        return self._feed

    @property
    def size(self) -> int:
        """Bytes of events that wait, or are not known to have arrived."""
        return self._size + self._feed.size

    @property
    def waiting(self) -> int:
        """How many events are in memory for the process, and have not arrived."""
        return super().waiting + self._feed.waiting

    def owed_kinds(self) -> Counter[str]:
        """Return how many events of each kind the process has not handled."""
        others = (stream for stream in self._streams if not isinstance(stream, FedStream))
        return self._feed.owed_kinds() + Counter(one.kind for each in others for one in each.not_handled())

    @property
    def acknowledges(self) -> Acknowledges | None:
        """When events of the worker count as handled; None while it has no stream for them."""
        said = {stream.acknowledges for stream in self._fed()}
        every: tuple[Acknowledges, ...] = ("explicitly", "when handled", "when sent")
        return next((one for one in every if one in said), None)

    def open_kept(
        self,
        kinds: Collection[str] | None,
        name: str | None = None,
        after_seq: int | None = None,
        watcher: Callable[[], Watcher | None] = lambda: None,
        *,
        is_explicit: bool = False,
    ) -> StreamReader:
        """Return a reader of a stream that loses nothing, as `open` does of one that the bus fills."""
        wanted = None if kinds is None else frozenset(kinds)
        found = self._find(wanted, name)
        if found is not None:
            if isinstance(found, FedStream):
                found.is_explicit = is_explicit
            return found.attach(after_seq)
        stream = FedStream(self._feed, wanted, name, watcher(), is_explicit=is_explicit)
        reader = stream.attach_new(None)
        self._streams[stream] = None
        self._backlog.take(wanted)  # the broker has them
        before = [
            one
            for one in self._fed()
            if one.reader is None and one.watcher is not None and stream.replaces(one)
        ]
        for one in before:
            self._feed.replace(one, stream)
        self._feed.add(stream)
        for one in before:  # now that the new one asks for their kinds
            self.drop(one)
        return reader

    def drop(self, stream: WorkerStream) -> None:
        """Forget a stream that is wanted no more."""
        if isinstance(stream, FedStream):
            self._streams.pop(stream, None)
            self._feed.forget(stream)
            stream.close()
        else:
            super().drop(stream)

    def close(self, why: str | None = None, left: Iterable[str] = (), left_unknown: int = 0) -> None:
        """The process is gone: what it has not handled stays in the broker, and is not lost.

        Args:
            why: the reason that is noted of what was lost of other streams.
            left, left_unknown: what it had not begun to handle; it comes again.
        """
        fed = [*self._fed()]
        for stream in fed:
            del self._streams[stream]
        super().close(why)
        self._feed.close()
        for stream in fed:
            stream.close()

    def _broken(self) -> Iterator[WorkerStream]:
        return (stream for stream in super()._broken() if not isinstance(stream, FedStream))

    def _fed(self) -> Iterator[FedStream]:
        return (stream for stream in self._streams if isinstance(stream, FedStream))

    def _lose(self, event_id: str | None, why: str, count: int) -> None:
        """Note that an event is lost, unless the worker's handlers get it nonetheless."""
        if event_id is None or event_id not in self._feed:
            self._tell_lost(event_id, why, count)

    def _wanting(self, kind: str, only: str | None) -> Iterator[WorkerStream]:
        return (stream for stream in super()._wanting(kind, only) if not isinstance(stream, FedStream))

    def _is_taken(self, kind: str) -> bool:
        return any(stream.wants(kind) for stream in self._streams if not isinstance(stream, FedStream))

    def is_left_to_another(self, stream: WorkerStream, envelope: EventEnvelope, *, is_new: bool) -> bool:
        """Return False: no handlers are fed by a stream that the bus fills."""
        return False


def queue_of(
    bus: EventBus,
    owner: str,
    limits: Limits,
    on_lost: OnLost,
    *,
    spawn: Spawn,
    heard: Callable[[], Collection[str]],
    watcher: Callable[[], BacklogWatcher | None],
) -> WorkerQueue:
    """Return the queue of one run of a worker process, as the broker of the bus has it."""
    if bus.broker.capabilities.redelivers:
        return FedQueue(bus, owner, limits, on_lost, spawn=spawn, heard=heard, watcher=watcher)
    return WorkerQueue(bus, owner, limits, on_lost, heard=heard)
