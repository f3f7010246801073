"""`EventBus`: numbers every event, keeps it for replay, delivers it to its subscribers (contract 5.5)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Protocol

from msgspec.structs import replace

from dnworker.core.clock import Clock, RealClock
from dnworker.core.envelope import (
    KINDS_REMEMBERED,
    EventEnvelope,
    pack,
    pack_read,
)
from dnworker.core.errors import SubscriberTooSlow
from dnworker.core.invocation import current_invocation
from dnworker.core.limits import Limits
from dnworker.events.pressure import Pressure
from dnworker.events.queue_use import QueueUse
from dnworker.events.scopes import Scopes

SUBSCRIBER_LIMIT = 256
"""Live events that wait for a network subscriber before it is cut off."""

_ENVELOPE_OVERHEAD = 340  # bytes of an envelope's JSON beside kind and payload


class DeliveryWatcher(Protocol):
    """Counts the events that workers still have to handle; the history is one."""

    def expect(self, envelope: EventEnvelope) -> None:
        """Note that the event is queued for a worker."""

    def delivered(self, envelope: EventEnvelope) -> None:
        """Note that the worker took the event, or will never take it."""


class Gate(Protocol):
    """Decides about events that handlers publish whether workers get them; `storms.py` has one."""

    def holds(self, envelope: EventEnvelope, size: int, only: str | None = None) -> bool:
        """Return whether the event is kept there instead, to be given to `EventBus.release` later."""


class Subscriber(Protocol):
    """What the bus delivers to: a `Subscription`, or what keeps events for a worker process."""

    kinds: frozenset[str] | None
    """The kinds that it wants; None for all. They change only while the bus has forgotten it."""
    session_id: str | None
    """The only session that it wants; None for all."""
    owner: str | None
    """The qualified name of the worker that it is for."""

    def put(self, envelope: EventEnvelope, size: int = 0) -> bool:
        """Take one event of so many bytes; False if it does not."""


class Subscription:
    """The events of one subscriber, in order of `seq`; iterate over it, then close it.

    Without a limit no event is lost. With one, of events or of bytes, a subscriber that falls behind gets
    what was queued, and then `SubscriberTooSlow`.
    """

    def __init__(
        self,
        bus: EventBus,
        kinds: frozenset[str] | None,
        session_id: str | None,
        limit: int | None,
        replayed: Iterable[EventEnvelope] = (),
        watcher: DeliveryWatcher | None = None,
        owner: str | None = None,
        max_bytes: int | None = None,
    ) -> None:
        # What it wants, and for whom.
        self.kinds = kinds
        self.session_id = session_id
        self.owner = owner
        self.watcher = watcher
        self._bus = bus
        # What is queued, and what was lost.
        self._queue = deque(replayed)
        self._limit = None if limit is None else limit + len(self._queue)
        self._max_bytes = max_bytes
        self._sizes: deque[int] | None = None if max_bytes is None else deque(0 for _ in self._queue)
        self._bytes = 0
        self._lost = 0
        self.on_overflow: Callable[[], None] | None = None
        """Called once, when the first event is lost."""
        # The reader.
        self._waiter: asyncio.Future[None] | None = None
        self._empty: asyncio.Future[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def lost(self) -> int:
        """How many events came after the limit was reached."""
        return self._lost

    def retarget(self, kinds: Collection[str]) -> None:
        """Receive other kinds from now on; what is queued stays, and no event is missed or doubled."""
        self._bus.forget(self)
        self.kinds = frozenset(kinds)
        self._bus.remember(self)

    def put(self, envelope: EventEnvelope, size: int = 0) -> bool:
        """Queue one event of so many bytes; False when a limit was reached and it was not kept."""
        if self._lost or (self._limit is not None and self._is_full()):
            self._lost += 1
            if self._lost == 1 and self.on_overflow is not None:
                self.on_overflow()
            return False
        self._queue.append(envelope)
        if self._sizes is not None:
            self._sizes.append(size)
            self._bytes += size
        if self.watcher is not None:
            self.watcher.expect(envelope)
        self._wake()
        return True

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> EventEnvelope:
        while not self._queue:
            self._check_open()
            await self._wait_filled()
        return self._pop()

    def take(self) -> EventEnvelope | None:
        """Return the next event if one is queued; for readers that take many at once."""
        return self._pop() if self._queue else None

    def queued(self) -> list[EventEnvelope]:
        """Return what is queued."""
        return [*self._queue]

    def _pop(self) -> EventEnvelope:
        if self._sizes is not None:
            self._bytes -= self._sizes.popleft()
        return self._queue.popleft()

    def _is_full(self) -> bool:
        full = self._limit is not None and len(self._queue) >= self._limit
        return full or (self._max_bytes is not None and self._bytes >= self._max_bytes)

    def _check_open(self) -> None:
        """Raise what ends the iteration, once nothing is queued any more."""
        if self._closed:
            raise StopAsyncIteration
        if self._lost:
            raise SubscriberTooSlow(self._lost, self._limit or 0, self._max_bytes)

    async def _wait_filled(self) -> None:
        """Return when an event was queued, or the subscription was closed."""
        self._waiter = asyncio.get_running_loop().create_future()
        self._notify_empty()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def drained(self) -> None:
        """Return when the reader has handled everything queued so far, or the subscription is closed."""
        if not self._closed and (self._queue or self._waiter is None):
            self._empty = self._empty or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._empty)

    def _notify_empty(self) -> None:
        waiting, self._empty = self._empty, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def close(self) -> None:
        """Stop receiving; a waiting reader ends. May be called again."""
        self._closed = True
        if self.watcher is not None:
            for envelope in self._queue:
                self.watcher.delivered(envelope)
        self._queue.clear()
        if self._sizes is not None:
            self._sizes.clear()
        self._bus.forget(self)
        self._notify_empty()
        self._wake()

    async def aclose(self) -> None:
        """Do the same as `close`, for callers that hold an async iterator."""
        self.close()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Subscribers:
    """Which subscriptions want which kind; cached by kind until a subscription of it comes or goes."""

    def __init__(self) -> None:
        self._all_kinds: dict[Subscriber, None] = {}
        self._by_kind: dict[str, dict[Subscriber, None]] = {}
        self._cache: dict[str, tuple[Subscriber, ...]] = {}

    def of_kind(self, kind: str) -> tuple[Subscriber, ...]:
        found = self._cache.get(kind)
        if found is None:
            if len(self._cache) >= KINDS_REMEMBERED:
                self._cache.clear()
            found = self._cache[kind] = (*self._by_kind.get(kind, ()), *self._all_kinds)
        return found

    def add(self, subscription: Subscriber) -> None:
        if subscription.kinds is None:
            self._all_kinds[subscription] = None
            self._cache.clear()
            return
        for kind in subscription.kinds:
            self._by_kind.setdefault(kind, {})[subscription] = None
            self._cache.pop(kind, None)

    def remove(self, subscription: Subscriber) -> None:
        if subscription.kinds is None:
            self._all_kinds.pop(subscription, None)
            self._cache.clear()
            return
        for kind in subscription.kinds:
            wanting = self._by_kind.get(kind)
            if wanting is not None and wanting.pop(subscription, 0) is None and not wanting:
                del self._by_kind[kind]
            self._cache.pop(kind, None)


class EventBus:
    """One counter and one order for all events of a runtime; used from one event loop only."""

    def __init__(self, clock: Clock | None = None, *, replay_bytes: int = Limits().replay) -> None:
        self._clock = clock or RealClock()
        self._seq = 0
        self.scopes = Scopes(replay_bytes)
        """What is kept for replay."""
        # Who receives events.
        self._subscribers = _Subscribers()
        self._taps: list[tuple[Callable[[EventEnvelope], None], str | None]] = []
        self.pressure = Pressure()
        """Whom publishers wait for."""
        self.queues = QueueUse()
        """What waits for worker processes."""
        self.gate: Gate | None = None
        """What holds back events from workers."""

    @property
    def latest_seq(self) -> int:
        """The `seq` of the newest event; 0 before the first."""
        return self._seq

    def publish(
        self,
        kind: str,
        payload: dict[str, Any] | None = None,
        *,
        session_id: str | None = None,
        turn_id: str | None = None,
        terminal: bool = False,
        size: int | None = None,
        only: str | None = None,
    ) -> EventEnvelope:
        """Give the event its `seq` and deliver it to every subscriber that wants it.

        Args:
            kind, payload: the event's name, and a JSON object; a copy of it is delivered.
            session_id, turn_id, terminal: its session and turn, and whether it is the turn's last event.
            size: bytes of JSON that the payload was just read from; it is then neither checked nor copied.
            only: deliver it to the subscriptions of this owner alone.

        Raises:
            Invalid, TooLarge, Gone: the payload is no JSON object, or too long; the session was deleted.
        """
        packed, size = pack(payload) if size is None else pack_read(payload, size)
        buffer = self.scopes.buffer(session_id)
        self._seq += 1
        envelope = EventEnvelope(
            seq=self._seq,
            kind=kind,
            payload=packed,  # type: ignore[arg-type]  # parsed when it is read: see core/envelope.py
            session_id=session_id,
            turn_id=turn_id,
            terminal=terminal,
            timestamp=self._clock.now(),
        )
        self.scopes.append(buffer, envelope, size := size + len(kind) + _ENVELOPE_OVERHEAD)
        if only is not None:
            return self._deliver_only(only, envelope, size)
        for tap, _ in self._taps:
            tap(envelope)
        if current_invocation.get() is not None and self.gate is not None and self.gate.holds(envelope, size):
            return self._deliver_to_others(envelope, size)
        for subscription in self._subscribers.of_kind(kind):
            if subscription.session_id is None or subscription.session_id == session_id:
                subscription.put(envelope, size)
        return envelope

    def _deliver_only(self, only: str, envelope: EventEnvelope, size: int) -> EventEnvelope:
        """Deliver an event to the taps and subscriptions of one owner, and to the taps of nobody."""
        for tap, owner in self._taps:
            if owner is None or owner == only:
                tap(envelope)
        if current_invocation.get() is None or self.gate is None or not self.gate.holds(envelope, size, only):
            for subscription in self._workers_wanting(envelope, only):
                subscription.put(envelope, size)
        return envelope

    def _deliver_to_others(self, envelope: EventEnvelope, size: int) -> EventEnvelope:
        """Deliver an event that is held back from workers to clients, who may wait for it."""
        for subscription in self._subscribers.of_kind(envelope.kind):
            if subscription.owner is None and subscription.session_id in (None, envelope.session_id):
                subscription.put(envelope, size)
        return envelope

    def release(self, envelope: EventEnvelope, size: int, only: str | None = None) -> None:
        """Deliver an event that was held back to the workers that want it, or only to one.

        Streams of processes go by `seq`, and newer events went over them meanwhile: they get it under a new
        one. Its id stays, and its number for everybody else: in the history, in traces and in the journal.
        """
        anew: EventEnvelope | None = None
        for subscription in self._workers_wanting(envelope, only):
            if isinstance(subscription, Subscription):  # of this process
                subscription.put(envelope, size)
                continue
            if anew is None:
                self._seq += 1
                anew = replace(envelope, seq=self._seq)
            subscription.put(anew, size)

    def _workers_wanting(self, envelope: EventEnvelope, only: str | None) -> Iterator[Subscriber]:
        """Yield the subscriptions of workers that want an event; of one, where it is for that one only."""
        for subscription in self._subscribers.of_kind(envelope.kind):
            is_meant = subscription.owner == only if only is not None else subscription.owner is not None
            if is_meant and subscription.session_id in (None, envelope.session_id):
                yield subscription

    def subscribe(
        self,
        kinds: Collection[str] | None = None,
        *,
        session_id: str | None = None,
        after_seq: int | None = None,
        replay: bool = False,
        limit: int | None = None,
        max_bytes: int | None = None,
        queued: Iterable[EventEnvelope] = (),
        watcher: DeliveryWatcher | None = None,
        owner: str | None = None,
    ) -> Subscription:
        """Register a subscriber; nothing published after this call is missed.

        Args:
            kinds: exact kinds; None for every kind.
            session_id: only this session's events, without the runtime scope; None for all.
            after_seq: with `replay`, start after this event.
            replay: begin with what the scope's buffer holds, marked `replay`, whatever its kind.
            limit: live events that may wait; None for no bound.
            max_bytes: bytes of them that may wait, beside a `limit`.
            queued: events to begin with.
            watcher: notified of every event that is queued, and of those that a close drops.
            owner: the qualified name of the worker that it is for.
        """
        buffer = self.scopes.buffer(session_id)
        replayed = [*queued, *(buffer.after(after_seq) if replay else ())]
        wanted = None if kinds is None else frozenset(kinds)
        subscription = Subscription(self, wanted, session_id, limit, replayed, watcher, owner, max_bytes)
        self.remember(subscription)
        return subscription

    def remember(self, subscription: Subscriber) -> None:
        """Deliver to `subscription` from now on."""
        self._subscribers.add(subscription)

    def forget(self, subscription: Subscriber) -> None:
        """Deliver nothing more to `subscription`."""
        self._subscribers.remove(subscription)

    def tap(self, listener: Callable[[EventEnvelope], None], owner: str | None = None) -> Callable[[], None]:
        """Call `listener` with every event before its delivery; returns the function that ends it.

        A listener with an `owner` is not called with events that are for another owner only.
        """
        entry = (listener, owner)
        self._taps.append(entry)
        return lambda: self._taps.remove(entry) if entry in self._taps else None

    def open_session(self, session_id: str) -> None:
        """Make the session's scope live, again if it was deleted (contract 13.11)."""
        self.scopes.open(session_id)

    def delete_session(self, session_id: str) -> None:
        """Drop the session's buffer and refuse what is published there until it is opened again."""
        self.scopes.delete(session_id)

    def bounds(self, session_id: str) -> tuple[int, int | None]:
        """Return the newest `seq` of a session, 0 when it had none, and the oldest that is kept."""
        return self.scopes.buffer(session_id).bounds()

    def is_deleted(self, session_id: str) -> bool:
        """Return whether the session was deleted and not opened since."""
        return self.scopes.is_deleted(session_id)
