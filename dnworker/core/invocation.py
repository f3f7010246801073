"""One run of one handler: what started it, how it ended, what it said and what it caused."""

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
"""Characters of an exception's text, and of a line of source, that are kept."""

LOGS_KEPT = 1_000
EVENTS_KEPT = 10_000

_NOT_THEIRS = frozenset({"dnworker", "dnworker_jupyter", "importlib", "asyncio", "threading", "concurrent"})
"""Modules whose frames tell a user nothing of the error."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One of the user's frames of a traceback."""

    place: str
    function: str
    source: str


@dataclass(frozen=True, slots=True)
class HandlerError:
    """An exception of a handler, as the user wants to read it: frames of ours left out."""

    type: str
    message: str
    frames: tuple[Frame, ...]

    @property
    def place(self) -> str:
        """Where the user's code raised, such as `cell [3], line 7`."""
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
    it runs. `logs` and `published` hold the newest of what it said and published: a task may run for days.
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
    """What tasks that it started, and nobody awaited, raised."""
    key: HandlerKey | None = None
    """Its handler's identity: decorator, kind or schedule, function name."""
    muted: bool = False
    """What it says is kept with it alone, and stands in no log."""
    remote_id: str | None = None
    """Its name in the worker process that it runs in."""

    @property
    def id(self) -> str:
        """Its name, unique beyond this process: 16 hexadecimal digits."""
        return self.remote_id or f"{_PROCESS}{self.number:08x}"

    @property
    def traceparent(self) -> str:
        """Who causes what is asked for here, as a header of W3C Trace Context.

        The trace is named by the event that is handled, whose id has the 32 digits that are wanted.
        """
        trace = self.event.event_id if self.event is not None else self.id * 2
        return f"00-{trace}-{self.id}-01"

    @property
    def label(self) -> str:
        """Worker and handler, such as `bridge.on_turn`."""
        return f"{self.worker}.{self.handler}"

    def note_log(self, line: LogLine) -> None:
        """Keep what it said; the oldest lines go first."""
        if not isinstance(self.logs, deque):
            self.logs = deque(maxlen=LOGS_KEPT)  # most invocations say nothing
        self.logs.append(line)

    def note_published(self, envelope: EventEnvelope) -> None:
        """Keep what it published; the oldest events go first."""
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
"""The invocation whose handler is running here, by which output and published events find their cause."""


feeds_handlers: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "dnworker_feeds_handlers", default=False
)
"""Whether what is subscribed to here goes to a worker's handlers, which report, and to nobody else."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")


def read_traceparent(text: str) -> tuple[str, str] | None:
    """Return the ids of trace and parent in a `traceparent` header; None for what is none."""
    match = _TRACEPARENT.fullmatch(text)
    return (match[1], match[2]) if match else None


def describe(exc: BaseException) -> HandlerError:
    """Keep what a user needs of an exception, and none of its objects."""
    frames = []
    for frame, line in traceback.walk_tb(exc.__traceback__):
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] in _NOT_THEIRS:
            continue
        file = frame.f_code.co_filename
        source = clip(linecache.getline(file, line).strip(), LONGEST_SOURCE)
        frames.append(Frame(location_of(file, line), frame.f_code.co_name, source))
    if isinstance(exc, SyntaxError) and exc.filename:  # its place is in no frame
        place = location_of(exc.filename, exc.lineno or 0)
        frames.append(Frame(place, "module", valid_text((exc.text or "").strip())))
        return HandlerError(type(exc).__name__, valid_text(exc.msg), tuple(frames))
    return HandlerError(type(exc).__name__, _message_of(exc), tuple(frames[-FRAMES_KEPT:]))


def _message_of(exc: BaseException) -> str:
    try:
        return clip(str(exc), LONGEST_MESSAGE)
    except Exception as broken:  # somebody else's __str__
        return f"<{type(exc).__name__}.__str__ raised {type(broken).__name__}>"
