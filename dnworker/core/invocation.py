"""`Invocation`: one run of one handler, with its cause, outcome, error, log and events.

Runners make them, the history keeps them, traces and panel show them.
"""

from __future__ import annotations

import contextvars
import itertools
import linecache
import re
import time
import traceback
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from dnworker.core.envelope import EventEnvelope, new_id
from dnworker.core.handlers import HandlerKey
from dnworker.core.locations import location_of
from dnworker.core.logs import LogLine
from dnworker.core.text import clip, valid_text

Outcome = Literal["running", "ok", "error", "cancelled"]
Cause = Literal["startup", "shutdown", "event", "schedule", "task", "turn"]

_PROCESS = new_id()[:8]
_numbers = itertools.count(1)

FRAMES_KEPT = 100
LONGEST_MESSAGE = 10_000
LONGEST_SOURCE = 500
"""Frames of a traceback, characters of an exception's message and of a line of source that are kept."""

LOGS_KEPT = 1_000
EVENTS_KEPT = 10_000
"""Lines of log and published events that an invocation keeps."""

_NOT_THEIRS = frozenset({"dnworker", "dnworker_jupyter", "importlib", "asyncio", "threading", "concurrent"})
"""Modules whose frames are left out of an error: they are not the user's code."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One of the user's frames of a traceback."""

    place: str
    function: str
    source: str


@dataclass(frozen=True, slots=True)
class HandlerError:
    """An exception of a handler as text, with the frames of the user's code only."""

    type: str
    message: str
    frames: tuple[Frame, ...]

    @property
    def place(self) -> str:
        """The location where the user's code raised, such as `cell [3], line 7`."""
        return self.frames[-1].place if self.frames else "outside the worker's code"

    def __str__(self) -> str:
        text = f"{self.type}: {self.message}" if self.message else self.type
        return f"{text} ({self.place})"

    def lines(self) -> list[str]:
        """Return the traceback as lines, innermost last."""
        shown = []
        for frame in self.frames:
            shown.append(f"{frame.place}, in {frame.function}")
            if frame.source:
                shown.append(f"    {frame.source}")
        return [*shown, f"{self.type}: {self.message}" if self.message else self.type]


class Invocation(msgspec.Struct, eq=False, gc=False):
    """One run of one handler.

    `started_at` and `duration` are seconds of the machine's monotonic clock; `duration` is None while
    it runs. `logs` and `published` hold the newest lines and events only: a task may run for days.
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
    logs: Sequence[LogLine] = ()
    published: Sequence[EventEnvelope] = ()
    unhandled: Sequence[HandlerError] = ()
    """Errors of tasks that it started and nobody awaited."""
    key: HandlerKey | None = None
    """The identity of its handler."""
    muted: bool = False
    """Whether its output is kept in `logs` only, and not in the worker's log."""
    remote_id: str | None = None
    """Its id, where a worker process gave it one."""

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
    def label(self) -> str:
        """Worker and handler, such as `bridge.on_turn`."""
        return f"{self.worker}.{self.handler}"

    def note_log(self, line: LogLine) -> None:
        """Keep a line of its output; the oldest lines go first."""
        if not isinstance(self.logs, deque):
            self.logs = deque(maxlen=LOGS_KEPT)  # most invocations print nothing
        self.logs.append(line)

    def note_published(self, envelope: EventEnvelope) -> None:
        """Keep an event that it published; the oldest events go first."""
        if not isinstance(self.published, deque):
            self.published = deque(maxlen=EVENTS_KEPT)
        self.published.append(envelope)

    def end(self, outcome: Outcome, error: HandlerError | None = None) -> None:
        """Note how it ended."""
        self.outcome = outcome
        self.error = error
        self.duration = time.monotonic() - self.started_at


current_invocation: contextvars.ContextVar[Invocation | None] = contextvars.ContextVar(
    "dnworker_invocation", default=None
)
"""The invocation whose handler is running here; output and published events get it as their cause."""

feeds_handlers: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "dnworker_feeds_handlers", default=False
)
"""Whether a subscription made here feeds handlers of a worker that reports its invocations."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")


def read_traceparent(text: str) -> tuple[str, str] | None:
    """Return the ids of trace and parent in a `traceparent` header; None for other text."""
    match = _TRACEPARENT.fullmatch(text)
    return (match[1], match[2]) if match else None


def describe(exc: BaseException) -> HandlerError:
    """Return an exception as text, so that none of its objects is kept alive."""
    frames = []
    for frame, line in traceback.walk_tb(exc.__traceback__):
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] in _NOT_THEIRS:
            continue
        file = frame.f_code.co_filename
        source = clip(linecache.getline(file, line).strip(), LONGEST_SOURCE)
        frames.append(Frame(location_of(file, line), frame.f_code.co_name, source))
    if isinstance(exc, SyntaxError) and exc.filename:  # its location is in no frame
        location = location_of(exc.filename, exc.lineno or 0)
        frames.append(Frame(location, "module", valid_text((exc.text or "").strip())))
        return HandlerError(type(exc).__name__, valid_text(exc.msg), tuple(frames))
    return HandlerError(type(exc).__name__, _message_of(exc), tuple(frames[-FRAMES_KEPT:]))


def _message_of(exc: BaseException) -> str:
    try:
        return clip(str(exc), LONGEST_MESSAGE)
    except Exception as broken:  # somebody else's __str__
        return f"<{type(exc).__name__}.__str__ raised {type(broken).__name__}>"
