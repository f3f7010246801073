"""`FedStream`: a stream of a worker process whose events a broker keeps until they are handled.

A `FedQueue` has them, and their `Feed` fills them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from functools import partial
from itertools import islice
from typing import Literal, Protocol

from msgspec.structs import replace

from dnworker.core.envelope import EventEnvelope
from dnworker.events.streams import Queue, StreamReader, Watcher, WorkerStream, _Entry, _Gap

Acknowledges = Literal["when handled", "explicitly", "when sent"]
"""When an event counts as handled: when the process reports it, when its client says so, when it arrived."""


class Source(Queue, Protocol):
    """What fills such streams: a `Feed`."""

    def settle(self, event_id: str, stream: FedStream) -> None:
        """Note that a stream is done with an event."""

    def release(self, event_id: str, delay: float) -> None:
        """Give an event back to the broker."""

    def number(self, event_id: str) -> int:
        """Return how often the worker was given an event."""

    def handled_by(self, event_id: str) -> Collection[str]:
        """Return the handlers of the worker that have ended well with an event."""

    def leave(self, stream: FedStream) -> None:
        """Note that nobody came back for a stream."""

    def look_again(self) -> None:
        """See whether there is room for more."""


class FedStream(WorkerStream):
    """Events of certain kinds for one process; what it has not had stays in the broker.

    Its `seq` rises, also where an event comes that is older than those before: by it the client knows what it
    has had. The id of an event that comes again stays.

    Args:
        is_explicit: whether the client says of each event that it is handled.
    """

    def __init__(
        self,
        source: Source,
        kinds: frozenset[str] | None,
        name: str | None,
        watcher: Watcher | None,
        *,
        is_explicit: bool = False,
    ) -> None:
        super().__init__(source, kinds, name, watcher)
        self.is_explicit = is_explicit
        self.was_closed = False
        """Whether its client has closed it and wants nothing more, unless it opens it again."""
        self._source = source
        self._newest = 0
        self._arrived: dict[int, _Entry] = {}  # and not acknowledged by a client that says so itself

    @property
    def acknowledges(self) -> Acknowledges:
        """When one of its events counts as handled."""
        if self.is_explicit:
            return "explicitly"
        return "when sent" if self.watcher is None or self.watcher.is_closed else "when handled"

    def put(self, envelope: EventEnvelope, size: int = 0) -> bool:
        """Queue one event, whose size the feed has counted."""
        self._newest = max(self._newest + 1, envelope.seq)
        self.queue(envelope if envelope.seq == self._newest else replace(envelope, seq=self._newest), size)
        if self.reader is not None:
            self.reader.wake()
        return True

    def replaces(self, before: FedStream) -> bool:
        """Return whether it wants all that another wants, and knows as much of what becomes of it."""
        knows = before.watcher is None or self.watcher is not None
        return knows and (self.kinds is None or (before.kinds is not None and before.kinds <= self.kinds))

    def number(self, envelope: EventEnvelope) -> int:
        """Return how often the worker was given an event by now."""
        return self._source.number(envelope.event_id)

    def handled_by(self, envelope: EventEnvelope) -> Collection[str]:
        """Return the handlers of the worker that have ended well with an event."""
        return self._source.handled_by(envelope.event_id)

    # -- what arrives ----------------------------------------------------------------------------------

    def acknowledge(self, seq: int) -> None:
        """Note that what was sent up to `seq` has arrived."""
        arrived: list[str] = []
        freed = 0
        while self._sent and (isinstance(first := self._sent[0][0], _Gap) or first.seq <= seq):
            entry = self._sent.popleft()
            if isinstance(first, _Gap):
                continue
            if self.is_explicit:
                self._arrived[first.seq] = entry
            else:
                freed += entry[1]
                arrived.append(first.event_id)
        self._free(freed)
        if self.acknowledges == "when sent":
            for event_id in arrived:
                self._source.settle(event_id, self)
        self._source.look_again()

    def ack(self, seq: int) -> None:
        """Note that the client has handled the event that has this number on the stream."""
        if (event_id := self._take_out(seq)) is not None:
            self._source.settle(event_id, self)

    def nak(self, seq: int, delay: float) -> None:
        """Give the event back that has this number: it comes again after `delay` seconds."""
        if (event_id := self._take_out(seq)) is not None:
            self._source.release(event_id, delay)

    def take_back(self, envelope: EventEnvelope) -> None:
        """Forget an event that comes again, whether it was sent or not."""
        has_it = partial(_is_of, event_id=envelope.event_id)
        seq = next((seq for seq, (one, _) in self._arrived.items() if has_it(one)), None)
        entry = self._search(has_it, len(self._unsent)) if seq is None else self._arrived.pop(seq)
        if entry is not None:
            self._free(entry[1])
        if self.watcher is not None:
            self.watcher.delivered(envelope)

    def _take_out(self, seq: int) -> str | None:
        """Forget an event that the client has; returns its id, None where it has no such event."""
        entry = self._arrived.pop(seq, None) or self._search(partial(_is_at, seq=seq), self._copies)
        if entry is None or isinstance(entry[0], _Gap):
            return None
        self._free(entry[1])
        return entry[0].event_id

    def _search(self, is_it: Callable[[EventEnvelope | _Gap], bool], most: int) -> _Entry | None:
        """Take out what was sent, or is among the first so many that were not."""
        for queued, count in ((self._sent, len(self._sent)), (self._unsent, most)):
            found = next((n for n, (one, _) in enumerate(islice(queued, count)) if is_it(one)), None)
            if found is not None:
                entry = queued[found]
                del queued[found]
                self._copies -= queued is self._unsent and found < self._copies
                return entry
        return None

    def _free(self, size: int) -> None:
        self.size -= size
        self._queue.shrink(size)

    # -- who reads it ----------------------------------------------------------------------------------

    def attach(self, after_seq: int | None) -> StreamReader:
        """Let a new socket read it; of a client that says nothing, what was not acknowledged comes again."""
        self.was_closed = False
        if after_seq is None:
            self._send_again()
        else:  # what was sent before it was given up: the client says what of it has arrived
            self._sent.extend(self._unsent.popleft() for _ in range(self._copies))
            self._copies = 0
        return super().attach(after_seq)

    def _send_again(self) -> None:
        self._sent.extendleft(reversed(self._arrived.values()))
        self._arrived.clear()

    def detach(self, *, clean: bool) -> None:
        """Note that nobody reads it any more: its client may come back, or the process may end."""
        self.reader = None
        self.was_closed = clean
        self._giving_up = self._queue.timers.call_later(self._queue.seconds, self.give_up)
        self._queue.limit_awaited()

    def give_up(self) -> None:
        """Leave what is queued to other streams that want it; it is kept where there is none."""
        self._stop_waiting()
        self.is_given_up = True
        self._source.leave(self)

    def _stop_waiting(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    def drain(self, kinds: frozenset[str] | None) -> list[tuple[EventEnvelope, int]]:
        """Take out what is queued of these kinds, for another stream; what may have arrived is marked."""
        self._send_again()
        copies = len(self._sent) + self._copies
        taken: list[tuple[EventEnvelope, int]] = []
        left: list[tuple[_Entry, bool]] = []
        for n, entry in enumerate((*self._sent, *self._unsent)):
            envelope, size = entry
            if isinstance(envelope, _Gap) or not (kinds is None or envelope.kind in kinds):
                left.append((entry, n < copies))
            else:
                taken.append((replace(envelope, replay=True) if n < copies else envelope, size))
        self._sent.clear()
        self._unsent = deque(entry for entry, _ in left)
        self._copies = sum(is_copy for _, is_copy in left)
        self._free(sum(size for _, size in taken))
        return taken

    def queued_ids(self) -> set[str]:
        """Return the ids of the events that are not known to have arrived."""
        return {one.event_id for one, _ in (*self._sent, *self._unsent) if not isinstance(one, _Gap)}

    def clear(self) -> None:
        """Forget everything that is queued."""
        self._send_again()
        super().clear()


def _is_of(one: EventEnvelope | _Gap, event_id: str) -> bool:
    return not isinstance(one, _Gap) and one.event_id == event_id


def _is_at(one: EventEnvelope | _Gap, seq: int) -> bool:
    return not isinstance(one, _Gap) and one.seq == seq
