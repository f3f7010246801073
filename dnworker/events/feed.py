"""`Feed`: takes a worker process's events from a broker that redelivers, as far as there is room.

A `FedQueue` has one, and gives it the streams that the process opens.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any

from msgspec.structs import replace

from dnworker.core.envelope import EventEnvelope, size_of, without_payload
from dnworker.core.limits import Limits
from dnworker.events.backlog import Timers
from dnworker.events.brokers.base import NOW, BacklogWatcher, Broker, Consumer
from dnworker.events.fed_stream import FedStream
from dnworker.events.streams import OnLost, WorkerStream

log = logging.getLogger("dnworker.broker")

AHEAD = 1_000
"""Events that may wait for the sockets of a process; the others stay in the broker."""

IN_FLIGHT = 10_000
"""Events that a process may have and not have handled; it gets no more until it handles some of them."""

AWAITED = 64
"""Streams of one process that broke, were waited for, and are not forgotten."""

Spawn = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]
"""Starts a task of a name that workers cannot cancel."""


class _Given:
    """An event that was taken from the broker, and the streams that are not done with it."""

    __slots__ = ("envelope", "number", "size", "streams", "unclaimed", "was_shared")

    def __init__(self, envelope: EventEnvelope, number: int, size: int) -> None:
        self.envelope = envelope
        self.number = number
        self.size = size
        self.streams: dict[FedStream, None] = {}
        self.was_shared = False
        """Whether more than one stream got it."""
        self.unclaimed: tuple[EventEnvelope, int] | None = None
        """It and its size, while no stream wants it."""


class Feed:
    """The consumer of one run of a worker process, and what it was given and has not handled.

    It begins with the first stream. Kinds follow the streams that are open; those of the worker's handlers,
    or where it does not say them those of its last run, are kept for streams that it is still to open.

    Args:
        broker: has the events.
        owner: the worker.
        limits: its bounds.
        drop: forgets a stream that its client has closed.
        spawn: starts the task that waits for events.
        heard: returns the kinds of the process's handlers, as far as it has said.
        watcher: returns what is notified of events that wait; None where the process does not report.
        timers: what times are counted by.
        on_lost: is told of every event that is lost.
    """

    def __init__(
        self,
        broker: Broker,
        owner: str,
        limits: Limits,
        drop: Callable[[WorkerStream], None],
        *,
        spawn: Spawn,
        heard: Callable[[], Collection[str]],
        watcher: Callable[[], BacklogWatcher | None],
        timers: Timers,
        on_lost: OnLost,
    ) -> None:
        # What streams ask of it.
        self.owner = owner
        self.on_lost = on_lost
        self.timers = timers
        self.seconds = limits.held_seconds
        self.why_given_up = self.why_full = f"more than {AWAITED} of its streams broke and did not come back"
        self.drop = drop
        # Where events come from, and since when.
        self._broker = broker
        self._start = broker.expect(owner)
        self._spawn = spawn
        self._get_watcher = watcher
        self._watcher: BacklogWatcher | None = None
        self._consumer: Consumer | None = None
        self._pumping: asyncio.Task[None] | None = None
        # Which kinds it asks for.
        self._kinds: frozenset[str] | None = frozenset()
        self._heard = heard
        self._before: frozenset[str] = frozenset()
        self._settling: asyncio.TimerHandle | None = None
        # Where they go, and what is not handled.
        self._streams: dict[FedStream, None] = {}
        self._given: dict[str, _Given] = {}
        self._given_bytes = 0
        self._unclaimed = 0
        self._max = limits.queue
        self._is_held = False
        self._has_room: asyncio.Future[None] | None = None
        self.size = 0
        """Bytes that its streams have, or that wait for one."""

    def __contains__(self, event_id: str) -> bool:
        """Return whether the process was given an event and has not handled it."""
        return event_id in self._given

    @property
    def waiting(self) -> int:
        """How many events are in memory that no stream has."""
        return self._unclaimed + (0 if self._consumer is None else len(self._consumer))

    def owed_kinds(self) -> Counter[str]:
        """Return how many events of each kind the process has not handled, or wait for it in memory."""
        queued = [] if self._consumer is None else self._consumer.queued()
        return Counter(one.kind for one in (*(given.envelope for given in self._given.values()), *queued))

    def event(self, event_id: str) -> EventEnvelope | None:
        """Return an event that the process has not handled, without its payload."""
        given = self._given.get(event_id)
        return None if given is None else given.envelope

    def number(self, event_id: str) -> int:
        """Return how often the worker was given an event by now."""
        given = self._given.get(event_id)
        return 1 if given is None else given.number

    def handled_by(self, event_id: str) -> Collection[str]:
        """Return the handlers of the worker that have ended well with an event."""
        return () if self._consumer is None else self._consumer.handled_by(event_id)

    def hold(self) -> None:
        """Take nothing more: the process is about to end; what it reports of what it has is noted still."""
        self._is_held = True
        if self._pumping is not None:
            self._pumping.cancel()

    def close(self) -> None:
        """Take nothing more; what is not handled comes again to the worker's next run."""
        if self._pumping is not None:
            self._pumping.cancel()
        if self._settling is not None:
            self._settling.cancel()
        if self._consumer is not None:
            self._consumer.close()
        self._streams.clear()
        self._given.clear()
        self._unclaimed = self._given_bytes = 0
        self._pumping = self._settling = self._consumer = None

    # -- streams and kinds -----------------------------------------------------------------------------

    def add(self, stream: FedStream) -> None:
        """Fill a new stream: with what no other wants, and with what comes from now on."""
        is_first = self._consumer is None
        if is_first:
            self._before = frozenset(self._broker.listened(self.owner))
            self._settling = self.timers.call_later(self.seconds, self._settle_kinds)
        self._streams[stream] = None
        for other in [one for one in self._streams if one.is_given_up]:
            self._move(other, [stream])
        for given in self._given.values():
            if given.unclaimed is not None and stream.wants(given.envelope.kind):
                (envelope, size), given.unclaimed = given.unclaimed, None
                self._unclaimed -= 1
                given.streams[stream] = None
                stream.put(envelope, size)
        self._listen()
        self.pump()

    def forget(self, stream: FedStream) -> None:
        """Fill a stream no more: nobody wants it; what it had and no other has counts as handled."""
        if self._streams.pop(stream, 0) is None and self._consumer is not None:
            for event_id in [one for one, given in self._given.items() if stream in given.streams]:
                self.settle(event_id, stream)
            self._listen(lets_go=True)

    def replace(self, before: FedStream, stream: FedStream) -> None:
        """Give one stream what another has left, whose handlers it feeds."""
        self._move(before, [stream])
        for given in self._given.values():  # what has arrived: the process has it
            if given.streams.pop(before, 0) is None:
                given.streams[stream] = None

    def leave(self, stream: FedStream) -> None:
        """Leave what a stream has, which nobody came back for, to others."""
        if stream.was_closed and stream.watcher is None:
            left = sum([*given.streams] == [stream] for given in self._given.values())
            if stream.is_explicit and left:
                log.warning(
                    "%s closed a stream whose events it acknowledges, and did not open it again: "
                    "%d that it had not acknowledged count as handled",
                    self.owner,
                    left,
                )
            self.drop(stream)
            return
        others = [one for one in self._streams if not one.is_given_up]
        if (heir := next((one for one in others if one.replaces(stream)), None)) is not None:
            self.replace(stream, heir)
            self.drop(stream)
        else:
            self._move(stream, others)
            self._limit_given_up()

    def _limit_given_up(self) -> None:
        """Forget the streams that broke first, where there are too many; the process made them all."""
        gone = [one for one in self._streams if one.is_given_up]
        for stream in gone[: max(0, len(gone) - AWAITED)]:
            for event_id, given in self._given.items():
                if [*given.streams] == [stream]:
                    self.on_lost(event_id, self.why_given_up, 1)
            self.drop(stream)

    def limit_awaited(self) -> None:
        """Wait for all streams that broke just now; those that are given up are bounded."""

    def is_left_to_another(self, stream: WorkerStream, envelope: EventEnvelope, *, is_new: bool) -> bool:
        """Return True: nothing is lost."""
        return True

    def _move(self, before: FedStream, others: Collection[FedStream]) -> None:
        """Let others have what a stream has, unless they had it; what none of them wants stays there."""
        every = any(one.kinds is None for one in others)
        kinds = None if every else frozenset[str]().union(*(one.kinds or () for one in others))
        for envelope, size in before.drain(kinds):
            given = self._given.get(envelope.event_id)
            if given is not None and before in given.streams:
                takers = [] if given.was_shared else [one for one in others if one.wants(envelope.kind)]
                self._put(given, takers, envelope, size)
                self.settle(envelope.event_id, before)
            if before.watcher is not None:
                before.watcher.delivered(envelope)

    def _settle_kinds(self) -> None:
        """Ask no longer for kinds of an earlier run that no stream of this one is for."""
        self._settling, self._before = None, frozenset()
        self._listen()

    def _listen(self, *, lets_go: bool = False) -> None:
        """Ask for the kinds that are wanted now.

        Args:
            lets_go: whether the others are those of a stream that its client has closed: it wants no more.
        """
        expected = frozenset(self._heard()) or self._before
        every = any(stream.kinds is None for stream in self._streams)
        kinds = None if every else expected.union(*(stream.kinds or () for stream in self._streams))
        if self._consumer is None:
            self._watcher = self._get_watcher()
            self._consumer = self._broker.subscribe(
                self.owner, kinds, start=self._start, watcher=self._watcher
            )
            self._pumping = self._spawn(self._pump(self._consumer), f"{self.owner} feed")
        elif kinds != self._kinds:
            self._consumer.retarget(kinds, NOW if self._settling is None else self._start, lets_go=lets_go)
        self._kinds = kinds
        for event_id, given in [*self._given.items()]:
            if given.streams or self._asks(given):
                continue
            if given.unclaimed is not None and not lets_go:
                self._forget_unclaimed(given)
                self.release(event_id, 0.0)  # no stream had it: it waits for a version that names its kind
            else:
                self._end(event_id)

    def _asks(self, given: _Given) -> bool:
        return self._kinds is None or given.envelope.kind in self._kinds

    # -- what comes ------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Take what is there, as far as there is room."""
        consumer = self._consumer
        while (
            consumer is not None
            and not self._is_held
            and self.has_room
            and (envelope := consumer.take()) is not None
        ):
            self._give(consumer, envelope)

    async def _pump(self, consumer: Consumer) -> None:
        try:
            while True:
                while not self.has_room:
                    self._has_room = asyncio.get_running_loop().create_future()
                    await self._has_room
                self._give(consumer, await anext(consumer))
                self.pump()
                await asyncio.sleep(0)
        except StopAsyncIteration:
            return  # it was closed

    @property
    def has_room(self) -> bool:
        """Whether there is room for one more event."""
        size = max(
            self.size, self._given_bytes
        )  # what has arrived is in the broker's memory until it is handled
        if size >= self._max or len(self._given) >= IN_FLIGHT:
            return False
        return sum(one.waiting for one in self._streams if one.reader is not None) < AHEAD

    def look_again(self) -> None:
        """Go on where there is room."""
        if self._has_room is not None and not self._has_room.done() and self.has_room:
            self._has_room.set_result(None)

    def _give(self, consumer: Consumer, envelope: EventEnvelope) -> None:
        number = consumer.number(envelope)
        known = self._given.get(envelope.event_id)
        if known is None:
            self._take_in(envelope, number)
        elif number > known.number:  # it was given back in the broker, as where a handler is to run again
            self._take_back(known)
            self._take_in(envelope, number)
        if self._watcher is not None:
            self._watcher.delivered(envelope)

    def _take_in(self, envelope: EventEnvelope, number: int) -> None:
        """Let the streams have an event that want it."""
        if number > 1 and not envelope.replay:
            envelope = replace(envelope, replay=True)
        size = size_of(envelope)
        given = self._given[envelope.event_id] = _Given(without_payload(envelope), number, size)
        self._given_bytes += size
        wanting = [stream for stream in self._streams if stream.wants(envelope.kind)]
        takers = [stream for stream in wanting if not stream.is_given_up] or wanting
        if takers:
            self._put(given, takers, envelope, size)
        elif self._asks(given):
            given.unclaimed = envelope, size
            self._unclaimed += 1
            self.size += size
        else:
            self._end(envelope.event_id)

    def _take_back(self, given: _Given) -> None:
        """Forget what streams, or none of them yet, have of an event."""
        self._forget_unclaimed(given)
        self._given_bytes -= given.size
        for stream in given.streams:
            stream.take_back(given.envelope)

    def _forget_unclaimed(self, given: _Given) -> None:
        if given.unclaimed is not None:
            self._unclaimed -= 1
            self.size -= given.unclaimed[1]
            given.unclaimed = None

    def _put(self, given: _Given, takers: Collection[FedStream], envelope: EventEnvelope, size: int) -> None:
        for stream in takers:
            given.streams[stream] = None
            self.size += size
            stream.put(envelope, size)
        given.was_shared = given.was_shared or len(takers) > 1

    # -- what becomes of it ----------------------------------------------------------------------------

    def settle(self, event_id: str, stream: FedStream) -> None:
        """Note that a stream is done with an event: once all are, no further handler begins with it."""
        given = self._given.get(event_id)
        if given is not None and given.streams.pop(stream, 0) is None and not given.streams:
            self._end(event_id)

    def delivered(self, event_id: str) -> None:
        """Note that the process says that the last of its handlers has begun with an event."""
        given = self._given.get(event_id)
        for stream in [] if given is None else [*given.streams]:
            if stream.acknowledges == "when handled":
                self.settle(event_id, stream)

    def forgive_arrived(self) -> None:
        """Wait for no report on what has arrived: some were lost, or there are none any more."""
        queued: Mapping[FedStream, set[str]] = {stream: stream.queued_ids() for stream in self._streams}
        for event_id, given in [*self._given.items()]:
            for stream in [*given.streams]:
                if not stream.is_explicit and event_id not in queued[stream]:
                    self.settle(event_id, stream)

    def release(self, event_id: str, delay: float) -> None:
        """Give an event back to the broker; it comes again after `delay` seconds."""
        if self._consumer is not None and (given := self._given.pop(event_id, None)) is not None:
            self._given_bytes -= given.size
            self._consumer.release(event_id, delay)
            self.look_again()

    def _end(self, event_id: str) -> None:
        given = self._given.pop(event_id)
        self._given_bytes -= given.size
        self._forget_unclaimed(given)
        if self._consumer is not None:
            self._consumer.handed_out(event_id)
        self.look_again()

    # -- bytes of streams ------------------------------------------------------------------------------

    def grow(self, stream: WorkerStream, size: int) -> bool:
        """Return True: what a stream is given has been counted."""
        return True

    def shrink(self, size: int) -> None:
        """Give back so many bytes of a stream."""
        self.size -= size
        self.look_again()
