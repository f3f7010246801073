"""`Invocation`: one run of one handler, with its cause, outcome, error, log and events.

Runners make them, the history keeps them, traces and panel show them.
"""

from __future__ import annotations

import contextvars
import itertools
import re
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from sys import getsizeof
from typing import TYPE_CHECKING, Literal
from weakref import ref

import msgspec
from msgspec.structs import replace

from dnworker.core.envelope import EventEnvelope
from dnworker.core.handler_error import HandlerError, bytes_of_error
from dnworker.core.handlers import HandlerKey
from dnworker.core.ids import new_id

if TYPE_CHECKING:
    from dnworker.core.logs import LogLine

Outcome = Literal["running", "ok", "warning", "error", "cancelled"]
"""How a run stands; `warning` is one that raised nothing, and in which something was not done."""

Cause = Literal["startup", "shutdown", "event", "schedule", "task", "turn"]

_PROCESS = new_id()[:8]
_numbers = itertools.count(1)

LOGS_KEPT = 1_000
EVENTS_KEPT = 10_000
"""Lines of log and published events that an invocation keeps."""

MUTED_KEPT = 1_000_000
"""Bytes of log that a muted invocation keeps; the lines of others are in the log, and only there."""

UNHANDLED_KEPT = 100
"""Errors of tasks that nobody awaited that an invocation keeps; the log has all."""


NOTES_KEPT = 10
"""What rules did with its event that an invocation keeps."""

REQUESTS_KEPT = 50
"""What it had the runtime change that an invocation keeps; the first."""

WARNINGS_KEPT = 20
"""Warnings that an invocation keeps; those that say the same count as one."""


class HandlerWarning(msgspec.Struct, frozen=True):
    """A mistake in a handler, with the one way out; `place` is where it is, such as `cell [3], line 7`."""

    place: str
    text: str
    times: int = 1
    """How often it was made."""

    def __str__(self) -> str:
        often = f" ({self.times:,} times)" if self.times > 1 else ""
        return f"{self.place}: {self.text}{often}" if self.place else f"{self.text}{often}"


class Invocation(msgspec.Struct, eq=False, gc=False):
    """One run of one handler.

    `started_at` and `duration` are seconds of the machine's monotonic clock; `duration` is None while
    it runs. `logs` and `published` hold the newest lines and events only: a task may run for days. A line is
    gone from `logs`, too, when the log has dropped it.
    """

    worker: str
    handler: str
    cause: Cause
    event: EventEnvelope | None = None
    generation: int = 1
    number: int = msgspec.field(default_factory=_numbers.__next__)
    outcome: Outcome = "running"
    error: HandlerError | None = None
    started_at: float = msgspec.field(default_factory=time.monotonic)
    duration: float | None = None
    published: Sequence[EventEnvelope] = ()
    unhandled: Sequence[HandlerError] = ()
    """Errors of tasks that it started and nobody awaited."""
    warnings: Sequence[HandlerWarning] = ()
    """Mistakes that were noticed in it: what was not done, and for an error how it is put right."""
    key: HandlerKey | None = None
    """The identity of its handler."""
    delivery: int = 1
    """How often its worker was given the event by then; more than once only by a durable broker."""
    muted: bool = False
    """Whether its output is kept in `logs` only, and not in the worker's log."""
    remote_id: str | None = None
    """Its id, where a worker process or another node gave it one."""
    node: str | None = None
    """The node on which it runs; None where the runtime shares its broker with no other."""
    is_elsewhere: bool = False
    """Whether that is another node, which reports it."""
    parent: str | None = None
    """The `traceparent` with which its event was published, where the runtime shares its broker."""
    kept_bytes: int = 0
    """Bytes that the history counts it with."""
    stopped_for: float = 0.0
    """Seconds for which a debugger held it, which are no part of its duration."""
    lines_noted: int = 0
    """Lines that it has written, those that are not kept among them."""
    state_changes: Sequence[str] = ()
    """What it has changed in its worker's state, such as `count 1 -> 2`; empty where nobody looked."""
    notes: Sequence[str] = ()
    """What rules of `dnworker.patterns` did with its event: which others one run has handled with it."""
    requests: Sequence[str] = ()
    """What it had the runtime change, such as the title of a session; not publishing and turns."""
    _lines: deque[LogLine | ref[LogLine]] | None = None
    _muted_size: int = 0

    @property
    def id(self) -> str:
        """Its id, unique beyond this process: 16 hexadecimal digits."""
        return self.remote_id or f"{_PROCESS}{self.number:08x}"

    @property
    def traceparent(self) -> str:
        """The header of W3C Trace Context that names this invocation as the cause of a request.

        The trace id is the id of the handled event, which has the 32 digits that the format wants.
        """
        trace = self.event.event_id if self.event is not None else self.id * 2
        return f"00-{trace}-{self.id}-01"

    @property
    def trace_id(self) -> str:
        """The id, 32 hexadecimal digits, that all invocations have in common which one event began."""
        if self.parent is not None and (read := read_traceparent(self.parent)) is not None:
            return read[0]
        event_id = "" if self.event is None else self.event.event_id
        return event_id if _TRACE_ID.fullmatch(event_id) else self.id * 2

    @property
    def span_context(self) -> str:
        """The header of W3C Trace Context with which it publishes: the trace goes on over all nodes."""
        return f"00-{self.trace_id}-{self.id}-01"

    @property
    def label(self) -> str:
        """Worker and handler, such as `bridge.on_turn`."""
        return f"{self.worker}.{self.handler}"

    @property
    def logs(self) -> list[LogLine]:
        """The newest lines of its output that are kept, oldest first."""
        held = [one() if isinstance(one, ref) else one for one in list(self._lines or ())]
        return [line for line in held if line is not None]

    def note_log(self, line: LogLine) -> None:
        """Note a line of its output; the oldest lines go first.

        A line of a muted invocation is kept here, others by the log: an invocation must not keep them alive.
        """
        if self._lines is None:
            self._lines = deque(maxlen=LOGS_KEPT)  # most invocations print nothing
        self.lines_noted += 1
        if not self.muted:
            self._lines.append(ref(line))
            return
        from dnworker.core.logs import bytes_of  # there is a log in a runtime, and not in its processes

        self._lines.append(line)
        self._muted_size += bytes_of(line)
        while self._muted_size > MUTED_KEPT and len(self._lines) > 1:
            oldest = self._lines.popleft()
            self._muted_size -= 0 if isinstance(oldest, ref) else bytes_of(oldest)

    def note(self, text: str) -> None:
        """Keep what a rule did with its event; the oldest goes first."""
        self.notes = (*self.notes[1 - NOTES_KEPT :], text)

    def note_request(self, text: str) -> None:
        """Keep what it had the runtime change, up to a number."""
        if len(self.requests) < REQUESTS_KEPT:
            self.requests = (*self.requests, text)

    def note_published(self, envelope: EventEnvelope) -> None:
        """Keep an event that it published; the oldest events go first."""
        if not isinstance(self.published, deque):
            self.published = deque(maxlen=EVENTS_KEPT)
        self.published.append(envelope)

    def note_unhandled(self, error: HandlerError) -> None:
        """Keep an error of a task that it started; the oldest go first."""
        self.unhandled = (*self.unhandled[1 - UNHANDLED_KEPT :], error)

    def note_warning(self, warning: HandlerWarning) -> None:
        """Keep a mistake, on any thread; a run that went well otherwise has the outcome `warning` then."""
        kept = list(self.warnings)
        for n, known in enumerate(kept):
            if (known.place, known.text) == (warning.place, warning.text):
                kept[n] = replace(known, times=known.times + warning.times)
                break
        else:
            if len(kept) < WARNINGS_KEPT:
                kept.append(warning)
        self.warnings = tuple(kept)
        if self.outcome == "ok":
            self.outcome = "warning"

    @property
    def is_plain(self) -> bool:
        """Whether it takes no more than every invocation does."""
        return (
            self.error is None
            and not self.published
            and self._lines is None
            and not self.unhandled
            and not self.warnings
            and not self.state_changes
            and not self.notes
            and not self.requests
        )

    def bytes_used(self) -> int:
        """Return the bytes of memory that it takes, without its event and the lines that the log keeps."""
        errors = self.unhandled if self.error is None else (self.error, *self.unhandled)
        used = INVOCATION_BYTES + _PER_EVENT * len(self.published) + self._muted_size
        if self._lines is not None:
            used += _PER_LINE * len(self._lines)
        for warning in self.warnings:
            used += _PER_LINE + len(warning.place) + len(warning.text)
        if self.state_changes:
            used += sum(map(getsizeof, self.state_changes))
        if self.notes:
            used += sum(map(getsizeof, self.notes))
        if self.requests:
            used += sum(map(getsizeof, self.requests))
        return used + sum(map(bytes_of_error, errors)) if errors else used

    def end(self, outcome: Outcome, error: HandlerError | None = None) -> None:
        """Note how it ended; what ended well in which a mistake was noticed, ends in a warning."""
        self.outcome = "warning" if outcome == "ok" and self.warnings else outcome
        self.error = error
        self.duration = max(0.0, time.monotonic() - self.started_at - self.stopped_for)


INVOCATION_BYTES = 900
"""Bytes of an invocation that has no error, no line and no event."""

_PER_EVENT, _PER_LINE = 500, 120
"""Bytes of an event that only it remembers, and of a line that the log keeps."""


current_invocation: contextvars.ContextVar[Invocation | None] = contextvars.ContextVar(
    "dnworker_invocation", default=None
)
"""The invocation whose handler is running here; output and published events get it as their cause."""


def note_request(text: str) -> None:
    """Note what is changed in the runtime here, with the invocation that asks for it."""
    invocation = current_invocation.get()
    if invocation is not None:
        invocation.note_request(text if len(text) <= 300 else f"{text[:299]}…")


feeds_handlers: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "dnworker_feeds_handlers", default=False
)
"""Whether a subscription made here feeds handlers of a worker that reports its invocations."""

published_with: contextvars.ContextVar[str | None] = contextvars.ContextVar(
    "dnworker_published_with", default=None
)
"""The `traceparent` of the event that is delivered here; who notes events keeps it with them."""

published_via: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar(
    "dnworker_published_via", default=()
)
"""The ids of the runtimes by which a copy has come that is published or delivered here, the first first."""

published_elsewhere: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "dnworker_published_elsewhere", default=False
)
"""Whether the event that is delivered here was published by another runtime, which shares the broker."""


@contextmanager
def published_as(traceparent: str | None) -> Iterator[None]:
    """Say with which `traceparent` the event was published that is delivered in the block."""
    token = published_with.set(traceparent)
    try:
        yield
    finally:
        published_with.reset(token)


def traceparent_here() -> str | None:
    """Return the header with which an event that is published here goes on: of its handler or its request."""
    invocation = current_invocation.get()
    return published_with.get() if invocation is None else invocation.span_context


_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")


def read_traceparent(text: str) -> tuple[str, str] | None:
    """Return the ids of trace and parent in a `traceparent` header; None for other text."""
    match = _TRACEPARENT.fullmatch(text)
    return (match[1], match[2]) if match else None
