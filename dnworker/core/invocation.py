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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from sys import getsizeof
from typing import Any, Literal
from weakref import ref

import msgspec

from dnworker.core.envelope import EventEnvelope, new_id
from dnworker.core.handlers import HandlerKey
from dnworker.core.locations import location_of
from dnworker.core.logs import LogLine, bytes_of
from dnworker.core.text import clip, shorten, valid_text

Outcome = Literal["running", "ok", "error", "cancelled"]
Cause = Literal["startup", "shutdown", "event", "schedule", "task", "turn"]

_PROCESS = new_id()[:8]
_numbers = itertools.count(1)

FRAMES_KEPT = 100
LONGEST_MESSAGE = 10_000
LONGEST_SOURCE = 500
"""Frames of a traceback, characters of an exception's message and of a line of source that are kept."""

LONGEST_NAME = 200
MEMBERS_SHOWN = 5
MEMBERS_LOOKED_AT = 100
"""Characters of the name of an exception's class, and members of a group of exceptions that are kept; members
that are looked at, as a group may hold groups without end."""

# What the interpreter itself knows of an exception: a class may put properties in the place of these.
BASE_TRACEBACK: Any = BaseException.__dict__["__traceback__"]
_MEMBERS: Any = BaseExceptionGroup.__dict__["exceptions"]
_CLASS_NAME: Any = type.__dict__["__name__"]

LOGS_KEPT = 1_000
EVENTS_KEPT = 10_000
"""Lines of log and published events that an invocation keeps."""

MUTED_KEPT = 1_000_000
"""Bytes of log that a muted invocation keeps; the lines of others are in the log, and only there."""

UNHANDLED_KEPT = 100
"""Errors of tasks that nobody awaited that an invocation keeps; the log has all."""

LONGEST_NAME = 200
"""Characters of the name of a type or function that are kept of an error."""

_NOTE_OF_CUT = 60  # characters that `clip` adds to what it has cut

NOT_THEIRS = frozenset({"dnworker", "dnworker_jupyter", "importlib", "asyncio", "threading", "concurrent"})
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
    key: HandlerKey | None = None
    """The identity of its handler."""
    muted: bool = False
    """Whether its output is kept in `logs` only, and not in the worker's log."""
    remote_id: str | None = None
    """Its id, where a worker process gave it one."""
    kept_bytes: int = 0
    """Bytes that the history counts it with."""
    lines_noted: int = 0
    """Lines that it has written, those that are not kept among them."""
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
    def label(self) -> str:
        """Worker and handler, such as `bridge.on_turn`."""
        return f"{self.worker}.{self.handler}"

    @property
    def logs(self) -> list[LogLine]:
        """The newest lines of its output that are kept, oldest first."""
        held = [one if isinstance(one, LogLine) else one() for one in list(self._lines or ())]
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
        self._lines.append(line)
        self._muted_size += bytes_of(line)
        while self._muted_size > MUTED_KEPT and len(self._lines) > 1:
            oldest = self._lines.popleft()
            self._muted_size -= bytes_of(oldest) if isinstance(oldest, LogLine) else 0

    def note_published(self, envelope: EventEnvelope) -> None:
        """Keep an event that it published; the oldest events go first."""
        if not isinstance(self.published, deque):
            self.published = deque(maxlen=EVENTS_KEPT)
        self.published.append(envelope)

    def note_unhandled(self, error: HandlerError) -> None:
        """Keep an error of a task that it started; the oldest go first."""
        self.unhandled = (*self.unhandled[1 - UNHANDLED_KEPT :], error)

    @property
    def is_plain(self) -> bool:
        """Whether it takes no more than every invocation does."""
        return self.error is None and not self.published and self._lines is None and not self.unhandled

    def bytes_used(self) -> int:
        """Return the bytes of memory that it takes, without its event and the lines that the log keeps."""
        errors = self.unhandled if self.error is None else (self.error, *self.unhandled)
        used = INVOCATION_BYTES + _PER_EVENT * len(self.published) + self._muted_size
        if self._lines is not None:
            used += _PER_LINE * len(self._lines)
        return used + sum(map(_bytes_of_error, errors)) if errors else used

    def end(self, outcome: Outcome, error: HandlerError | None = None) -> None:
        """Note how it ended."""
        self.outcome = outcome
        self.error = error
        self.duration = time.monotonic() - self.started_at


INVOCATION_BYTES = 900
"""Bytes of an invocation that has no error, no line and no event."""

_PER_EVENT, _PER_LINE, _PER_FRAME = 500, 120, 200
"""Bytes of an event that only it remembers, of a line that the log keeps, of a frame without its texts."""


def _bytes_of_error(error: HandlerError) -> int:
    frames = sum(
        _PER_FRAME + getsizeof(frame.place) + getsizeof(frame.function) + getsizeof(frame.source)
        for frame in error.frames
    )
    return _PER_FRAME + getsizeof(error.type) + getsizeof(error.message) + frames


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
    """Return an exception as text, so that none of its objects is kept alive; never raises.

    The exception is somebody else's object: nothing of it is used that its class may have replaced by code.
    """
    name, message, frames = type_name(exc), message_of(exc), _frames_of(exc)
    if issubclass(type(exc), SyntaxError):  # its location is in no frame
        file, line = _text(_attribute(exc, "filename")), _attribute(exc, "lineno")
        if file:
            source = _text(_attribute(exc, "text")).strip()[:LONGEST_SOURCE]
            frames.append(Frame(location_of(file, line if type(line) is int else 0), "module", source))
            message = _text(_attribute(exc, "msg")) or message
    return HandlerError(name, message, tuple(frames[-FRAMES_KEPT:]))


def type_name(exc: BaseException) -> str:
    """Return the name of an exception's class, whatever its metaclass says."""
    name: str = _CLASS_NAME.__get__(type(exc))
    return clip(name, LONGEST_NAME)


def message_of(exc: BaseException) -> str:
    """Return what an exception says, as valid text of bounded length; never raises.

    Of a group it is what the group says, and then what its first members are and where they were raised.
    """
    message = _str_of(exc)
    if not issubclass(type(exc), BaseExceptionGroup):
        return message
    return clip(f"{message}: {'; '.join(_members_of(exc))}", LONGEST_MESSAGE)


def says_something(exc: BaseException) -> bool:
    """Return whether `str()` of an exception gives text."""
    try:
        return bool(str(exc))
    except BaseException:  # somebody else's __str__
        return False


def _str_of(exc: BaseException) -> str:
    try:
        return _text(str(exc))
    except BaseException as broken:  # somebody else's __str__: it may even say sys.exit()
        return f"<{type_name(exc)}.__str__ raised {type_name(broken)}>"


def _frames_of(exc: BaseException) -> list[Frame]:
    frames = []
    for frame, line in traceback.walk_tb(BASE_TRACEBACK.__get__(exc)):
        module = frame.f_globals.get("__name__", "")
        if isinstance(module, str) and module.partition(".")[0] in NOT_THEIRS:
            continue
        file = frame.f_code.co_filename
        source = clip(_line_of(file, line).strip(), LONGEST_SOURCE)
        place = clip(location_of(file, line), LONGEST_SOURCE)
        frames.append(Frame(place, shorten(frame.f_code.co_name, LONGEST_NAME), source))
    return frames


def within_bounds(error: HandlerError) -> HandlerError:
    """Return an error that a worker process describes, cut as `describe` cuts those of this process."""

    def cut(text: str, longest: int) -> str:
        return text if len(text) <= longest + _NOTE_OF_CUT else clip(text, longest)

    frames = tuple(
        Frame(cut(f.place, LONGEST_SOURCE), shorten(f.function, LONGEST_NAME), cut(f.source, LONGEST_SOURCE))
        for f in error.frames[-FRAMES_KEPT:]
    )
    return HandlerError(shorten(error.type, LONGEST_NAME), cut(error.message, LONGEST_MESSAGE), frames)


def _line_of(file: str, line: int) -> str:
    """Return a line of source; code may have the name of a device or pipe, which has no lines."""
    path = Path(file)
    if file not in linecache.cache and path.exists() and not path.is_file():
        return ""
    return linecache.getline(file, line)


def _members_of(group: BaseException) -> Iterator[str]:
    """Yield a line for each of the first exceptions in a group, those of groups in it included."""
    waiting, shown = deque([group]), 0
    for _ in range(MEMBERS_LOOKED_AT):
        if not waiting or shown == MEMBERS_SHOWN:
            return
        exc = waiting.popleft()
        if issubclass(type(exc), BaseExceptionGroup):
            waiting.extend(_MEMBERS.__get__(exc)[:MEMBERS_SHOWN])
            continue
        shown += 1
        place = f" ({frames[-1].place})" if (frames := _frames_of(exc)) else ""
        yield f"{type_name(exc)}: {clip(_str_of(exc), LONGEST_SOURCE)}{place}"


def _attribute(exc: BaseException, attribute: str) -> object:
    try:
        return getattr(exc, attribute, None)
    except BaseException:  # a property of somebody else's class
        return None


def _text(value: object) -> str:
    """Return text as an exact `str` that is valid and not too long; what is no text gives none."""
    if not issubclass(type(value), str):
        return ""
    # Of a subclass, no method of its own is called: a slice of `str` itself makes a plain one.
    text = str.__getitem__(value, slice(LONGEST_MESSAGE))  # type: ignore[index]  # checked without isinstance(), which asks the object
    cut = str.__len__(value) - LONGEST_MESSAGE  # type: ignore[arg-type]  # likewise
    return valid_text(text) if cut <= 0 else f"{valid_text(text)} [cut: {cut:,} more characters]"
