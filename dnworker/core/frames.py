"""`Frame`: one of the user's frames of a traceback; `frames_of` reads them for `handler_error.py`.

Recursion is folded, and frames of libraries are counted. Frames are the interpreter's own objects; names and
values in them are anybody's.
"""

from __future__ import annotations

import linecache
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from sys import getsizeof
from types import CodeType, FrameType, TracebackType
from typing import Any, NamedTuple

import msgspec

from dnworker.core.locations import known_location, location_of
from dnworker.core.short_values import LONGEST_VALUE, is_code, short_value
from dnworker.core.text import clip, shorten
from dnworker.core.user_code import NOT_THEIRS, OURS, library_of, place_in_library

FRAMES_KEPT = 100
LONGEST_SOURCE = 500
LONGEST_NAME = 200
"""Frames of a traceback that are kept, characters of a line of source or place, and of a name."""

OUTERMOST_KEPT = 20
"""Frames of a longer traceback that are kept of its beginning; the rest are of its end."""

LOCALS_KEPT = 20
FRAMES_WITH_LOCALS = 10
"""Variables of a frame whose values are kept, and innermost frames of which."""

_WALKED = 20_000  # frames of the end of a traceback that are looked at
_LONGEST_PERIOD = 12  # frames of a round of mutual recursion
_SHOWN_BEFORE_FOLD = 3  # as Python's own tracebacks
_LIBRARIES_NAMED = 3
_PER_FRAME = 200  # bytes without its texts
_NOTE_OF_CUT = 60  # characters that `clip` adds to what it has cut
_LONGEST_NOTE, _NOTES_KEPT = 2_000, 5  # of what is not shown before a frame


class Frame(msgspec.Struct, frozen=True):
    """One of the user's frames of a traceback."""

    place: str
    function: str
    source: str
    before: tuple[str, ...] = ()
    """What is not shown before it: recursion and frames of libraries, in words."""
    locals: tuple[tuple[str, str], ...] = ()
    """Names and values of its variables, as short text; none where they were not wanted."""


class Frames(NamedTuple):
    """The frames of one traceback: the user's, what is not shown after them, and how many are not shown."""

    shown: tuple[Frame, ...] = ()
    after: tuple[str, ...] = ()
    hidden: int = 0


class _Step(NamedTuple):
    """One frame of a traceback: of the user, where `library` is None."""

    frame: FrameType
    line: int
    library: str | None
    is_of_runtime: bool

    @property
    def key(self) -> tuple[CodeType, int]:
        return self.frame.f_code, self.line


class _Rounds(NamedTuple):
    """A number of times that the same frames follow each other; they are not shown."""

    frames: list[_Step]
    times: int


def frames_of(traceback: TracebackType | None, *, with_locals: bool = False) -> Frames:
    """Return the frames of a traceback, outermost first.

    Where none is the user's, those of libraries are shown. Recursion takes time for as many frames as are
    looked at, and source and values are read for those that are shown.
    """
    steps, skipped = _steps(traceback)
    folded = list(_folded(steps))
    is_nobodys = not any(isinstance(one, _Step) and one.library is None for one in folded)
    return _Reader(is_nobodys, with_locals).read(folded, skipped)


def _steps(traceback: TracebackType | None) -> tuple[list[_Step], int]:
    """Return the frames, without those of the runtime that lead to them, and how many are too many."""
    found: deque[_Step] = deque(maxlen=_WALKED)
    libraries: dict[CodeType, tuple[str | None, bool]] = {}
    walked = 0
    while traceback is not None:
        frame, line = traceback.tb_frame, traceback.tb_lineno
        code = frame.f_code
        known = libraries.get(code)
        if known is None:
            known = libraries[code] = _library(frame)
        library, is_of_runtime = known
        if library != "importlib" and not (is_of_runtime and not found):
            found.append(_Step(frame, line, library, is_of_runtime))
            walked += 1
        traceback = traceback.tb_next
    return list(found), walked - len(found)


def _library(frame: FrameType) -> tuple[str | None, bool]:
    """Return the library of a frame, None for the user's code; and whether it is what runs the user's."""
    module: Any = dict.get(frame.f_globals, "__name__")
    name = str.partition(module, ".")[0] if type(module) is str else ""
    if name in NOT_THEIRS:
        return name, True
    file = frame.f_code.co_filename
    place = place_in_library(file)
    if place is None or known_location(file, 1) is not None:
        return None, False
    return library_of(place), False


def _folded(steps: list[_Step]) -> Iterator[_Step | _Rounds]:
    """Yield frames, and in the place of those that repeat the ones before them how often they do."""
    numbers: dict[tuple[CodeType, int], int] = {}
    keys = [numbers.setdefault(step.key, len(numbers)) for step in steps]
    last_at: dict[int, int] = {}
    at = 0
    while at < len(keys):
        before = last_at.get(keys[at])
        period = at - before if before is not None else 0
        times = _repeats(keys, at, period) if 0 < period <= _LONGEST_PERIOD else 0
        if times >= _SHOWN_BEFORE_FOLD - 1:
            shown = _SHOWN_BEFORE_FOLD - 1 if period == 1 else 0
            yield from steps[at : at + shown]
            if times - shown > 0:
                yield _Rounds(steps[at : at + period], times - shown)
            at += times * period
            last_at.clear()
            continue
        last_at[keys[at]] = at
        yield steps[at]
        at += 1


def _repeats(keys: list[int], at: int, period: int) -> int:
    """Return how often the `period` frames before `at` follow again from there."""
    round_, times = keys[at - period : at], 0
    while keys[at : at + period] == round_:
        at, times = at + period, times + 1
    return times


class _Reader:
    """Makes the frames that are shown of those that are not folded."""

    def __init__(self, shows_libraries: bool, with_locals: bool) -> None:
        self._shows_libraries = shows_libraries
        self._with_locals = with_locals
        self._shown: list[tuple[_Step, tuple[str, ...]]] = []
        self._before: list[str] = []
        self._libraries: dict[str, int] = {}
        self._hidden = 0

    def read(self, folded: Iterable[_Step | _Rounds], skipped: int) -> Frames:
        if skipped:
            self._hide(skipped, f"... {skipped:,} more frames")
        last: _Step | None = None
        for one in folded:
            last = one.frames[-1] if isinstance(one, _Rounds) else one
            if isinstance(one, _Rounds):
                self._note_rounds(one)
            elif one.library is None or self._shows_libraries:
                self._note_libraries()
                self._shown.append((one, tuple(self._before)))
                self._before.clear()
            elif one.library not in OURS:
                self._count(one.library, 1)
        self._note_libraries(last)
        kept = self._kept()
        return Frames(tuple(kept), tuple(self._before), self._hidden)

    def _note_rounds(self, rounds: _Rounds) -> None:
        if self._shows_libraries or any(step.library is None for step in rounds.frames):
            self._note_libraries()
            self._hide(rounds.times * len(rounds.frames), _rounds_text(rounds))
            return
        for step in rounds.frames:
            self._count(step.library or "", rounds.times)

    def _count(self, library: str, frames: int) -> None:
        self._libraries[library] = self._libraries.get(library, 0) + frames

    def _hide(self, count: int, text: str) -> None:
        self._hidden += count
        self._before.append(text)

    def _note_libraries(self, raised: _Step | None = None) -> None:
        """Say how many frames of libraries stood here, and where the innermost of them raised."""
        if not self._libraries:
            return
        count = sum(self._libraries.values())
        names = [*self._libraries][:_LIBRARIES_NAMED]
        more = ["others"] if len(self._libraries) > len(names) else []
        of = _listed([*names, *more])
        text = f"({count:,} frame{'s' if count > 1 else ''} of {of} {'are' if count > 1 else 'is'} not shown"
        if raised is not None and raised.library is not None and raised.library not in OURS:
            text += (
                f"; raised at {_place_of(raised)}, in {shorten(raised.frame.f_code.co_name, LONGEST_NAME)}"
            )
        self._hide(count, f"{text})")
        self._libraries.clear()

    def _kept(self) -> list[Frame]:
        """Return the frames that are shown, without those in the middle where there are too many."""
        shown, count = self._shown, len(self._shown)
        left_out = max(0, count - FRAMES_KEPT)
        made = []
        for number, (step, before) in enumerate(shown):
            if OUTERMOST_KEPT <= number < OUTERMOST_KEPT + left_out:
                continue
            if left_out and number == OUTERMOST_KEPT + left_out:
                self._hidden += left_out
                before = (f"... {left_out:,} more frames", *before)
            has_values = self._with_locals and count - number <= FRAMES_WITH_LOCALS
            made.append(_frame(step, before, has_values=has_values))
        return made


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _rounds_text(rounds: _Rounds) -> str:
    named = [step for step in rounds.frames if step.library is None] or rounds.frames
    places = [f"{_place_of(step)}, in {shorten(step.frame.f_code.co_name, LONGEST_NAME)}" for step in named]
    if len(rounds.frames) == 1:
        return f"... {rounds.times:,} more of {places[0]}"
    return f"... {rounds.times:,} more rounds of {'; '.join(places)}"


def _place_of(step: _Step) -> str:
    """Return where a frame is; in a library, without the directories that lead there."""
    file = step.frame.f_code.co_filename
    within = None if step.library is None else place_in_library(file)
    return clip(location_of(file if within is None else within, step.line), LONGEST_SOURCE)


def _frame(step: _Step, before: tuple[str, ...], *, has_values: bool) -> Frame:
    code = step.frame.f_code
    source = clip(line_of(code.co_filename, step.line).strip(), LONGEST_SOURCE)
    place = clip(location_of(code.co_filename, step.line), LONGEST_SOURCE)
    values = _locals_of(step.frame) if has_values and step.library is None else ()
    return Frame(place, shorten(code.co_name, LONGEST_NAME), source, before, values)


def _locals_of(frame: FrameType) -> tuple[tuple[str, str], ...]:
    """Return the variables of a frame as short text; of a module, the data that its code names."""
    held = frame.f_locals
    if type(held) not in (dict, _LOCALS):
        return ()  # the body of a class, whose metaclass may have put any object there
    code, is_module = frame.f_code, held is frame.f_globals
    names = code.co_names if is_module else (*code.co_varnames, *code.co_cellvars, *code.co_freevars)
    shown: list[tuple[str, str]] = []
    for name in dict.fromkeys(names):
        if len(shown) == LOCALS_KEPT:
            break
        try:
            value = held[name]
        except KeyError:
            continue  # it has no value yet, or is a builtin
        if not (is_module and is_code(value)):
            shown.append((shorten(name, LONGEST_NAME), short_value(value, name)))
    return tuple(shown)


def _own_locals() -> object:
    return sys._getframe().f_locals


_LOCALS = type(_own_locals())
"""What the locals of a function are: a proxy from Python 3.13 on."""


def line_of(file: str, line: int) -> str:
    """Return a line of source; code may have the name of a device or pipe, which has no lines."""
    path = Path(file)
    if file not in linecache.cache and path.exists() and not path.is_file():
        return ""
    return linecache.getline(file, line)


def within_frame_bounds(frame: Frame) -> Frame:
    """Return a frame that a worker process describes, cut as `frames_of` cuts those of this process."""
    longest = LONGEST_SOURCE + _NOTE_OF_CUT
    return Frame(
        place=clip(frame.place, longest),
        function=shorten(frame.function, LONGEST_NAME),
        source=clip(frame.source, longest),
        before=tuple(clip(text, _LONGEST_NOTE) for text in frame.before[:_NOTES_KEPT]),
        locals=tuple(
            (shorten(name, LONGEST_NAME), shorten(text, LONGEST_VALUE))
            for name, text in frame.locals[:LOCALS_KEPT]
        ),
    )


def bytes_of_frame(frame: Frame) -> int:
    """Return the bytes of memory that a frame takes."""
    texts = [frame.place, frame.function, frame.source, *frame.before]
    texts += [text for pair in frame.locals for text in pair]
    return _PER_FRAME + sum(map(getsizeof, texts))
