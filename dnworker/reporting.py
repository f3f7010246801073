"""The side of a worker process that reports: begins, ends and prints of its handlers (see `reports`)."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dnworker import reports
from dnworker.invocation import Invocation, describe
from dnworker.invocation import current as current_invocation
from dnworker.loglevels import current_level, follow_records
from dnworker.runner import keys_of

if TYPE_CHECKING:
    from dnworker.events import EventEnvelope
    from dnworker.worker import Worker


def reporter_from_environment(worker: Worker) -> Reporter | None:
    """Return a reporter if the runtime that spawned this process listens; its children do not report."""
    return Reporter(worker) if os.environ.pop(reports.VARIABLE, None) == "1" else None


class Reporter:
    """Tells the runtime what handlers do; the `Recorder` of a worker process.

    Everything goes through the one stream that the runtime reads, under a lock: handlers start threads.
    """

    def __init__(self, worker: Worker) -> None:
        self._write = sys.stdout.write
        self._flush = sys.stdout.flush
        self._lock = threading.RLock()
        self._last: reports.Says = reports.Says()
        self._at_line_start = True
        self._keys = {key[2]: key for key in keys_of(worker)}
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            # On the instance: whoever holds the stream already, a log handler or a console, is followed too.
            stream.write = self._writer(name)
        follow_records(lambda record: None)
        self._tell(reports.Hello(keys_of(worker)))

    def begin(self, invocation: Invocation) -> None:
        """Report that it begins."""
        key = self._keys.get(invocation.handler) or (invocation.cause, "", invocation.handler)
        event_id = invocation.event.event_id if invocation.event is not None else None
        self._tell(reports.Begin(invocation.id, key, invocation.cause, event_id))

    def end(
        self, invocation: Invocation, exc: BaseException | None = None, *, cancelled: bool = False
    ) -> None:
        """Report how it ended; what failed stands in the output as well, as it does without a reporter."""
        outcome: Any = "error" if exc else "cancelled" if cancelled else "ok"
        invocation.end(outcome, describe(exc) if exc else None)
        assert invocation.duration is not None
        with self._lock:
            if invocation.error is not None:
                lines = [f"{invocation.label} ({invocation.cause}) failed:", *invocation.error.lines()]
                self._say(reports.Says(invocation.id, "runtime", "error", told=True), "\n".join([*lines, ""]))
            self._tell(reports.End(invocation.id, outcome, invocation.duration, invocation.error))

    def delivered(self, envelope: EventEnvelope) -> None:
        """Report that all invocations of the event have begun."""
        self._tell(reports.Delivered(envelope.event_id))

    def _tell(self, report: reports.Report) -> None:
        with self._lock:
            self._write(reports.encode(report))
            self._flush()

    def _writer(self, source: str) -> Callable[[str], int]:
        def write(text: str) -> int:
            invocation = current_invocation.get()
            level = current_level.get()
            come_from = source if level is None else "log"
            says = reports.Says(invocation.id if invocation else None, come_from, level or "info")
            self._say(says, text)
            return len(text)

        return write

    def _say(self, says: reports.Says, text: str) -> None:
        if not text:
            return
        with self._lock:
            if self._at_line_start and says != self._last:
                self._write(reports.encode(says))
                self._last = says
            self._write(text)
            self._at_line_start = text.endswith("\n")
            if self._at_line_start:
                self._flush()
