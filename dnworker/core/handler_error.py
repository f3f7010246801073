"""`HandlerError`: an exception as text, with the frames of the user's code; `describe` makes it."""

from __future__ import annotations

from collections.abc import Iterator
from sys import getsizeof
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from dnworker.core.detail import Detail, detail
from dnworker.core.errors import code_of, coded
from dnworker.core.frames import (
    FRAMES_KEPT,
    LONGEST_NAME,
    LONGEST_SOURCE,
    Frame,
    bytes_of_frame,
    frames_of,
    within_frame_bounds,
)
from dnworker.core.locations import location_of
from dnworker.core.text import clip, shorten, valid_text

LONGEST_MESSAGE = 10_000
"""Characters of an exception's message that are kept."""

MEMBERS_KEPT = 20
CHAIN_KEPT = 10
NOTES_KEPT = 20
LEVELS_KEPT = 10
CLASSES_KEPT = 50
"""Members of a group, causes of an exception, its notes, groups in groups, and its classes that are kept."""

EXCEPTIONS_KEPT = 50
TEXT_KEPT = 120_000
"""Exceptions of one error, and characters of all their texts, after which the rest is left out."""

# What the interpreter itself knows of an exception: a class may put properties in the place of these.
BASE_TRACEBACK: Any = BaseException.__dict__["__traceback__"]
_CAUSE: Any = BaseException.__dict__["__cause__"]
_CONTEXT: Any = BaseException.__dict__["__context__"]
_IS_SUPPRESSED: Any = BaseException.__dict__["__suppress_context__"]
_HELD: Any = BaseException.__dict__["__dict__"]
_MEMBERS: Any = BaseExceptionGroup.__dict__["exceptions"]
_CLASS_NAME: Any = type.__dict__["__name__"]
_QUALIFIED_NAME: Any = type.__dict__["__qualname__"]
_CLASSES: Any = type.__dict__["__mro__"]
_MODULE: Any = type.__dict__["__module__"]

_LEVELS_TAKEN = CHAIN_KEPT * LEVELS_KEPT  # that an error from elsewhere may be deep
_PER_ERROR = 300  # bytes without its texts
_NOTE_OF_CUT = 60  # characters that `clip` adds to what it has cut

MEMBERS_SHOWN = 5
MEMBERS_LOOKED_AT = 100
"""Members of a group that one line names, and that are looked at: groups may be in groups without end."""

_AS_CAUSE = "The above exception was the direct cause of the following exception:"
_AS_CONTEXT = "During handling of the above exception, another exception occurred:"
"""As Python's own tracebacks say it."""


class ErrorLine(NamedTuple):
    """One line of an error, `depth` groups deep."""

    depth: int
    category: Literal["frame", "source", "value", "hidden", "type", "note", "link"]
    text: str


class HandlerError(msgspec.Struct, frozen=True):
    """An exception of a handler as text, with the frames of the user's code only."""

    type: str
    message: str
    frames: tuple[Frame, ...]
    notes: tuple[str, ...] = ()
    """What was added to it (`add_note`)."""
    after: tuple[str, ...] = ()
    """What is not shown after the last frame: those of libraries, in words."""
    hidden: int = 0
    """How many frames are not shown, without those of the runtime that led to the user's code."""
    cause: HandlerError | None = None
    """What it was raised from."""
    context: HandlerError | None = None
    """What was being handled when it was raised; None where it has a cause, or that was suppressed."""
    members: tuple[HandlerError, ...] = ()
    """The exceptions of a group."""
    more_members: int = 0
    """How many members beside `members` are not kept."""
    is_cut: bool = False
    """Whether what it came of is not kept: the chain was too long, or led back to itself."""
    classes: tuple[str, ...] = ()
    """The qualified names of its class and of those that it is derived from; not of what it came of."""
    code: str = ""
    """The code of the kind of mistake, where it is an error of ours; `text` ends in it."""

    @property
    def place(self) -> str:
        """The location where the user's code raised, such as `cell [3], line 7`."""
        return self.frames[-1].place if self.frames else "outside the worker's code"

    @property
    def text(self) -> str:
        """Type and message, with its code."""
        return coded(f"{self.type}: {self.message}" if self.message else self.type, self.code or None)

    @property
    def has_values(self) -> bool:
        """Whether values of variables were read."""
        return any(frame.locals for frame in self.frames)

    @property
    def summary(self) -> str:
        """Type and message, and the first members of a group."""
        if not self.members:
            return self.text
        return clip(f"{self.text}: {'; '.join(self._first_members())}", LONGEST_MESSAGE)

    def __str__(self) -> str:
        return f"{self.summary} ({self.place})"

    def _first_members(self) -> Iterator[str]:
        waiting, shown = [*self.members], 0
        while waiting and shown < MEMBERS_SHOWN:
            one = waiting.pop(0)
            if one.members:
                waiting += one.members
                continue
            shown += 1
            where = f" ({one.place})" if one.frames else ""
            yield f"{one.type}: {clip(one.message, LONGEST_SOURCE)}{where}"

    def lines(self) -> list[str]:
        """Return the traceback as lines, innermost last; with values where the user wants all detail."""
        level = detail()
        return [
            f"{'  ' * line.depth}{line.text}"
            for line in self.entries(level)
            if line.category != "value" or level == "verbose"
        ]

    def brief(self) -> str:
        """Return what it says and what it came of, without frames, as a few lines."""
        return "\n".join([str(self), *(f"  {line}" for line in self.origin())])

    def origin(self) -> list[str]:
        """Return its notes and what it came of, one line each."""
        shown, error = [*self.notes], self
        while (below := error.cause or error.context) is not None:
            shown.append(f"{'caused by' if error.cause is not None else 'while handling'} {below}")
            error = below
        return shown

    def entries(self, level: Detail = "normal", depth: int = 0) -> Iterator[ErrorLine]:
        """Yield the lines of the traceback, what it came of first, as Python does."""
        if level == "minimal":
            yield ErrorLine(depth, "type", str(self))
            return
        before, link = (self.cause, _AS_CAUSE) if self.cause is not None else (self.context, _AS_CONTEXT)
        if before is not None:
            yield from before.entries(level, depth)
            yield ErrorLine(depth, "link", link)
        elif self.is_cut:
            yield ErrorLine(depth, "hidden", "(what it came of is not shown)")
        for frame in self.frames:
            yield from (ErrorLine(depth, "hidden", text) for text in frame.before)
            yield ErrorLine(depth, "frame", f"{frame.place}, in {frame.function}")
            if frame.source:
                yield ErrorLine(depth, "source", f"    {frame.source}")
            for name, value in frame.locals:
                yield ErrorLine(depth, "value", f"      {name} = {value}")
        yield from (ErrorLine(depth, "hidden", text) for text in self.after)
        yield ErrorLine(depth, "type", self.text)
        for note in self.notes:
            yield from (ErrorLine(depth, "note", f"  {line}") for line in note.split("\n"))
        yield from self._member_entries(level, depth)

    def _member_entries(self, level: Detail, depth: int) -> Iterator[ErrorLine]:
        total = len(self.members) + self.more_members
        for number, member in enumerate(self.members, 1):
            yield ErrorLine(depth + 1, "link", f"{number} of {total}:")
            yield from member.entries(level, depth + 1)
        if self.more_members:
            yield ErrorLine(depth + 1, "hidden", f"and {self.more_members:,} more")


# -- making one ----------------------------------------------------------------------------------------


def describe(exc: BaseException, *, with_locals: bool | None = None) -> HandlerError:
    """Return an exception as text, so that none of its objects is kept alive; never raises.

    The exception is somebody else's object: nothing of it is used that its class may have replaced by code.

    Args:
        with_locals: whether values of variables are read; by default where the user wants all detail.
    """
    wanted = detail() == "verbose" if with_locals is None else with_locals
    return replace(_Description(with_locals=wanted).of(exc, LEVELS_KEPT), classes=_classes_of(exc))


class _Description:
    """Describes one exception and all that belong to it, as far as there is room."""

    def __init__(self, *, with_locals: bool) -> None:
        self._with_locals = with_locals
        self._seen: list[BaseException] = []  # the objects themselves: an id may be used again
        self._ids: set[int] = set()
        self._room = TEXT_KEPT

    def of(self, exc: BaseException, levels: int) -> HandlerError:
        """Return an exception as text; `levels` of groups may be below it."""
        return self._chained([*self._chain(exc)], levels)

    def _chain(self, exc: BaseException) -> Iterator[tuple[BaseException, bool, bool]]:
        """Yield an exception and what it came of: whether that is a cause, and whether more are left out."""
        is_cause = False
        for count in range(CHAIN_KEPT):
            self._note(exc)
            cause = _CAUSE.__get__(exc)
            before = cause
            if cause is None and not _IS_SUPPRESSED.__get__(exc):
                before = _CONTEXT.__get__(exc)
            is_last = before is None or count + 1 == CHAIN_KEPT or not self._has_room_for(before)
            yield exc, is_cause, is_last and before is not None
            if is_last:
                return
            exc, is_cause = before, cause is not None

    def _chained(self, chain: list[tuple[BaseException, bool, bool]], levels: int) -> HandlerError:
        made = [
            self._one(exc, levels, is_cut=is_cut) for exc, _, is_cut in chain
        ]  # the newest gets room first
        error = made[-1]
        for number in range(len(chain) - 1, 0, -1):
            is_cause = chain[number][1]
            kept = {"cause": error} if is_cause else {"context": error}
            error = replace(made[number - 1], **kept)
        return error

    def _note(self, exc: BaseException) -> None:
        self._seen.append(exc)
        self._ids.add(id(exc))

    def _has_room_for(self, exc: BaseException) -> bool:
        return id(exc) not in self._ids and len(self._seen) < EXCEPTIONS_KEPT and self._room > 0

    def _one(self, exc: BaseException, levels: int, *, is_cut: bool) -> HandlerError:
        found = frames_of(BASE_TRACEBACK.__get__(exc), with_locals=self._with_locals)
        frames, message = found.shown, _str_of(exc)
        if issubclass(type(exc), SyntaxError) and (broken := _broken_text(exc)) is not None:
            frames = (*frames, broken)  # its location is in no frame
            message = _text(_attribute(exc, "msg")) or message
        error = HandlerError(
            type=type_name(exc),
            message=message,
            frames=frames[-FRAMES_KEPT:],
            notes=_notes_of(exc),
            after=found.after,
            hidden=found.hidden,
            is_cut=is_cut,
            code=code_of(exc) or "",
        )
        error = self._fitted(error)
        if not issubclass(type(exc), BaseExceptionGroup):
            return error
        members, more = self._members(exc, levels)
        return replace(error, members=members, more_members=more)

    def _fitted(self, error: HandlerError) -> HandlerError:
        """Return an error that is cut to the room that is left: its innermost frames stay."""
        kept: list[Frame] = []
        self._room -= len(error.message) + sum(map(len, error.notes))
        for frame in reversed(error.frames):
            if self._room <= 0 and kept:
                break
            self._room -= bytes_of_frame(frame) // 2
            kept.append(frame)
        hidden = error.hidden + len(error.frames) - len(kept)
        return (
            error if len(kept) == len(error.frames) else replace(error, frames=(*kept[::-1],), hidden=hidden)
        )

    def _members(self, group: BaseException, levels: int) -> tuple[tuple[HandlerError, ...], int]:
        """Return the members of a group that are kept, and how many are not."""
        members = _MEMBERS.__get__(group)
        made: list[HandlerError] = []
        for member in members[:MEMBERS_KEPT] if levels else ():
            if not self._has_room_for(member):
                break
            made.append(self.of(member, levels - 1))
        return tuple(made), len(members) - len(made)


def _broken_text(exc: BaseException) -> Frame | None:
    """Return the place in the text that a syntax error is about."""
    file, line = _text(_attribute(exc, "filename")), _attribute(exc, "lineno")
    if not file:
        return None
    source = _text(_attribute(exc, "text")).strip()[:LONGEST_SOURCE]
    return Frame(location_of(file, line if type(line) is int else 0), "module", source)


def _notes_of(exc: BaseException) -> tuple[str, ...]:
    """Return what was added to an exception, read where `add_note` keeps it."""
    try:
        notes: Any = dict.get(_HELD.__get__(exc), "__notes__")
        if type(notes) not in (list, tuple):
            return ()
        texts = [clip(_text(note), LONGEST_SOURCE) for note in notes[:NOTES_KEPT]]
    except BaseException:  # a key that is like this name only by its own __eq__
        return ()
    more = len(notes) - len(texts)
    return (*filter(None, texts), *([f"and {more:,} more notes"] if more else []))


def type_name(exc: BaseException) -> str:
    """Return the name of an exception's class, whatever its metaclass says."""
    name: str = _CLASS_NAME.__get__(type(exc))
    return clip(name, LONGEST_NAME)


def _classes_of(exc: BaseException) -> tuple[str, ...]:
    """Return the qualified names of an exception's classes, its own first, whatever their metaclass says."""
    found: list[str] = []
    for one in _CLASSES.__get__(type(exc))[:CLASSES_KEPT]:
        module, name = _text(_module_of(one)), _text(_QUALIFIED_NAME.__get__(one))
        found.append(shorten(f"{module}.{name}" if module else name, LONGEST_NAME))
    return tuple(found)


def _module_of(class_: type) -> object:
    try:
        return _MODULE.__get__(class_)
    except AttributeError:  # made where no module is known
        return None


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


def _members_of(group: BaseException) -> Iterator[str]:
    """Yield a line for each of the first exceptions in a group, those of groups in it included."""
    waiting, shown = [group], 0
    for _ in range(MEMBERS_LOOKED_AT):
        if not waiting or shown == MEMBERS_SHOWN:
            return
        exc = waiting.pop(0)
        if issubclass(type(exc), BaseExceptionGroup):
            waiting.extend(_MEMBERS.__get__(exc)[:MEMBERS_SHOWN])
            continue
        shown += 1
        frames = frames_of(BASE_TRACEBACK.__get__(exc)).shown
        place = f" ({frames[-1].place})" if frames else ""
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


# -- one from elsewhere, and what it takes -------------------------------------------------------------


def within_bounds(error: HandlerError) -> HandlerError:
    """Return an error that a worker process describes, cut as `describe` cuts those of this process."""
    return _within(error, _LEVELS_TAKEN, [EXCEPTIONS_KEPT])


def _within(error: HandlerError, levels: int, left: list[int]) -> HandlerError:
    """Cut an error and those below it; `left` counts how many more there may be."""
    left[0] -= 1
    below = [error.cause, error.context, *error.members[:MEMBERS_KEPT]]
    kept = [
        None if one is None or not levels or left[0] <= 0 else _within(one, levels - 1, left) for one in below
    ]
    members = tuple(one for one in kept[2:] if one is not None)
    return HandlerError(
        type=shorten(error.type, LONGEST_NAME),
        message=_within_length(error.message, LONGEST_MESSAGE),
        frames=tuple(map(within_frame_bounds, error.frames[-FRAMES_KEPT:])),
        notes=tuple(_within_length(note, LONGEST_SOURCE) for note in error.notes[: NOTES_KEPT + 1]),
        after=tuple(_within_length(text, LONGEST_SOURCE) for text in error.after[:3]),
        hidden=error.hidden,
        cause=kept[0],
        context=kept[1],
        members=members,
        more_members=error.more_members + len(error.members) - len(members),
        is_cut=error.is_cut
        or any(one is not None and cut is None for one, cut in zip(below[:2], kept, strict=False)),
        classes=tuple(shorten(name, LONGEST_NAME) for name in error.classes[:CLASSES_KEPT]),
        code=shorten(error.code, LONGEST_NAME),
    )


def _within_length(text: str, longest: int) -> str:
    return text if len(text) <= longest + _NOTE_OF_CUT else clip(text, longest)


def bytes_of_error(error: HandlerError) -> int:
    """Return the bytes of memory that an error takes, with what it came of and its members."""
    texts = [error.type, error.message, *error.notes, *error.after, *error.classes]
    below = [one for one in (error.cause, error.context, *error.members) if one is not None]
    used = _PER_ERROR + sum(map(getsizeof, texts)) + sum(map(bytes_of_frame, error.frames))
    return used + sum(map(bytes_of_error, below))
