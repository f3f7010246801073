"""`History`: the latest events and invocations in memory; recorders fill it, traces and panel read it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container
from itertools import islice
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from dnworker.core.envelope import EventEnvelope, bytes_of_payload, drop_payload, without_payload
from dnworker.core.errors import HandlerFailed
from dnworker.core.handler_error import HandlerError, describe
from dnworker.core.invocation import INVOCATION_BYTES, Invocation, Outcome, current_invocation
from dnworker.core.limits import Limits
from dnworker.core.listeners import Listeners
from dnworker.core.series import Series
from dnworker.core.text import clip
from dnworker.events.causes import Causes
from dnworker.events.failures import Failures
from dnworker.events.next_tries import NextTries
from dnworker.events.waiters import Waiters

EVENTS_KEPT = 10_000
INVOCATIONS_KEPT = 20_000
FAILURES_KEPT = 1_000
"""Events, ended invocations and failures not yet raised that are kept; older ones are dropped."""

LONGEST_FAILURE = 2_000
"""Characters of a failure that `settle` raises; the invocation has all of it."""

_OVERHEAD = 700  # bytes of an event without its payload, kind and ids


class Dropped(msgspec.Struct):
    """How much the history has dropped so far: payloads of kept events, events, invocations, failures."""

    payloads: int = 0
    events: int = 0
    invocations: int = 0
    failures: int = 0

    @property
    def total(self) -> int:
        """All of them together."""
        return self.payloads + self.events + self.invocations + self.failures


class LostRuns(NamedTuple):
    """Invocations of one event that are not kept any more, and how many of them did not end well."""

    runs: int
    failed: int


class History:
    """Records events and invocations, knows which event caused which, and waits until they have ended.

    Runners report to it. Of what it keeps, the oldest goes first: payloads before the events that had them,
    so that traces stay whole, and invocations when they take over half of the bytes. A running invocation
    is never dropped. What was dropped is counted.

    Args:
        limit: bytes that events and invocations may take.
    """

    def __init__(self, limit: int = Limits().history) -> None:
        # Events by id, oldest first: our own copies, whose payloads are dropped in place. What each caused.
        self._events: dict[str, EventEnvelope] = {}
        self._order: deque[str] = deque()  # a dict would search for its first key, once many are gone
        self._with_payload: deque[tuple[EventEnvelope, int]] = deque()
        self._by_event: dict[str, list[Invocation]] = {}
        self.causes = Causes()
        self._lost_runs: dict[str, LostRuns] = {}
        self._losses: dict[str, tuple[str, ...]] = {}
        """By the id of an event: which workers have not got it, and why."""
        self._held: dict[str, tuple[str, str]] = {}
        self._storms: dict[str, str] = {}
        """By the id of an event: what delivers it, where it is held, and what began its chain; its storm."""
        # Invocations, and events that no worker has taken yet.
        self._ended: deque[Invocation] = deque()
        self._running: dict[Invocation, None] = {}
        self._undelivered: dict[str, int] = {}
        self._unseen_failures: deque[str] = deque(maxlen=FAILURES_KEPT)
        self._failures_not_raised = 0
        self.failures = Failures()
        """What the newest failed invocations raised; none is kept unless somebody asks for it."""
        self.series, self.next_tries = Series(), NextTries()
        # What that takes, and what had to go.
        self.limit = limit
        self._event_bytes = 0
        self._invocation_bytes = 0
        self.dropped = Dropped()
        # Who waits, and who listens.
        self._waiters = Waiters()
        self._listeners: Listeners[[Invocation]] = Listeners()
        self.hints: Listeners[[Invocation, str]] = Listeners()
        """Called with what a handler does in vain."""

    @property
    def kept(self) -> int:
        """How many events are kept at most."""
        return EVENTS_KEPT

    @property
    def waiting(self) -> int:
        """How many deliveries of events to workers are queued."""
        return sum(self._undelivered.values())

    @property
    def used(self) -> int:
        """Bytes that events and invocations take."""
        return self._event_bytes + self._invocation_bytes

    def note_event(self, envelope: EventEnvelope) -> None:
        """Keep an event, and count it as published by the handler that runs here, if one does."""
        kept, size = replace(envelope), bytes_of_payload(envelope)  # every event pays for these lines
        event_id = kept.event_id
        self._events[event_id] = kept
        self._order.append(event_id)
        self._with_payload.append((kept, size))
        self._event_bytes += size + _bytes_of(kept)
        if len(self._order) > EVENTS_KEPT:
            self._drop_event()
        self.causes.note(event_id, invocation := current_invocation.get())
        if invocation is not None:
            invocation.note_published(kept)
            if invocation.kept_bytes:
                self._weigh(invocation)
        if self._event_bytes + self._invocation_bytes > self.limit:
            self._shrink()

    # -- what is dropped -------------------------------------------------------------------------------

    def _shrink(self) -> None:
        """Drop what is oldest until the rest is within the limit, or nothing is left that may go."""
        while self._invocation_bytes > self.limit // 2 and self._ended:
            self._drop_invocation()
        while self.used > self.limit:
            if self._with_payload:
                self._drop_payload()
                self.dropped.payloads += 1
            elif self._order:
                self._drop_event()
            elif self._ended:
                self._drop_invocation()
            else:
                break

    def _drop_payload(self) -> None:
        kept, size = self._with_payload.popleft()
        self._event_bytes -= size
        drop_payload(kept)

    def _drop_event(self) -> None:
        oldest = self._order.popleft()
        kept = self._events.pop(oldest)
        if self._with_payload and self._with_payload[0][0] is kept:
            self._drop_payload()  # whose handler published it has the rest still
        self._event_bytes -= _bytes_of(kept)
        self.dropped.events += 1
        self.causes.forget(oldest)
        if self._lost_runs:
            self._lost_runs.pop(oldest, None)
        if self._losses:
            self._losses.pop(oldest, None)
        if self._storms:
            self._storms.pop(oldest, None)
        if self._held:
            self._held.pop(oldest, None)
        self._forget_runs(oldest)

    def _forget_runs(self, event_id: str) -> None:
        """Forget which invocations an event that is not kept has caused, once none of them is running."""
        for one in self._by_event.get(event_id, ()):
            if one.outcome == "running":
                return
        self._by_event.pop(event_id, None)

    def _drop_invocation(self) -> None:
        """Drop the invocation that ended first; one that was opened again since is not dropped."""
        invocation = self._ended.popleft()
        if not invocation.kept_bytes or invocation.outcome == "running":
            return
        self._invocation_bytes -= invocation.kept_bytes
        invocation.kept_bytes = 0
        self.dropped.invocations += 1
        if (event := invocation.event) is None or (caused := self._by_event.get(event.event_id)) is None:
            return
        caused.remove(invocation)
        if not caused:
            del self._by_event[event.event_id]
        if event.event_id in self._events:
            runs, failed = self._lost_runs.get(event.event_id, (0, 0))
            bad = invocation.outcome != "ok" or bool(invocation.unhandled)
            self._lost_runs[event.event_id] = LostRuns(runs + 1, failed + bad)

    def _weigh(self, invocation: Invocation) -> None:
        """Count what an invocation takes by now."""
        size = invocation.bytes_used()
        self._invocation_bytes += size - invocation.kept_bytes
        invocation.kept_bytes = size

    # -- deliveries and invocations --------------------------------------------------------------------

    def expect(self, envelope: EventEnvelope) -> None:
        """Note that a worker has this event in its queue."""
        self._undelivered[envelope.event_id] = self._undelivered.get(envelope.event_id, 0) + 1

    def delivered(self, envelope: EventEnvelope) -> None:
        """Note that the worker took the event and that its invocations have begun."""
        left = self._undelivered.pop(envelope.event_id, 1)
        if left > 1:
            self._undelivered[envelope.event_id] = left - 1
        elif self._waiters:
            self._waiters.wake()

    def begin(self, invocation: Invocation) -> None:
        """Note that an invocation is under way."""
        self._running[invocation] = None
        if (event := invocation.event) is not None:
            # Ours: what an invocation holds must not keep a payload that the limit has dropped.
            kept = self._events.get(event.event_id)
            invocation.event = without_payload(event) if kept is None else kept
            caused = self._by_event.get(event.event_id)
            if caused is None:
                self._by_event[event.event_id] = [invocation]
            else:
                caused.append(invocation)
        invocation.kept_bytes = INVOCATION_BYTES
        self._invocation_bytes += INVOCATION_BYTES
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
            self.failures.note(invocation, exc)
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
            way_out = "".join(f"; {warning.text}" for warning in invocation.warnings)
            self._note_failure(f"{invocation.label} ({invocation.cause}): {error.brief()}{way_out}")
        if self._running.pop(invocation, invocation) is None:
            self._note_ended(invocation)
        if invocation.key is not None and not invocation.muted:  # a handler's call, and no copy of one
            self.series.note(invocation)
        for listener in self._listeners.all:  # not notify(): every event pays for it
            listener(invocation)
        if self._waiters:
            self._waiters.wake()

    def hint(self, invocation: Invocation, text: str) -> None:
        """Notify of what a handler does in vain."""
        self.hints.notify(invocation, text)

    def reopen(self, invocation: Invocation) -> None:
        """Note that an invocation which counted as ended has only begun."""
        invocation.outcome, invocation.duration = "running", None
        self._running[invocation] = None
        self._weigh(invocation)

    def unhandled(self, invocation: Invocation, error: HandlerError, source: str) -> None:
        """Note an error of something that the invocation started (`source`); `settle` raises it, too."""
        invocation.note_unhandled(error)
        if invocation.kept_bytes:
            self._weigh(invocation)
        self._note_failure(f"{invocation.label} ({source}): {error.brief()}")

    def _note_ended(self, invocation: Invocation) -> None:
        self._ended.append(invocation)
        if not invocation.is_plain:
            self._weigh(invocation)
        event = invocation.event
        if event is not None and event.event_id not in self._events:
            self._forget_runs(event.event_id)
        if len(self._ended) > INVOCATIONS_KEPT:
            self._drop_invocation()
        if self._event_bytes + self._invocation_bytes > self.limit:
            self._shrink()

    def _note_failure(self, text: str) -> None:
        if len(self._unseen_failures) == FAILURES_KEPT:
            self._failures_not_raised += 1
            self.dropped.failures += 1
        self._unseen_failures.append(clip(text, LONGEST_FAILURE))

    # -- what is read ----------------------------------------------------------------------------------

    def note_loss(self, event_id: str, text: str) -> None:
        """Note that a worker does not get an event that it listens to, and why."""
        known = self._losses.get(event_id, ())
        if event_id in self._events and text not in known:
            self._losses[event_id] = (*known, text)

    def note_storm(self, event_id: str, text: str) -> None:
        """Note that an event has caused a storm."""
        if event_id in self._events:
            self._storms[event_id] = text

    def note_held(self, event_id: str, text: str, root: str) -> None:
        """Note that an event is held back from workers, what to do about it, and what began its chain."""
        if event_id in self._events:
            self._held[event_id] = text, root

    def note_released(self, event_id: str) -> None:
        """Note that an event is held no more."""
        self._held.pop(event_id, None)

    def storm_of(self, event_id: str) -> str | None:
        """Return what storm an event has begun."""
        return self._storms.get(event_id)

    def held(self, event_id: str) -> str | None:
        """Return what delivers an event that is held back from workers; None where it is not."""
        return self._held[event_id][0] if event_id in self._held else None

    def held_below(self, root: str) -> list[str]:
        """Return what delivers each event that is held of the chain that an event began."""
        return [text for text, began in self._held.values() if began == root]

    def losses_of(self, event_id: str) -> tuple[str, ...]:
        """Return which workers have not got an event, and why."""
        return self._losses.get(event_id, ())

    def event(self, event_id: str) -> EventEnvelope | None:
        """Return a kept event; its payload may be gone, as `has_payload` tells."""
        kept = self._events.get(event_id)
        return None if kept is None else replace(kept)

    def events(self, count: int = 50) -> list[EventEnvelope]:
        """Return the newest `count` events, oldest first; payloads of old ones may be gone."""
        return [replace(kept) for kept in islice(reversed(self._events.values()), count)][::-1]

    def is_queued(self, event_id: str) -> bool:
        """Return whether the event waits in the queue of some worker."""
        return event_id in self._undelivered

    def runs_lost(self, event_id: str) -> LostRuns:
        """Return how many invocations of a kept event are not kept any more."""
        return self._lost_runs.get(event_id, LostRuns(0, 0))

    def invocations_of(self, event_id: str) -> list[Invocation]:
        """Return the invocations that the event has caused so far."""
        return list(self._by_event.get(event_id, ()))

    def invocations(self, worker: str | None = None) -> list[Invocation]:
        """Return the kept invocations, oldest first."""
        kept = sorted({*self._ended, *self._running}, key=lambda one: one.number)
        return [i for i in kept if worker is None or i.worker == worker]

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

    def undelivered(self, most: int) -> dict[str, int]:
        """Return how many workers still have to take each of so many events, by id."""
        return dict(islice(self._undelivered.items(), most))

    async def wait_quiet(self, event_id: str) -> None:
        """Return when everything the event caused has ended."""
        while not self.is_quiet(event_id):
            await self._waiters.wait()

    async def wait_idle(self, asleep: Container[Invocation] = ()) -> None:
        """Return when no event is queued and no handler runs, but for tasks and those that are asleep."""
        while not self.is_idle(asleep):
            await self._waiters.wait()

    def raise_failures(self) -> None:
        """Raise the failures that were not raised yet, and forget them.

        Raises:
            HandlerFailed: there was at least one.
        """
        failures = list(self._unseen_failures)
        self._unseen_failures.clear()
        more, self._failures_not_raised = self._failures_not_raised, 0
        if more:
            failures.append(f"and {more:,} that failed before these; the log has them")
        if failures:
            raise HandlerFailed(failures)

    def listen(self, listener: Callable[[Invocation], None]) -> Callable[[], None]:
        """Call `listener` when an invocation begins and when it ends; returns the function that ends it."""
        return self._listeners.add(listener)

    def look_again(self) -> None:
        """Let all waiters check again: something changed that is not noted here."""
        self._waiters.wake()


def _bytes_of(kept: EventEnvelope) -> int:
    """Return the bytes of an event that stay when its payload is dropped."""
    size = _OVERHEAD + kept.kind.__sizeof__()
    if kept.session_id is not None:
        size += kept.session_id.__sizeof__()
    return size if kept.turn_id is None else size + kept.turn_id.__sizeof__()
