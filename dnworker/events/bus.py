"""`EventBus`: numbers every event, keeps it for replay, delivers it to its subscribers (contract 5.5)."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Protocol

from msgspec.structs import replace

from dnworker.core.clock import Clock, RealClock
from dnworker.core.envelope import ENVELOPE_BYTES, EventEnvelope, number, pack, pack_read
from dnworker.core.errors import Conflict, Gone
from dnworker.core.ids import new_id
from dnworker.core.invocation import current_invocation, published_elsewhere, published_via, published_with
from dnworker.core.limits import Limits
from dnworker.core.listeners import Listeners
from dnworker.core.members import family_of
from dnworker.events.brokers.base import Accepted, Broker, DeliveryWatcher, Subscriber
from dnworker.events.brokers.memory import MemoryBroker
from dnworker.events.brokers.subscription import Subscription
from dnworker.events.pressure import Pressure
from dnworker.events.queue_use import QueueUse
from dnworker.events.scopes import Scopes
from dnworker.events.subscribers import Subscribers, note_not_put, put

log = logging.getLogger("dnworker.bus")

SUBSCRIBER_LIMIT = 256
"""Live events that wait for a network subscriber before it is cut off."""

LOOKED_BACK = 1_000
"""Events of all scopes among which those of the runtime's are that are replayed after its end."""


class Gate(Protocol):
    """Decides about events that handlers publish whether workers get them; `storms.py` has one."""

    def holds(self, envelope: EventEnvelope, size: int, only: str | None = None) -> bool:
        """Return whether the event is kept there instead, to be given to `EventBus.release` later."""


class EventBus:
    """One counter and one order for all events of a runtime; used from one event loop only."""

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        replay_bytes: int = Limits().replay,
        broker: Broker | None = None,
    ) -> None:
        self._clock = clock or RealClock()
        self._seq = 0
        self.broker: Broker
        """What keeps the events."""
        self.use(MemoryBroker() if broker is None else broker)
        self._accepting: dict[str, asyncio.Future[Accepted]] = {}
        self._untold: dict[str, contextvars.Context] = {}
        """By the id of an event that taps hear of once it is delivered: the context of its publisher."""
        self.watcher: DeliveryWatcher | None = None
        """Is told of events that are not accepted yet; the history."""
        self.refused: Listeners[[EventEnvelope, BaseException]] = Listeners()
        """Called with events that the broker did not accept, and why."""
        self.submitted: Listeners[[EventEnvelope, asyncio.Future[Accepted]]] = Listeners()
        """Called by publishers, in their context, with events that the broker is to number."""
        self.delivered: Listeners[[EventEnvelope]] = Listeners()
        """Called with each event that a broker has numbered, once subscribers have it."""
        self.copied: Listeners[[EventEnvelope]] = Listeners()
        """Called with each event of another runtime that the history got a copy of."""
        self.scopes = Scopes(replay_bytes)
        """What is kept for replay."""
        # Who receives events.
        self._subscribers = Subscribers()
        self.listened: Listeners[[]] = Listeners()
        """Called after workers have begun or ceased to listen to kinds."""
        self._taps: list[tuple[Callable[[EventEnvelope], None], str | None]] = []
        self.pressure = Pressure()
        """Whom publishers wait for."""
        self.is_crowded = False
        """Whether many events wait for a reader on this loop."""
        self.queues = QueueUse()
        """What waits for worker processes."""
        self.gate: Gate | None = None
        """What holds back events from workers."""

    def use(self, broker: Broker) -> None:
        """Have another broker keep the events, before `open`."""
        self.broker = broker
        self._is_numbered = broker.capabilities.numbers_events
        self._step = 0 if self._is_numbered else 1  # by which each publish counts
        self._is_kept = broker.capabilities.survives_kill
        broker.attach(self, self._clock)

    async def open(self, run: str) -> None:
        """Open the broker, and number on from its newest event; `run` is the id of the runtime.

        Raises:
            BrokerError: it cannot be opened.
        """
        await self.broker.open(run)
        before, self._seq = self._seq, max(self._seq, self.broker.latest_seq)
        if self.broker.capabilities.survives_kill:
            since = max(before, self._seq - LOOKED_BACK)
            self.scopes.buffer(None).fill(await self.broker.replay(None, since, limit=LOOKED_BACK))

    def take_numbers(self, count: int) -> int:
        """Return the first of so many numbers in a row that no published event gets.

        Raises:
            Conflict: the broker keeps all events, or numbers them, and gives no number away.
        """
        if self._is_numbered or self.broker.capabilities.survives_kill:
            raise Conflict(
                "a durable runtime has only events that were published to it; keep others in a file with "
                "--save FILE, and replay that",
                code="DN224",
            )
        first, self._seq = self._seq + 1, self._seq + count
        return first

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
        event_id: str | None = None,
        may_exist: bool = False,
    ) -> EventEnvelope:
        """Give the event its `seq` and deliver it to every subscriber that wants it, once it is accepted.

        In memory it is accepted when this returns. Else `accepted` waits for that; `seq` may be 0 before.

        Args:
            kind, payload: the event's name, and a JSON object; a copy of it is delivered.
            session_id, turn_id, terminal: its session and turn, and whether it is the turn's last event.
            size: bytes of JSON that the payload was just read from; it is then neither checked nor copied.
            only: deliver it to the subscriptions of this owner alone.
            event_id: its id; a new one by default.
            may_exist: whether the broker may have this id: nobody hears of it again then.

        Raises:
            Invalid, TooLarge, Gone: the payload is no JSON object, or too long; the session was deleted.
        """
        packed, size = pack(payload) if size is None else pack_read(payload, size)
        if session_id is not None:
            self.scopes.buffer(session_id)
        self._seq += self._step
        envelope: EventEnvelope = EventEnvelope(
            seq=self._seq if self._step else 0,
            kind=kind,
            payload=packed,  # type: ignore[arg-type]  # parsed when it is read: see core/envelope.py
            session_id=session_id,
            turn_id=turn_id,
            terminal=terminal,
            timestamp=self._clock.now(),
            event_id=event_id or new_id(),
        )
        size += len(kind) + ENVELOPE_BYTES
        self._submit(envelope, size, only and family_of(only), is_named=bool(event_id), may_exist=may_exist)
        return envelope

    def _tell(self, envelope: EventEnvelope, only: str | None) -> None:
        for tap, owner in self._taps:
            if only is None or owner is None or owner == only:
                try:
                    tap(envelope)
                except Exception:
                    if not self._is_numbered:
                        raise  # to its publisher; nobody has got the event
                    log.exception("an event of kind %s could not be noted; it is delivered", envelope.kind)

    def _submit(
        self, envelope: EventEnvelope, size: int, only: str | None, *, is_named: bool, may_exist: bool
    ) -> None:
        """Hand an event to the broker, which delivers it; `is_named` if its id was given."""
        invocation, is_held = current_invocation.get(), False
        if may_exist or self._is_numbered:
            self._untold[envelope.event_id] = contextvars.copy_context()
        else:
            self._tell(envelope, only)
            if invocation is not None and self.gate is not None:
                is_held = self.gate.holds(envelope, size, only)
        cause = invocation.id if self._is_kept and invocation is not None else None
        accepted = self.broker.publish(envelope, size, only, is_held, cause=cause, is_idempotent=is_named)
        if accepted is not None:
            self._await(envelope, accepted)
            if self._is_numbered:
                self.submitted.notify(envelope, accepted)

    def deliver(
        self, envelope: EventEnvelope, size: int, only: str | None = None, is_held: bool = False
    ) -> bool:
        """Keep an accepted event for replay, and deliver it; called by the broker.

        Returns whether it is held back from workers for now.
        """
        session_id = envelope.session_id
        if self._is_numbered:
            self._seq = envelope.seq
            is_held = self._introduce(envelope, size, only)
        elif self._untold and (context := self._untold.pop(envelope.event_id, None)) is not None:
            context.run(self._tell, envelope, only)  # as its publisher
        try:
            self.scopes.append(self.scopes.buffer(session_id), envelope, size)
        except Gone:  # since it was published; its workers get it still
            log.debug("event %s: its session was deleted", envelope.event_id)
        if only is not None:
            for subscription in () if is_held else self._workers_wanting(envelope, only):
                put(subscription, envelope, size)
            return is_held
        for subscription in self._subscribers.of_kind(envelope.kind):
            is_meant = subscription.session_id is None or subscription.session_id == session_id
            if is_meant and not (is_held and subscription.owner is not None):
                try:  # as `_put`: a call for each event costs
                    subscription.put(envelope, size)
                except Exception:
                    note_not_put(subscription, envelope)
        if self._is_numbered:
            self.delivered.notify(envelope)
        return is_held

    def pass_on(self, envelope: EventEnvelope, size: int) -> None:
        """Deliver an event of a session that no broker keeps; workers, the history and the journal get none.

        It has the number of the newest event of its session that is kept: who resumes after that one has it.

        Raises:
            Gone: the session was deleted.
        """
        buffer = self.scopes.buffer(envelope.session_id)
        numbered = replace(envelope, seq=buffer.bounds()[0] or self._seq or 1)
        self.scopes.append(buffer, numbered, size)
        for subscription in self._subscribers.of_kind(envelope.kind):
            if subscription.owner is None and subscription.session_id in (None, envelope.session_id):
                put(subscription, numbered, size)

    def _introduce(self, envelope: EventEnvelope, size: int, only: str | None) -> bool:
        """Tell taps of an event that has its number now, as its publisher; return whether it is held back."""
        context = self._untold.pop(envelope.event_id, None)
        if context is None:
            context = contextvars.Context()  # an event of another runtime has no publisher here
            context.run(published_elsewhere.set, True)
            context.run(published_via.set, published_via.get())
        return context.run(self._introduce_here, envelope, size, only, published_with.get())

    def _introduce_here(
        self, envelope: EventEnvelope, size: int, only: str | None, traceparent: str | None
    ) -> bool:
        """Do that in a context that is for this alone."""
        published_with.set(traceparent)
        self._tell(envelope, only)
        published_with.set(None)
        if current_invocation.get() is None or self.gate is None:
            return False
        try:
            return self.gate.holds(envelope, size, only)
        except Exception:  # it is accepted: workers are to get it
            log.exception("an event of kind %s could not be looked at; it is delivered", envelope.kind)
            return False

    def kept(self, session_id: str | None, after_seq: int) -> list[EventEnvelope]:
        """Return what is kept in memory of a session, or of the runtime's scope, after a `seq`."""
        return [*self.scopes.buffer(session_id).after(after_seq)]

    # -- what the broker has not accepted yet ----------------------------------------------------------

    def _await(self, envelope: EventEnvelope, accepted: asyncio.Future[Accepted]) -> None:
        """Let a publisher wait until the broker has accepted an event, and `fire` for its delivery."""
        event_id = envelope.event_id
        self._accepting[event_id] = accepted
        if self.watcher is not None:
            self.watcher.expect(envelope)

        def end(_: object) -> None:
            if self._accepting.get(event_id) is accepted:
                del self._accepting[event_id]
            self._untold.pop(event_id, None)
            if not accepted.cancelled():
                if (exc := accepted.exception()) is not None:
                    self.refused.notify(envelope, exc)
                elif self._is_numbered:
                    number(envelope, accepted.result().envelope.seq)
            if self.watcher is not None:
                self.watcher.delivered(envelope)

        accepted.add_done_callback(end)

    def is_pending(self, envelope: EventEnvelope) -> bool:
        """Return whether the broker has not accepted a published event yet: whether `accepted` waits."""
        return envelope.event_id in self._accepting

    async def accepted(self, envelope: EventEnvelope) -> EventEnvelope:
        """Return a published event as soon as it is accepted: by a durable broker, as soon as it is on disk.

        Raises:
            NotStored: the broker could not keep it; nobody has got it.
        """
        return (await self.acceptance(envelope)).envelope

    async def acceptance(self, envelope: EventEnvelope) -> Accepted:
        """Return what became of a published event as soon as it is accepted; raises as `accepted` does."""
        accepting = self._accepting.get(envelope.event_id)
        return Accepted(envelope, is_new=True) if accepting is None else await asyncio.shield(accepting)

    async def make_way(self) -> None:
        """Let the loop turn once, so that readers on it take what waits; for publishers when it is crowded.

        Once only, however much waits: a reader may wait itself, for the startup that publishes.
        """
        self.is_crowded = False
        await asyncio.sleep(0)

    def release(self, envelope: EventEnvelope, size: int, only: str | None = None) -> None:
        """Deliver an event that was held back to the workers that want it, or only to one.

        Streams of processes go by `seq`, and newer events went over them meanwhile: they get it under a new
        one. Its id stays, and its number for everybody else: in the history, in traces and in the journal.
        What is not accepted yet goes to them once it is, behind what was published before it.
        """
        accepting = self._accepting.get(envelope.event_id)
        if accepting is not None:
            accepting.add_done_callback(lambda done: self._release_accepted(done, envelope, size, only))
            return
        anew: EventEnvelope | None = None
        for subscription in self._workers_wanting(envelope, only):
            # Where the broker numbers, a number of our own would be another event's.
            if not subscription.goes_by_seq or self._is_numbered:
                subscription.put(envelope, size)
                continue
            if anew is None:
                self._seq += 1
                anew = replace(envelope, seq=self._seq)
            subscription.put(anew, size)

    def let_go(self, envelopes: Collection[EventEnvelope]) -> None:
        """Deliver events that were held back to no worker, ever."""
        self.broker.let_go([envelope.seq for envelope in envelopes])

    def _release_accepted(
        self, done: asyncio.Future[Accepted], envelope: EventEnvelope, size: int, only: str | None
    ) -> None:
        if not done.cancelled() and done.exception() is None and done.result().is_new:
            self.release(envelope, size, only)

    def _workers_wanting(self, envelope: EventEnvelope, only: str | None) -> Iterator[Subscriber]:
        """Yield the subscriptions of workers that want an event; of one, where it is for that one only."""
        for subscription in self._subscribers.of_kind(envelope.kind):
            owner = subscription.owner
            is_meant = owner is not None and only in (None, family_of(owner))
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
        if subscription.owner is not None:
            self.listened.notify()

    def forget(self, subscription: Subscriber) -> None:
        """Deliver nothing more to `subscription`."""
        self._subscribers.remove(subscription)
        if subscription.owner is not None:
            self.listened.notify()

    def listening(self) -> dict[str, frozenset[str] | None]:
        """Return which kinds each worker listens to, by its qualified name; None for every kind."""
        return self._subscribers.of_workers()

    def tap(self, listener: Callable[[EventEnvelope], None], owner: str | None = None) -> Callable[[], None]:
        """Call `listener` with every event before its delivery; returns the function that ends it.

        A listener with an `owner` is not called with events that are for another owner only.
        """
        entry = (listener, owner)
        self._taps.append(entry)
        return lambda: self._taps.remove(entry) if entry in self._taps else None

    def open_session(self, session_id: str, newest: int = 0) -> None:
        """Make the session's scope live, again if it was deleted (contract 13.11).

        Args:
            session_id: its id.
            newest: the newest event that it may have had by now, in an earlier run of the runtime.
        """
        self.scopes.open(session_id, newest)

    def delete_session(self, session_id: str) -> None:
        """Drop the session's buffer and refuse what is published there until it is opened again."""
        self.scopes.delete(session_id)

    def bounds(self, session_id: str) -> tuple[int, int | None]:
        """Return the newest `seq` of a session, 0 when it had none, and the oldest that is kept."""
        return self.scopes.buffer(session_id).bounds()

    def is_deleted(self, session_id: str) -> bool:
        """Return whether the session was deleted and not opened since."""
        return self.scopes.is_deleted(session_id)
