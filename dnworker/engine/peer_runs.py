"""`PeerRuns`: enters the invocations that other nodes report into the history; a part of `elsewhere.py`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from dnworker.core.frames import LONGEST_NAME, LONGEST_SOURCE
from dnworker.core.handler_error import HandlerError, within_bounds
from dnworker.core.handlers import HandlerKey
from dnworker.core.invocation import HandlerWarning, Invocation, Outcome
from dnworker.core.logs import LogLine
from dnworker.core.text import clip, shorten
from dnworker.engine import node_reports
from dnworker.engine.orphans import Orphans
from dnworker.engine.peers import RUNNING_KNOWN, Peer
from dnworker.events.history import History

log = logging.getLogger("dnworker.cluster")


class PeerRuns:
    """Begins and ends invocations that run elsewhere.

    Args:
        history: has the invocations.
        orphans: hears which workers have begun with an event.
        counts: returns whether an invocation comes of an event that this node has published.
    """

    def __init__(self, history: History, orphans: Orphans, counts: Callable[[Invocation], bool]) -> None:
        self._history, self._orphans, self._counts = history, orphans, counts

    def begin(self, peer: Peer, report: node_reports.Began, since: float) -> None:
        """Begin an invocation; `since` is when its report was to come, by the machine's monotonic clock."""
        if (known := peer.invocations.get(report.id)) is not None:
            known.handler = shorten(report.handler, LONGEST_NAME)
            if known.outcome != "running":
                self._reopen(peer, report.id, known)
            return
        if len(peer.running) >= RUNNING_KNOWN:
            peer.unknown += 1
            if peer.unknown & (peer.unknown - 1) == 0:
                say = "node %s runs more than %d handlers at once: %d are missing here"
                log.warning(say, peer.node, RUNNING_KNOWN, peer.unknown)
            return
        event = None
        if (ref := report.event) is not None:
            event = self._history.event(ref.id) or node_reports.stand_in(ref)
        made = Invocation(
            worker=shorten(report.worker, LONGEST_NAME),
            handler=shorten(report.handler, LONGEST_NAME),
            cause=report.cause,
            event=event,
            generation=report.generation,
            key=None if report.key is None else _bounded_key(report.key),
            delivery=report.delivery,
            started_at=since - max(0.0, report.age),
            muted=True,  # its lines are kept in it, as no log here has them
            remote_id=shorten(report.id, LONGEST_NAME),
            node=peer.node,
            is_elsewhere=True,
        )
        peer.keep(report.id, made)
        self._history.begin_elsewhere(made)
        if event is not None:
            self._orphans.note_taken(event.event_id, made.worker)

    def _reopen(self, peer: Peer, its_id: str, invocation: Invocation) -> None:
        """Note that an invocation runs which counted as ended: its node was not heard of for some time."""
        invocation.warnings = ()
        peer.running[its_id] = None
        self._history.reopen(invocation)

    def end(self, peer: Peer, report: node_reports.Ended, since: float) -> None:
        """End an invocation; `since` as of `begin`."""
        if (invocation := peer.invocations.get(report.id)) is None or report.outcome == "running":
            return
        if report.id not in peer.running:
            self._reopen(peer, report.id, invocation)
        invocation.handler = shorten(report.handler, LONGEST_NAME)
        for one in node_reports.taken_warnings(report.warnings):
            invocation.note_warning(one)
        for error in report.unhandled[: node_reports.TEXTS_TOLD]:
            self.note_unhandled(invocation, error)
        self._note_lines(invocation, report)
        changes = report.changes[: node_reports.TEXTS_TOLD]
        invocation.state_changes = tuple(clip(text, LONGEST_SOURCE) for text in changes)
        self._finish(peer, report.id, invocation, report.outcome, report, since=since)

    def note_unhandled(self, invocation: Invocation, error: HandlerError) -> None:
        """Note an error of something that an invocation started; `settle` raises it where it counts."""
        found = within_bounds(error)
        if self._counts(invocation):
            self._history.unhandled(invocation, found, f"a task it started on {invocation.node}")
        else:
            invocation.note_unhandled(found)

    def _note_lines(self, invocation: Invocation, report: node_reports.Ended) -> None:
        event_id = None if invocation.event is None else invocation.event.event_id
        for source, level, text in report.lines[: node_reports.LINES_TOLD]:
            text = clip(text, node_reports.LINE_TOLD)
            line = LogLine(0, invocation.worker, source, text, level, invocation.id, event_id)
            invocation.note_log(line)
        invocation.lines_noted = max(invocation.lines_noted, report.lines_noted)

    def _finish(
        self,
        peer: Peer,
        its_id: str,
        invocation: Invocation,
        outcome: Outcome,
        report: node_reports.Ended | None = None,
        *,
        since: float | None = None,
    ) -> None:
        peer.running.pop(its_id, None)
        now = time.monotonic()
        ran = max(0.0, now - invocation.started_at)
        if outcome == "cancelled":
            peer.cancelled.append((now if since is None else since, invocation))
        self._history.finish_elsewhere(
            invocation,
            outcome,
            None if report is None else None if report.error is None else within_bounds(report.error),
            ran if report is None else max(0.0, report.duration),
            is_raised=self._counts(invocation),
        )

    def compare_running(self, peer: Peer, running: frozenset[str]) -> None:
        """End what the node says no more that it runs: the report of that end is lost."""
        for its_id in [*peer.running]:
            if its_id not in running:
                text = f"how it ended is not known: reports of node {peer.node} are lost"
                self.end_unknown(peer, its_id, text)
        for its_id in running - peer.running.keys():
            if (known := peer.invocations.get(its_id)) is not None and known.outcome == "cancelled":
                self._reopen(peer, its_id, known)  # the node counted as gone

    def end_unknown(self, peer: Peer, its_id: str, text: str) -> None:
        invocation = peer.invocations[its_id]
        invocation.note_warning(HandlerWarning("", text))
        self._finish(peer, its_id, invocation, "cancelled")


def _bounded_key(key: HandlerKey) -> HandlerKey:
    return HandlerKey(*(shorten(text, LONGEST_NAME) for text in key))
