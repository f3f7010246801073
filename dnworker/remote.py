"""The invocations of one worker process, as it reports them, in the history of its runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dnworker import reports
from dnworker.invocation import Invocation
from dnworker.runner import Figures, HandlerKey

if TYPE_CHECKING:
    from dnworker.events import EventEnvelope
    from dnworker.history import History

INVOCATIONS_KEPT = 2_000
"""Invocations of one process that can still be named, by a late line or request."""

UNKNOWN = "(process)"


class RemoteInvocations:
    """Turns the reports of one process into invocations, and counts which of its events it has dealt with.

    Also the watcher of the events that wait on the process's stream: `fire` knows what is under way there.
    """

    def __init__(self, history: History, worker: str, generation: int = 1) -> None:
        self.figures: dict[HandlerKey, Figures] = {}
        self.reports = False
        self._history = history
        self._worker = worker
        self._generation = generation
        self._invocations: dict[str, Invocation] = {}
        self._keys: dict[str, HandlerKey] = {}
        self._outstanding: dict[str, EventEnvelope] = {}

    def take(self, report: reports.Report) -> None:
        """Note one report; one that makes no sense is left aside."""
        match report:
            case reports.Hello(handlers=handlers):
                self.reports = True
                self.figures = {key: Figures() for key in handlers}
            case reports.Begin():
                self._begin(report)
            case reports.End():
                self._end(report)
            case reports.Delivered(event_id=event_id):
                if (envelope := self._outstanding.pop(event_id, None)) is not None:
                    self._history.delivered(envelope)

    def named(self, invocation_id: str | None) -> Invocation | None:
        """Return an invocation of the process."""
        return None if invocation_id is None else self._invocations.get(invocation_id)

    def cause(self, event_id: str, invocation_id: str) -> Invocation | None:
        """Return the invocation that a request names as its cause; None for one that names nothing of ours.

        A request may arrive before the report that its handler began. A program that is not ours, and reports
        nothing, need only pass on the id of the event it answers.
        """
        if (known := self._invocations.get(invocation_id)) is not None:
            return known
        event = self._history.event(event_id)
        if event is None:
            return None
        made = Invocation(self._worker, UNKNOWN, "event", event, self._generation)
        invocation = self._keep(made, invocation_id)
        self._history.begin(invocation)
        if not self.reports:
            self._history.finish(invocation, "ok")
        return invocation

    def close(self) -> None:
        """The process is gone: nothing of it is under way any more."""
        for invocation in self._invocations.values():
            if invocation.outcome == "running":
                self._history.finish(invocation, "cancelled")
        for envelope in self._outstanding.values():
            self._history.delivered(envelope)
        self._invocations.clear()
        self._outstanding.clear()

    # -- what the process's stream tells ---------------------------------------------------------------

    def expect(self, envelope: EventEnvelope) -> None:
        """Note that the event is on its way to the process."""
        if self.reports:
            self._outstanding[envelope.event_id] = envelope
            self._history.expect(envelope)

    def delivered(self, envelope: EventEnvelope) -> None:
        """Note that the event will not be sent: its stream was closed."""
        if self._outstanding.pop(envelope.event_id, None) is not None:
            self._history.delivered(envelope)

    # -- reports ---------------------------------------------------------------------------------------

    def _begin(self, report: reports.Begin) -> None:
        figures = self.figures.setdefault(report.key, Figures())
        figures.calls += 1
        figures.in_flight += 1
        self._keys[report.id] = report.key
        early = self._invocations.get(report.id)
        if early is not None:
            early.handler, early.cause = report.key[2], report.cause
            return
        event = None if report.event_id is None else self._history.event(report.event_id)
        made = Invocation(self._worker, report.key[2], report.cause, event, self._generation)
        self._history.begin(self._keep(made, report.id))

    def _end(self, report: reports.End) -> None:
        invocation = self._invocations.get(report.id)
        key = self._keys.pop(report.id, None)
        if key is not None and (figures := self.figures.get(key)) is not None:
            figures.in_flight -= 1
            if report.error is not None:
                figures.errors += 1
                figures.last_error = report.error
        if invocation is not None and invocation.outcome == "running":
            self._history.finish(invocation, report.outcome, report.error, duration=report.duration)

    def _keep(self, invocation: Invocation, its_id: str) -> Invocation:
        invocation.remote_id = its_id
        self._invocations[its_id] = invocation
        if len(self._invocations) > INVOCATIONS_KEPT:
            oldest = next((i for i, kept in self._invocations.items() if kept.outcome != "running"), None)
            if oldest is not None:
                del self._invocations[oldest]
        return invocation
