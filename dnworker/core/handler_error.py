"""`HandlerError`: an exception as text, with the frames of the user's code; `describe` makes it."""

from __future__ import annotations

import linecache
import traceback
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from sys import getsizeof
from typing import Any

from dnworker.core.locations import location_of
from dnworker.core.text import clip, shorten, valid_text

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

_NOTE_OF_CUT = 60  # characters that `clip` adds to what it has cut

NOT_THEIRS = frozenset({"dnworker", "dnworker_jupyter", "importlib", "asyncio", "threading", "concurrent"})
"""Modules whose frames are left out of an error: they are not the user's code."""


_PER_FRAME = 200
"""Bytes of a frame without its texts."""


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


def bytes_of_error(error: HandlerError) -> int:
    """Return the bytes of memory that an error takes."""
    frames = sum(
        _PER_FRAME + getsizeof(frame.place) + getsizeof(frame.function) + getsizeof(frame.source)
        for frame in error.frames
    )
    return _PER_FRAME + getsizeof(error.type) + getsizeof(error.message) + frames
