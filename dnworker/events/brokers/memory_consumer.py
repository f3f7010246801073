"""`MemoryConsumer`: what a worker has not read yet, and what it has not handled, where that is counted."""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter, deque
from collections.abc import Collection, Iterable
from typing import Protocol

import msgspec
from msgspec.structs import replace

from dnworker.core.clock import Clock
from dnworker.core.envelope import EventEnvelope
from dnworker.core.listeners import Listeners
from dnworker.events.brokers.base import NOW, DeliveryWatcher, Outcome, Outlet
from dnworker.events.brokers.left_events import LeftEvents
from dnworker.events.brokers.subscription import Subscription


class Unhandled(msgspec.Struct):
    """An event that a worker has not handled, how often it was given it, and which handlers are done."""

    envelope: EventEnvelope
    deliveries: int = 0
    done: tuple[str, ...] = ()
    due: float = 0.0
    """When it may come again, in seconds of the monotonic clock."""


class _Taken(msgspec.Struct, eq=False):
    """An event that the worker has."""

    unhandled: Unhandled
    running: Counter[str] = msgspec.field(default_factory=Counter)
    was_handed_out: bool = False
    delay: float | None = None
    """After how many seconds it comes again, once no handler of it runs; None where it was not given back."""


class Keeper(Protocol):
    """Keeps what a consumer leaves to the worker's next one."""

    left: Listeners[[LeftEvents]]

    def keep(self, worker: str, left: Iterable[Unhandled]) -> None:
        """Keep events that the worker has not handled, where anybody wants that."""


class MemoryConsumer(Subscription):
    """What a worker has not read yet; what it has read is its own to handle, unless ends are counted.

    Where they are, it keeps what was taken until it is handled, and gives again what is given back.
    """

    def __init__(
        self,
        outlet: Outlet,
        keeper: Keeper,
        clock: Clock,
        worker: str,
        kinds: frozenset[str] | None,
        watcher: DeliveryWatcher | None,
        *,
        counts_ends: bool,
    ) -> None:
        super().__init__(outlet, kinds, None, None, watcher=watcher, owner=worker)
        self.counts_ends = counts_ends
        self._worker = worker
        self._keeper = keeper
        self._clock = clock
        self._taken: dict[str, _Taken] = {}
        self._known: dict[str, Unhandled] = {}
        """Of the events that are queued or come again some time, those that the worker was given before."""
        self._waiting: dict[str, asyncio.Task[None]] = {}

    def begin_with(self, left: Iterable[Unhandled]) -> None:
        """Give the worker what an earlier consumer has left, marked `replay`."""
        left = [*left]
        self._tell_left([one.envelope for one in left if not self._is_named(one.envelope)])
        for one in left:
            if self._is_named(one.envelope):
                again = Unhandled(replace(one.envelope, replay=True), one.deliveries, one.done, one.due)
                self._come_again(again, one.due - self._clock.monotonic())

    def retarget(
        self,
        kinds: Collection[str] | None,
        start: int = NOW,
        *,
        lets_go: bool = False,
        is_trial: bool = False,
    ) -> None:
        """Receive other kinds from now on; what is queued of those that stay, stays.

        That of the others is let go, and told.
        """
        super().retarget(kinds, start)
        unnamed = [one for one in self._queue if not self._is_named(one)]
        self._queue = deque(one for one in self._queue if self._is_named(one))
        if self.watcher is not None:
            for envelope in unnamed:
                self.watcher.delivered(envelope)
        for event_id, known in [*self._known.items()]:
            if not self._is_named(known.envelope):
                del self._known[event_id]
                if (waiting := self._waiting.pop(event_id, None)) is not None:
                    waiting.cancel()
                    unnamed.append(known.envelope)
        if not lets_go:
            self._tell_left(unnamed)

    def _is_named(self, envelope: EventEnvelope) -> bool:
        return self.kinds is None or envelope.kind in self.kinds

    def _tell_left(self, unnamed: Collection[EventEnvelope]) -> None:
        """Tell of events that are let go: of kinds that the worker names no more."""
        for kind in dict.fromkeys(one.kind for one in unnamed):
            gone = sorted((one.timestamp, one.event_id) for one in unnamed if one.kind == kind)
            (oldest, _), (newest, _) = gone[0], gone[-1]
            times, ids = (oldest.isoformat(), newest.isoformat()), tuple(event_id for _, event_id in gone)
            self._keeper.left.notify(
                LeftEvents(self._worker, kind, len(gone), *times, is_kept=False, ids=ids)
            )

    def _pop(self) -> EventEnvelope:
        envelope = self._queue.popleft()
        if self.counts_ends:
            known = self._known.pop(envelope.event_id, None) or Unhandled(envelope)
            known.deliveries += 1
            self._taken[envelope.event_id] = _Taken(known)
        return envelope

    # -- what becomes of them --------------------------------------------------------------------------

    def event(self, event_id: str) -> EventEnvelope | None:
        """Return an event that the worker has."""
        taken = self._taken.get(event_id)
        return None if taken is None else taken.unhandled.envelope

    def number(self, envelope: EventEnvelope) -> int:
        """Return how often the worker was given the event by now, this time included: 1 for the first."""
        taken = self._taken.get(envelope.event_id)
        return 1 if taken is None else taken.unhandled.deliveries

    def handled_by(self, event_id: str) -> Collection[str]:
        """Return the handlers that have ended well with the event at an earlier delivery."""
        taken = self._taken.get(event_id)
        return () if taken is None else taken.unhandled.done

    def note_begin(self, event_id: str, handler: str) -> None:
        """Note that a handler has begun with an event."""
        if (taken := self._taken.get(event_id)) is not None:
            taken.running[handler] += 1

    def note_end(self, event_id: str, outcome: Outcome) -> None:
        """Note that it has ended: an error is an end, too."""
        taken, handler = self._taken.get(event_id), outcome.handler
        if taken is None or not taken.running[handler]:
            return  # of an event that was given back meanwhile, or was taken before ends were counted
        taken.running[handler] -= 1
        done = taken.unhandled.done
        if outcome.error is None and handler not in done:
            taken.unhandled.done = (*done, handler)
        self._settle(event_id, taken)

    def handed_out(self, event_id: str) -> None:
        """Note that no further handler will begin with the event."""
        if (taken := self._taken.get(event_id)) is not None:
            taken.was_handed_out = True
            self._settle(event_id, taken)

    def release(self, event_id: str, delay: float = 0.0) -> None:
        """Give an event back: it comes again `delay` seconds after the last of its handlers has ended."""
        if (taken := self._taken.get(event_id)) is not None:
            taken.delay = delay
            self._settle(event_id, taken)

    def _settle(self, event_id: str, taken: _Taken) -> None:
        """Take note of an event whose last handler may have ended."""
        if taken.running.total() or not (taken.was_handed_out or taken.delay is not None):
            return
        del self._taken[event_id]
        if taken.delay is None:
            return
        taken.unhandled.due = self._clock.monotonic() + taken.delay
        if self._closed:
            self._keeper.keep(self._worker, [taken.unhandled])
        else:
            self._come_again(taken.unhandled, taken.delay)

    def note_progress(self, event_id: str) -> None:
        """Do nothing: an event is the worker's until that ends."""

    def later(self) -> Counter[str]:
        """Return how many events of each kind come again after a while."""
        return Counter(self._known[event_id].envelope.kind for event_id in self._waiting)

    # -- what comes again ------------------------------------------------------------------------------

    def _come_again(self, one: Unhandled, delay: float) -> None:
        if not self._is_named(one.envelope):  # any more: nobody would handle it
            self._tell_left([one.envelope])
            return
        event_id = one.envelope.event_id
        self._known[event_id] = one
        if delay <= 0:
            self.put(one.envelope)
            return
        name = f"{self._worker} retries {event_id}"
        self._waiting[event_id] = asyncio.create_task(
            self._put_after(one.envelope, delay), name=name, context=contextvars.Context()
        )

    async def _put_after(self, envelope: EventEnvelope, delay: float) -> None:
        await self._clock.sleep(delay)
        del self._waiting[envelope.event_id]
        self.put(envelope)

    def close(self) -> None:
        """Receive nothing more; what was not handled is kept for the worker's next consumer."""
        if self.counts_ends and not self._closed:
            queued = [self._known.pop(one.event_id, Unhandled(one)) for one in self._queue]
            idle = [event_id for event_id, taken in self._taken.items() if not taken.running.total()]
            for task in self._waiting.values():
                task.cancel()
            self._waiting.clear()
            left = [self._taken.pop(event_id).unhandled for event_id in idle]
            self._keeper.keep(self._worker, [*left, *queued, *self._known.values()])
            self._known.clear()
        super().close()
