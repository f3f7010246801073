"""Runs in a worker process: reports when handlers begin, end and print (format: `reports.py`)."""

from __future__ import annotations

import contextvars
import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dnworker.core.handler_error import describe
from dnworker.core.handlers import HandlerKey
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.log_records import Emission, current_emission, follow_records
from dnworker.workers import reports
from dnworker.workers.recorders import log_failure, log_hint
from dnworker.workers.registry import HandlerRegistry, keys_of

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope

_NOBODYS = reports.Says()
_telling: contextvars.ContextVar[str | None] = contextvars.ContextVar("dnworker_telling", default=None)
"""The invocation whose failure is being logged here."""


def reporter_from_environment(worker: HandlerRegistry) -> Reporter | None:
    """Return a reporter if the runtime that spawned this process listens; its children do not report."""
    word, wanted = os.environ.pop(reports.VARIABLE, None), os.environ.pop(reports.LOCALS, "0")
    return Reporter(worker, word, with_locals=wanted == "1") if word else None


class Reporter:
    """Reports to the runtime what handlers do; the `Recorder` of a worker process.

    Everything goes through the one stream that the runtime reads, under a lock: handlers start threads.

    Args:
        worker: whose handlers they are.
        word: that the runtime knows its reports by.
        with_locals: whether errors have the values of variables; what is logged never has.
    """

    def __init__(self, worker: HandlerRegistry, word: str, *, with_locals: bool = False) -> None:
        self._word = word
        self._with_locals = with_locals
        self._write = sys.stdout.write
        self._flush = sys.stdout.flush
        self._lock = threading.RLock()
        self._last = _NOBODYS
        self._at_line_start = True
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            # On the instance: whoever holds the stream already, a log handler or a console, is followed too.
            stream.write = self._writer(name)
        follow_records(lambda record, emission: None)
        self._tell(reports.Hello(keys_of(worker)))

    def begin(self, invocation: Invocation) -> None:
        """Report that it begins."""
        key = invocation.key or HandlerKey(invocation.cause, "", invocation.handler)
        event_id = invocation.event.event_id if invocation.event is not None else None
        self._tell(reports.Begin(invocation.id, key, invocation.cause, event_id))

    def end(
        self, invocation: Invocation, exc: BaseException | None = None, *, cancelled: bool = False
    ) -> None:
        """Report how it ended; what failed is logged as well, as it is without a reporter."""
        outcome: Any = "error" if exc else "cancelled" if cancelled else "ok"
        invocation.end(outcome, describe(exc, with_locals=self._with_locals) if exc else None)
        token = _telling.set(invocation.id)
        try:
            log_failure(invocation)  # marked as logged: the runtime makes lines of its own of the report
        finally:  # not under our lock: a thread that logs holds that of `logging`, and waits for ours
            _telling.reset(token)
        with self._lock:
            self._say(_NOBODYS, "")
            took, warnings = invocation.duration or 0.0, list(invocation.warnings)
            self._tell(reports.End(invocation.id, outcome, took, invocation.error, warnings))

    def hint(self, invocation: Invocation, text: str) -> None:
        """Log what a handler does in vain."""
        log_hint(invocation, text)

    def delivered(self, envelope: EventEnvelope) -> None:
        """Report that all invocations of the event have begun."""
        self._tell(reports.Delivered(envelope.event_id))

    def _tell(self, report: reports.Report) -> None:
        with self._lock:
            self._write(reports.encode(report, self._word))
            self._flush()

    def _writer(self, source: str) -> Callable[[str], int]:
        def write(text: str) -> int:
            self._say(self._says(source), text)
            return len(text)

        return write

    def _says(self, source: str) -> reports.Says:
        if (failed := _telling.get()) is not None:
            return reports.Says(failed, "runtime", "error", is_logged=True)
        invocation: Invocation | None = current_invocation.get()
        emission: Emission | None = current_emission.get()
        if emission is not None:
            source, level = "log", emission.level
        else:
            level = "info"
        return reports.Says(invocation.id if invocation else None, source, level)

    def _say(self, says: reports.Says, text: str) -> None:
        with self._lock:
            if says.is_logged and not self._at_line_start:
                self._write("\n")  # the line that the failure cut off stays a line of its own
                self._at_line_start = True
            if self._at_line_start and says != self._last:
                self._write(reports.encode(says, self._word))
                self._last = says
            if text:
                self._write(text)
                self._at_line_start = text.endswith("\n")
            self._flush()
