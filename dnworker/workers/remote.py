"""Enters the invocations that a worker process reports into the history; used by `subprocess_worker`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from dnworker.core.declared import DeclaredPayload
from dnworker.core.frames import LONGEST_NAME, LONGEST_SOURCE
from dnworker.core.handler_error import HandlerError, within_bounds
from dnworker.core.handlers import HandlerKey
from dnworker.core.invocation import WARNINGS_KEPT, HandlerWarning, Invocation, Outcome
from dnworker.core.stats import HandlerStats
from dnworker.core.text import clip, shorten
from dnworker.workers import reports

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.events.history import History

INVOCATIONS_KEPT = 2_000
"""Invocations of one process that can still be named, by a late line or request."""

LOOKED_AT = 16
"""Invocations that are looked at to forget one; tasks run for ever."""

RUNNING_KEPT = 50_000
"""Invocations of one process that may run at once; of more, the oldest count as ended."""

HANDLERS_KEPT = 2_000
"""Handlers of one process that are counted; of more, runs are noted and not counted."""

HELLOS_HEARD = 20
"""How often a process may say anew what its handlers are."""

UNKNOWN = "(process)"


LONGEST_ID = 64
"""Characters of the id of an invocation: ours have 16."""

LEFT_KEPT = 10_000
"""Events of closed streams that are known by their id and that a process may still begin to handle."""


class InFlight(Protocol):
    """The events that a process was given and has not handled, where a broker keeps them: a `Feed`."""

    def event(self, event_id: str) -> EventEnvelope | None:
        """Return such an event."""

    def number(self, event_id: str) -> int:
        """Return how often the worker was given it."""

    def delivered(self, event_id: str) -> None:
        """Note that the last of its handlers has begun."""

    def forgive_arrived(self) -> None:
        """Wait for no report on what has arrived."""


class HandlerStream:
    """Counts the events that are under way to a process's handlers over one stream, for `fire` to wait for.

    The watcher of that stream. An event is done with when the process reports that its handlers have begun,
    or when the stream is gone for good; `on_close` is told then, while it has those that had not begun.
    """

    def __init__(self, history: History, on_close: Callable[[HandlerStream], None]) -> None:
        self._history = history
        self._on_close = on_close
        self._outstanding: dict[str, EventEnvelope] = {}
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether it waits for nothing more."""
        return self._is_closed

    def expect(self, envelope: EventEnvelope) -> None:
        """Note that the event is on its way."""
        if not self._is_closed and envelope.event_id not in self._outstanding:
            self._outstanding[envelope.event_id] = envelope
            self._history.expect(envelope)

    def delivered(self, envelope: EventEnvelope) -> None:
        """Note that it will not be sent."""
        self.done(envelope.event_id)

    def done(self, event_id: str) -> None:
        """Note that its handlers have begun."""
        if (envelope := self._outstanding.pop(event_id, None)) is not None:
            self._history.delivered(envelope)

    def outstanding(self) -> Mapping[str, EventEnvelope]:
        """Return the events, by id, whose handlers have not begun."""
        return self._outstanding

    def close(self) -> None:
        """Wait for nothing more: what was sent and not answered never will be."""
        if self._is_closed:
            return
        self._is_closed = True
        self._on_close(self)
        for event_id in [*self._outstanding]:
            self.done(event_id)


class RemoteInvocations:
    """Turns the reports of one process into invocations in the history.

    Args:
        history: has the invocations.
        worker: its qualified name.
        generation: of its code.
        in_flight: is told what the process has begun to handle, where a broker keeps its events.
    """

    def __init__(
        self, history: History, worker: str, generation: int = 1, in_flight: InFlight | None = None
    ) -> None:
        self.stats: dict[HandlerKey, HandlerStats] = {}
        self.declared: list[DeclaredPayload] = []
        self.reports = False
        self.why_silent: str | None = None
        """Why the process, which reported or was to, does so no more."""
        self._in_flight = in_flight
        self._observed = False
        self._hellos = 0
        self._history = history
        self._worker = worker
        self._generation = generation
        self._invocations: dict[str, Invocation] = {}
        self._early: set[str] = set()
        self._newest = ""
        self._streams: list[HandlerStream] = []
        self._left: dict[str, None] = {}
        self._left_unknown = 0
        self._made_at = time.monotonic()

    def left(self) -> tuple[list[str], int]:
        """Return the events of closed streams whose handlers have not begun, by id, and how many more."""
        return [*self._left], self._left_unknown

    def take(self, report: reports.Report) -> None:
        """Note one report; one that makes no sense is left aside."""
        match report:
            case reports.Hello(handlers=handlers, observed=observed, declared=declared):
                self._hellos += 1
                if self._hellos > HELLOS_HEARD:
                    return
                self.reports = True
                self.why_silent = None
                self._observed = observed
                self.stats = {_within(key): HandlerStats() for key in handlers[:HANDLERS_KEPT]}
                self.declared = declared[:HANDLERS_KEPT]
            case reports.Begin():
                self._begin(report)
            case reports.Ran():
                if (begun := self._begin(report)) is not None:
                    self._finish(begun, "ok", report.duration)
            case reports.End():
                self._end(report)
            case reports.Delivered(event_id=event_id):
                self._delivered(event_id)
            case reports.Notice(is_over=True, text=text):
                self._silence(text)
            case reports.Notice(lost=lost) if lost:
                self._end_running()  # the ends of some may be among those that were lost
                self._forgive()

    def stream(self) -> HandlerStream | None:
        """Return the watcher of a new stream that feeds the handlers; None if the process does not report."""
        if not self.reports:
            return None
        self._streams.append(stream := HandlerStream(self._history, self._stream_closed))
        return stream

    def _stream_closed(self, stream: HandlerStream) -> None:
        """Note what a stream leaves that does not come over another; the process may begin with it yet."""
        self._streams.remove(stream)
        for event_id in stream.outstanding():
            if not any(event_id in other.outstanding() for other in self._streams):
                self._left[event_id] = None
        while len(self._left) > LEFT_KEPT:
            del self._left[next(iter(self._left))]
            self._left_unknown += 1

    def is_fed_by(self, kinds: list[str]) -> bool:
        """Return whether a stream for these kinds feeds the handlers of a process that cannot say so."""
        heard = {key.trigger for key in self.stats if key.decorator == "on_event"}
        return self._observed and bool(heard) and set(kinds) == heard

    def named(self, invocation_id: str | None) -> Invocation | None:
        """Return an invocation of the process."""
        return None if invocation_id is None else self._invocations.get(invocation_id)

    def cause(self, event_id: str, invocation_id: str) -> Invocation | None:
        """Return the invocation that a request names as its cause; None for one that names nothing of ours.

        A request may arrive before the report that its handler began; until then the invocation counts as
        over, as that of a program which reports nothing, and need only pass on the id of the event it
        answers.
        """
        if (known := self._invocations.get(invocation_id)) is not None:
            return known
        event = self._history.event(event_id)
        if event is None and event_id != invocation_id * 2:  # which stands for no event
            return None
        if self.reports and invocation_id <= self._newest:  # ids rise: it is long forgotten
            return None
        made = Invocation(self._worker, UNKNOWN, "event", event, self._generation)
        self._history.begin(self._keep(made, invocation_id))
        self._history.finish(made, "ok")
        self._early.add(invocation_id)
        return made

    def close(self) -> None:
        """The process is gone: nothing of it is under way any more."""
        self.reports = False
        self._end_running()
        self._invocations.clear()
        self._early.clear()
        for stream in [*self._streams]:
            stream.close()

    def _silence(self, why: str) -> None:
        """Wait for no more reports: the process goes on without them."""
        self.reports = False
        self.why_silent = clip(why, LONGEST_SOURCE)
        self._end_running()
        for stream in [*self._streams]:
            stream.close()
        self._forgive()

    def _forgive(self) -> None:
        if self._in_flight is not None:
            self._in_flight.forgive_arrived()

    def _end_running(self) -> None:
        for invocation in self._invocations.values():
            if invocation.outcome == "running":
                self._end_unknown(invocation)

    def _end_unknown(self, invocation: Invocation) -> None:
        """Note that an invocation is over, of which nobody says how it ended."""
        self._history.finish(invocation, "cancelled")
        if invocation.key is not None and (stats := self.stats.get(invocation.key)) is not None:
            stats.ended(invocation)

    # -- reports ---------------------------------------------------------------------------------------

    def _delivered(self, event_id: str) -> None:
        self._left.pop(event_id, None)
        for stream in self._streams:
            stream.done(event_id)
        if self._in_flight is not None:
            self._in_flight.delivered(event_id)

    def _begin(self, report: reports.Begin | reports.Ran) -> Invocation | None:
        """Note that a handler begins; returns its invocation, None where the report makes no sense."""
        early = self._invocations.get(report.id)
        if not 0 < len(report.id) <= LONGEST_ID or (early is not None and report.id not in self._early):
            return None
        key = _within(report.key)
        if key not in self.stats and len(self.stats) < HANDLERS_KEPT:
            self.stats[key] = HandlerStats()
        if (stats := self.stats.get(key)) is not None:
            stats.began()
        self._newest = max(self._newest, report.id)
        if early is not None:
            self._early.discard(report.id)
            early.handler, early.cause, early.key = key[2], report.cause, key
            made = early
        else:
            event = self._event(report.event_id)
            made = Invocation(self._worker, key[2], report.cause, event, self._generation, key=key)
        if self._in_flight is not None and made.event is not None:
            made.delivery = self._in_flight.number(made.event.event_id)
        if early is not None:
            self._history.reopen(made)
        else:
            self._history.begin(self._keep(made, report.id))
        if report.delivered and report.event_id is not None:
            self._delivered(report.event_id)
        return made

    def _event(self, event_id: str | None) -> EventEnvelope | None:
        if event_id is None:
            return None
        known = self._history.event(event_id)
        if known is None and self._in_flight is not None:  # of an earlier run of the runtime
            known = self._in_flight.event(event_id)
        return known

    def _end(self, report: reports.End) -> None:
        invocation = self._invocations.get(report.id)
        if invocation is None or invocation.outcome != "running" or invocation.key is None:
            return
        error = None if report.error is None else within_bounds(report.error)
        for one in report.warnings[:WARNINGS_KEPT]:
            place, text = clip(one.place, LONGEST_SOURCE), clip(one.text, LONGEST_SOURCE)
            invocation.note_warning(HandlerWarning(place, text, one.times))
        self._finish(invocation, report.outcome, report.duration, error)

    def _finish(
        self, invocation: Invocation, outcome: Outcome, duration: float, error: HandlerError | None = None
    ) -> None:
        """Note how an invocation ended; what a process says of the time is bounded by how long it runs."""
        now = time.monotonic()
        duration = min(max(0.0, duration), now - self._made_at)
        invocation.started_at = min(
            invocation.started_at, now - duration
        )  # it has ended, so not later than now
        self._history.finish(invocation, outcome, error, duration=duration)
        if invocation.key is not None and (stats := self.stats.get(invocation.key)) is not None:
            stats.ended(invocation)

    def _keep(self, invocation: Invocation, its_id: str) -> Invocation:
        invocation.remote_id = its_id
        self._invocations[its_id] = invocation
        if len(self._invocations) > INVOCATIONS_KEPT:
            self._forget_one()
        return invocation

    def _forget_one(self) -> None:
        """Forget the oldest invocation that has ended; those that run on are looked at last from now on."""
        for oldest in list(islice(self._invocations, LOOKED_AT)):
            kept = self._invocations.pop(oldest)
            if kept.outcome != "running":
                self._early.discard(oldest)
                return
            self._invocations[oldest] = kept
        if len(self._invocations) > RUNNING_KEPT:
            oldest = next(iter(self._invocations))
            self._end_unknown(self._invocations.pop(oldest))


def _within(key: HandlerKey) -> HandlerKey:
    """Return a key that a process reports, with texts of bounded length."""
    if max(map(len, key)) <= LONGEST_NAME:
        return key
    return HandlerKey(*(shorten(text, LONGEST_NAME) for text in key))
