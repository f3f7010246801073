"""`History`: the latest events and invocations in memory; recorders fill it, traces and panel read it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Container
from typing import TYPE_CHECKING

from dnworker.core.errors import HandlerFailed
from dnworker.core.invocation import HandlerError, Invocation, Outcome, current_invocation, describe
from dnworker.core.listeners import Listeners

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope

EVENTS_KEPT = 10_000
INVOCATIONS_KEPT = 20_000
FAILURES_KEPT = 1_000
"""Events, invocations and failures not yet raised that are kept; older ones are dropped."""


class History:
    """Records events and invocations, knows which event caused which, and waits until they have ended.

    Runners report to it. The oldest entries go first; a running invocation is never dropped.
    """

    def __init__(self) -> None:
        # Events by id, oldest first, and the invocations that each caused.
        self._events: dict[str, EventEnvelope] = {}
        self._order: deque[str] = deque()  # a dict would search for its first key, once many are gone
        self._by_event: dict[str, list[Invocation]] = {}

        # Invocations, and events that no worker has taken yet.
        self._recent: deque[Invocation] = deque(maxlen=INVOCATIONS_KEPT)
        self._running: set[Invocation] = set()
        self._undelivered: dict[str, int] = {}
        self._unseen_failures: deque[str] = deque(maxlen=FAILURES_KEPT)
        self._losses: dict[str, tuple[str, ...]] = {}
        """By the id of an event: which workers have not got it, and why."""

        # Who waits, and who listens.
        self._waiters: set[asyncio.Future[None]] = set()
        self._listeners: Listeners[[Invocation]] = Listeners()

    @property
    def kept(self) -> int:
        """How many events are kept at most."""
        return EVENTS_KEPT

    def note_event(self, envelope: EventEnvelope) -> None:
        """Keep an event, and count it as published by the handler that runs here, if one does."""
        self._events[envelope.event_id] = envelope
        self._order.append(envelope.event_id)
        if len(self._order) > EVENTS_KEPT:
            oldest = self._order.popleft()
            del self._events[oldest]
            self._by_event.pop(oldest, None)
            self._losses.pop(oldest, None)
        if (invocation := current_invocation.get()) is not None:
            invocation.note_published(envelope)

    def expect(self, envelope: EventEnvelope) -> None:
        """Note that a worker has this event in its queue."""
        self._undelivered[envelope.event_id] = self._undelivered.get(envelope.event_id, 0) + 1

    def delivered(self, envelope: EventEnvelope) -> None:
        """Note that the worker took the event and that its invocations have begun."""
        left = self._undelivered.pop(envelope.event_id, 1)
        if left > 1:
            self._undelivered[envelope.event_id] = left - 1
        elif self._waiters:
            self._changed()

    def begin(self, invocation: Invocation) -> None:
        """Note that an invocation is under way."""
        self._running.add(invocation)
        self._recent.append(invocation)
        if (event := invocation.event) is not None and event.event_id in self._events:
            caused = self._by_event.get(event.event_id)
            if caused is None:
                self._by_event[event.event_id] = [invocation]
            else:
                caused.append(invocation)
        for listener in self._listeners.all:  # not notify(): every event pays for it
            listener(invocation)

    def end(
        self,
        invocation: Invocation,
        exc: BaseException | None = None,
        *,
        cancelled: bool = False,
        expected: bool = False,
    ) -> None:
        """Note how an invocation ended; an exception is kept as text with the user's frames.

        An `expected` one, such as the failure that a script asked for, is not raised by `settle`.
        """
        if exc is not None:
            self.finish(invocation, "error", describe(exc), expected=expected)
        else:
            self.finish(invocation, "cancelled" if cancelled else "ok")

    def finish(
        self,
        invocation: Invocation,
        outcome: Outcome,
        error: HandlerError | None = None,
        *,
        duration: float | None = None,
        expected: bool = False,
    ) -> None:
        """Note how an invocation ended whose error is text already; `duration` is in seconds."""
        invocation.end(outcome, error)
        if duration is not None:
            invocation.duration = duration
        if error is not None and not expected:
            self._unseen_failures.append(f"{invocation.label} ({invocation.cause}): {error}")
        self._running.discard(invocation)
        for listener in self._listeners.all:  # not notify(): every event pays for it
            listener(invocation)
        if self._waiters:
            self._changed()

    def reopen(self, invocation: Invocation) -> None:
        """Note that an invocation which counted as ended has only begun."""
        invocation.outcome, invocation.duration = "running", None
        self._running.add(invocation)

    def unhandled(self, invocation: Invocation, error: HandlerError, source: str) -> None:
        """Note an error of something that the invocation started (`source`); `settle` raises it, too."""
        invocation.unhandled = (*invocation.unhandled, error)
        self._unseen_failures.append(f"{invocation.label} ({source}): {error}")

    def note_loss(self, event_id: str, text: str) -> None:
        """Note that a worker does not get an event that it listens to, and why."""
        known = self._losses.get(event_id, ())
        if event_id in self._events and text not in known:
            self._losses[event_id] = (*known, text)

    def losses_of(self, event_id: str) -> tuple[str, ...]:
        """Return which workers have not got an event, and why."""
        return self._losses.get(event_id, ())

    def event(self, event_id: str) -> EventEnvelope | None:
        """Return a kept event."""
        return self._events.get(event_id)

    def events(self, count: int = 50) -> list[EventEnvelope]:
        """Return the newest `count` events, oldest first."""
        return list(self._events.values())[-count:]

    def invocations_of(self, event_id: str) -> list[Invocation]:
        """Return the invocations that the event has caused so far."""
        return list(self._by_event.get(event_id, ()))

    def invocations(self, worker: str | None = None) -> list[Invocation]:
        """Return the kept invocations, oldest first."""
        return [i for i in self._recent if worker is None or i.worker == worker]

    def is_quiet(self, event_id: str) -> bool:
        """Return whether everything that the event caused, directly or not, has ended."""
        waiting = [event_id]
        while waiting:
            current = waiting.pop()
            if self._undelivered.get(current):
                return False
            for invocation in self._by_event.get(current, ()):
                if invocation.outcome == "running":
                    return False
                waiting += [published.event_id for published in invocation.published]
        return True

    def is_idle(self, asleep: Container[Invocation] = ()) -> bool:
        """Return whether no event is queued and no handler runs, but for tasks and those that are asleep."""
        return not self._undelivered and all(
            i.cause == "task" or i in asleep or self._waits_for_sleeper(i, asleep) for i in self._running
        )

    def _waits_for_sleeper(self, invocation: Invocation, asleep: Container[Invocation]) -> bool:
        """Return whether a turn that the invocation started is asleep: the invocation can only wait."""
        return any(
            below.outcome == "running" and below.cause == "turn" and below in asleep
            for event in invocation.published
            for below in self._by_event.get(event.event_id, ())
        )

    async def wait_quiet(self, event_id: str) -> None:
        """Return when everything the event caused has ended."""
        while not self.is_quiet(event_id):
            await self._wait_change()

    async def wait_idle(self, asleep: Container[Invocation] = ()) -> None:
        """Return when no event is queued and no handler runs, but for tasks and those that are asleep."""
        while not self.is_idle(asleep):
            await self._wait_change()

    def raise_failures(self) -> None:
        """Raise the failures that were not raised yet, and forget them.

        Raises:
            HandlerFailed: there was at least one.
        """
        failures = list(self._unseen_failures)
        self._unseen_failures.clear()
        if failures:
            raise HandlerFailed(failures)

    def listen(self, listener: Callable[[Invocation], None]) -> Callable[[], None]:
        """Call `listener` when an invocation begins and when it ends; returns the function that ends it."""
        return self._listeners.add(listener)

    def look_again(self) -> None:
        """Let all waiters check again: something changed that is not noted here."""
        self._changed()

    def _changed(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _wait_change(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
