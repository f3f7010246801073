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
from dnworker.workers.declarations import declared_payloads
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
    os.environ.pop(reports.OBSERVE, None)
    pipe = os.environ.pop(reports.OUTPUT, None)
    if not word or (pipe is not None and pipe != _output()):
        return None
    return Reporter(worker, word, with_locals=wanted == "1")


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
        self._last: reports.Says | None = _NOBODYS
        self._at_line_start = True
        self._is_shared = False
        """Whether a forked process may write to the same stream, and so change whose the text is."""
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_parent=self._after_fork, after_in_child=self._after_fork_in_child)
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            # On the instance: whoever holds the stream already, a log handler or a console, is followed too.
            stream.write = self._writer(name)
        follow_records(lambda record, emission: None)
        threading.Thread.start = _on_behalf(threading.Thread.start)  # type: ignore[method-assign,assignment]
        self._tell(reports.Hello(keys_of(worker), declared=declared_payloads(worker)))

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

    def _after_fork(self) -> None:
        self._is_shared = True

    def _after_fork_in_child(self) -> None:
        self._is_shared = True
        self._lock = threading.RLock()  # another thread may have held it, which is none of the child's

    def _writer(self, source: str) -> Callable[[str], int]:
        def write(text: str) -> int:
            self._say(self._says(source), text)
            return len(text)

        return write

    def _says(self, source: str) -> reports.Says:
        if (failed := _telling.get()) is not None:
            return reports.Says(failed, "runtime", "error", True)
        invocation: Invocation | None = current_invocation.get()
        emission: Emission | None = current_emission.get()
        if emission is not None:
            source, level = "log", emission.level
        else:
            level = "info"
        # The process's own id is in it, too: a forked child has threads of the same numbers.
        by = threading.get_ident() ^ os.getpid() if self._is_shared or not _is_main_thread() else 0
        return reports.Says(invocation.id if invocation else None, source, level, False, by)

    def _say(self, says: reports.Says, text: str) -> None:
        with self._lock:
            if says.is_logged and not self._at_line_start:
                self._write("\n")  # the line that the failure cut off stays a line of its own
                self._at_line_start = True
            if says != self._last or self._is_shared:
                # In one write with the text: others may write in between.
                self._write(reports.encode(says, self._word) + text)
                self._last = says
            elif text:
                self._write(text)
            if text:
                self._at_line_start = text.endswith("\n")
            self._flush()


def _output() -> str | None:
    """Return what tells the file of standard output from others; None where it is no file."""
    try:
        return reports.identity(sys.stdout.fileno())
    except (AttributeError, OSError, ValueError):
        return None


def _on_behalf(original: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    """Return a `Thread.start` by which a thread prints for the handler that starts it; not one of a pool."""

    def start(thread: threading.Thread) -> None:
        invocation = current_invocation.get()
        pools = sys.modules.get("concurrent.futures.thread")
        is_pools = pools is not None and getattr(thread, "_target", None) is pools._worker
        if invocation is not None and not is_pools:
            run = thread.run

            def run_on_behalf() -> None:
                current_invocation.set(invocation)
                run()

            thread.run = run_on_behalf  # type: ignore[method-assign]
        original(thread)

    return start


def _is_main_thread() -> bool:
    return threading.get_ident() == threading.main_thread().ident
