"""`History`: the latest events and invocations in memory; recorders fill it, traces and panel read it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, KeysView
from itertools import islice

from msgspec.structs import replace

from dnworker.core.envelope import (
    EventEnvelope,
    bytes_of_payload,
    bytes_without_payload,
    drop_payload,
    without_payload,
)
from dnworker.core.handler_error import HandlerError, describe
from dnworker.core.invocation import INVOCATION_BYTES, Invocation, Outcome, current_invocation
from dnworker.core.limits import Limits
from dnworker.core.listeners import Listeners
from dnworker.core.series import Series
from dnworker.events.causes import Causes
from dnworker.events.dropped import Dropped, LostRuns
from dnworker.events.elsewhere import Elsewhere
from dnworker.events.event_notes import EventNotes
from dnworker.events.failures import Failures
from dnworker.events.next_tries import NextTries
from dnworker.events.unseen_failures import UnseenFailures
from dnworker.events.waiters import Waiters

EVENTS_KEPT = 10_000
INVOCATIONS_KEPT = 20_000
"""Events and ended invocations that are kept; older ones are dropped."""


class History(EventNotes):
    """Records events and invocations, knows which event caused which, and waits until they have ended.

    Runners report to it. Of what it keeps, the oldest goes first: payloads before the events that had them,
    so that traces stay whole, and invocations when they take over half of the bytes. A running invocation
    is never dropped. What was dropped is counted.

    Args:
        limit: bytes that events and invocations may take.
    """

    def __init__(self, limit: int = Limits().history) -> None:
        super().__init__()
        # Events by id, oldest first: our own copies, whose payloads are dropped in place. What each caused.
        self._order: deque[EventEnvelope] = deque()  # a dict would search for its first, once many are gone
        self._with_payload: deque[EventEnvelope] = deque()
        self._by_event: dict[str, list[Invocation]] = {}
        self.causes = Causes()
        self._lost_runs: dict[str, LostRuns] = {}
        # Invocations, and events that no worker has taken yet.
        self._ended: deque[Invocation] = deque()
        self._running: dict[Invocation, None] = {}
        self._undelivered, self._reading = dict[str, int](), 0
        self._unseen = UnseenFailures()
        self.failures = Failures()
        """What the newest failed invocations raised; none is kept unless somebody asks for it."""
        self.series, self.next_tries = Series(), NextTries()
        # What that takes, and what had to go.
        self.limit = limit
        self._event_bytes = self._invocation_bytes = 0
        self.dropped = Dropped()
        # Who waits, and who listens.
        self._waiters = Waiters()
        self._listeners: Listeners[[Invocation]] = Listeners()
        self.hints: Listeners[[Invocation, str]] = Listeners()
        """Called with what a handler does in vain."""
        # Other nodes.
        self.node: str | None = None
        """The name of this one; None where there are no others."""
        self.elsewhere: Elsewhere | None = None
        self._listeners_elsewhere: Listeners[[Invocation]] = Listeners()

    @property
    def kept(self) -> int:
        """How many events are kept at most."""
        return EVENTS_KEPT

    @property
    def waiting(self) -> int:
        """How many deliveries of events to workers are queued."""
        return sum(self._undelivered.values())

    def queued(self) -> KeysView[str]:
        """Return the ids of those events."""
        return self._undelivered.keys()

    @property
    def used(self) -> int:
        """Bytes that events and invocations take."""
        return self._event_bytes + self._invocation_bytes

    def note_event(self, envelope: EventEnvelope) -> None:
        """Keep an event, and count it as published by the handler that runs here, if one does."""
        kept = replace(envelope)  # every event pays for these lines
        event_id = kept.event_id
        self._events[event_id] = kept
        self._order.append(kept)
        self._with_payload.append(kept)
        self._event_bytes += bytes_of_payload(kept) + bytes_without_payload(kept)
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
        kept = self._with_payload.popleft()
        self._event_bytes -= bytes_of_payload(kept)
        drop_payload(kept)

    def _drop_event(self) -> None:
        oldest = self._order.popleft().event_id
        kept = self._events.pop(oldest)
        if self._with_payload and self._with_payload[0] is kept:
            self._drop_payload()  # whose handler published it has the rest still
        self._event_bytes -= bytes_without_payload(kept)
        self.dropped.events += 1
        self.causes.forget(oldest)
        if self._lost_runs:
            self._lost_runs.pop(oldest, None)
        self._forget_notes(oldest)
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
        caused[:] = [one for one in caused if one is not invocation]
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
        queued = self._undelivered.get(envelope.event_id, 0)
        self._undelivered[envelope.event_id] = queued + 1
        if self.reported is not None and not queued:
            self.reported.note_queue(envelope.event_id)

    def delivered(self, envelope: EventEnvelope) -> None:
        """Note that the worker took the event and that its invocations have begun."""
        left = self._undelivered.pop(envelope.event_id, 1)
        if left > 1:
            self._undelivered[envelope.event_id] = left - 1
            return
        if self.reported is not None:
            self.reported.note_queue(envelope.event_id)
        if self._waiters:
            self._waiters.wake()

    def note_reading(self, change: int) -> None:
        """Note that one worker more (1) or less (-1) reads what it has not handled: some may come soon."""
        self._reading += change
        self._waiters.wake()

    def begin(self, invocation: Invocation) -> None:
        """Note that an invocation is under way."""
        if self.node is not None:
            invocation.node = self.node
            invocation.parent = None if (e := invocation.event) is None else self.causes.parent(e.event_id)
        self._keep_begun(invocation)
        for listener in self._listeners.all:  # not notify(): every event pays for it
            listener(invocation)

    def begin_elsewhere(self, invocation: Invocation) -> None:
        """Note that an invocation is under way on another node."""
        self._keep_begun(invocation)
        self._listeners_elsewhere.notify(invocation)

    def _keep_begun(self, invocation: Invocation) -> None:
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

    def finish_elsewhere(
        self,
        invocation: Invocation,
        outcome: Outcome,
        error: HandlerError | None,
        duration: float,
        *,
        is_raised: bool,
    ) -> None:
        """Note how an invocation of another node ended; `is_raised` if `settle` is to raise its error."""
        invocation.end(outcome, error)
        invocation.duration = duration
        if error is not None and is_raised:
            place = f"{invocation.label} on {invocation.node}"
            self._note_failure(f"{place} ({invocation.cause}): {error.brief()}")
        if self._running.pop(invocation, invocation) is None:
            self._note_ended(invocation)
        self._listeners_elsewhere.notify(invocation)
        self._waiters.wake()

    def hint(self, invocation: Invocation, text: str) -> None:
        """Notify of what a handler does in vain."""
        self.hints.notify(invocation, text)

    def reopen(self, invocation: Invocation) -> None:
        """Note that an invocation which counted as ended has only begun."""
        invocation.outcome, invocation.duration = "running", None
        self._running[invocation] = None
        self._weigh(invocation)
        if self.reported is not None and not invocation.is_elsewhere:
            self.reported.note_reopened(invocation)

    def unhandled(self, invocation: Invocation, error: HandlerError, source: str) -> None:
        """Note an error of something that the invocation started (`source`); `settle` raises it, too."""
        invocation.note_unhandled(error)
        if invocation.kept_bytes:
            self._weigh(invocation)
        self._note_failure(f"{invocation.label} ({source}): {error.brief()}")
        if self.reported is not None and not invocation.is_elsewhere:
            self.reported.note_unhandled(invocation)

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
        self.dropped.failures += self._unseen.note(text)

    # -- what is read ----------------------------------------------------------------------------------

    def event(self, event_id: str) -> EventEnvelope | None:
        """Return a kept event; its payload may be gone, as `has_payload` tells."""
        kept = self._events.get(event_id)
        return None if kept is None else replace(kept)

    def peek(self, event_id: str) -> EventEnvelope | None:
        """Return a kept event itself, to read it now: it must not be changed or held."""
        return self._events.get(event_id)

    def note_published(self, invocation: Invocation, event_id: str) -> bool:
        """Note that an invocation of another node has published an event; False where it is not kept."""
        if (kept := self._events.get(event_id)) is None:
            return False
        if self.causes.above(event_id) is None and self.causes.source(event_id) is None:
            self.causes.note(event_id, invocation)
            invocation.note_published(kept)
            if invocation.kept_bytes:
                self._weigh(invocation)
        return True

    def events(self, count: int = 50) -> list[EventEnvelope]:
        """Return the newest `count` events, oldest first; payloads of old ones may be gone."""
        return [replace(kept) for kept in islice(reversed(self._events.values()), count)][::-1]

    def runs_lost(self, event_id: str) -> LostRuns:
        """Return how many invocations of a kept event are not kept any more."""
        return self._lost_runs.get(event_id, LostRuns(0, 0))

    def invocations_of(self, event_id: str) -> list[Invocation]:
        """Return the invocations that the event has caused so far, on any node."""
        return list(self._by_event.get(event_id, ()))

    def invocations(self, worker: str | None = None) -> list[Invocation]:
        """Return the kept invocations, oldest first."""
        kept = sorted({*self._ended, *self._running}, key=lambda one: one.number)
        return [i for i in kept if worker is None or i.worker == worker]

    def is_quiet(self, event_id: str) -> bool:
        """Return whether everything that the event caused, directly or not, has ended."""
        waiting, elsewhere = [event_id], self.elsewhere
        while waiting:
            current = waiting.pop()
            if self._undelivered.get(current):
                return False
            if elsewhere is not None and elsewhere.is_pending(current):
                return False
            for invocation in self._by_event.get(current, ()):
                if invocation.outcome == "running":
                    return False
                if elsewhere is not None and elsewhere.has_coming(invocation):
                    return False
                waiting += [published.event_id for published in invocation.published]
        return True

    def is_idle(self, asleep: Container[Invocation] = ()) -> bool:
        """Return whether no event is queued and no handler runs here, but for tasks and who is asleep."""
        return not (self._undelivered or self._reading) and all(
            i.cause == "task" or i.is_elsewhere or i in asleep or self.waits_for_sleeper(i, asleep)
            for i in self._running
        )

    def is_settled(self) -> bool:
        """Return whether it is idle, and nothing that was published here is queued or runs elsewhere."""
        return self.is_idle() and (self.elsewhere is None or not self.elsewhere.is_busy())

    def waits_for_sleeper(self, invocation: Invocation, asleep: Container[Invocation]) -> bool:
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

    async def wait_settled(self) -> None:
        """Return when it is idle, and what was published here has ended on other nodes, too."""
        while not self.is_settled():
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
        self._unseen.raise_all()

    def listen(self, listener: Callable[[Invocation], None]) -> Callable[[], None]:
        """Call `listener` when an invocation begins and when it ends; returns the function that ends it."""
        return self._listeners.add(listener)

    def listen_elsewhere(self, listener: Callable[[Invocation], None]) -> Callable[[], None]:
        """Call `listener` when one of another node does; returns the function that ends it."""
        return self._listeners_elsewhere.add(listener)

    def running(self) -> list[Invocation]:
        """Return the invocations that run here."""
        return [one for one in self._running if not one.is_elsewhere]

    def look_again(self) -> None:
        """Let all waiters check again: something changed that is not noted here."""
        self._waiters.wake()
