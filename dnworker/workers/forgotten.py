"""Finds coroutines that handlers make and forget to await; engines and worker processes switch it on.

Python calls `warnings._warn_unawaited_coroutine` for each when it is dropped, and would print a line that
names neither handler nor worker. At that time the line at fault runs where nothing holds the coroutine; one
that a variable held is dropped at the end of the handler: then its source says where it was made.
"""

from __future__ import annotations

import dis
import inspect
import sys
import threading
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, CoroutineType, FrameType
from typing import Any

from dnworker.core.invocation import HandlerWarning, current_invocation
from dnworker.core.locations import location_of
from dnworker.core.owners import current_owner, is_ours
from dnworker.core.source_calls import Forgotten, forgotten_calls, last_line_of
from dnworker.core.user_code import is_library

_POP_TOP = dis.opmap["POP_TOP"]

_OURS = Path(__file__).parents[1]
_STANDARD = ("warnings", "_py_warnings")

FRAMES_LOOKED_AT = 50
LINES_NAMED = 3

_lock = threading.Lock()
_users = 0
_before: Any = None

_told: deque[int] = deque(maxlen=20)
"""Coroutines, by identity, of which an error has told already."""


@contextmanager
def noticed() -> Iterator[None]:
    """Make what handlers forget to await a warning of their invocations while the block runs."""
    global _users, _before
    with _lock:
        _users += 1
        if _users == 1:
            _before = warnings._warn_unawaited_coroutine  # type: ignore[attr-defined]  # C looks it up there
            warnings._warn_unawaited_coroutine = _take  # type: ignore[attr-defined]
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0 and warnings._warn_unawaited_coroutine is _take:  # type: ignore[attr-defined]
                warnings._warn_unawaited_coroutine = _before  # type: ignore[attr-defined]


def note_told(coro: object) -> None:
    """Note that the mistake with this coroutine is told already."""
    _told.append(id(coro))


def _take(coro: CoroutineType[Any, Any, Any]) -> None:
    """Note a coroutine that is dropped, on any thread; what is no handler's goes on as before."""
    if id(coro) in _told:
        _told.remove(id(coro))
        return
    invocation, owner = current_invocation.get(), current_owner.get()
    if invocation is not None:
        function = None if owner is None else owner.function_of(invocation)
        handler = None if function is None else inspect.unwrap(function)
        warning = blamed(coro, sys._getframe(1), getattr(handler, "__code__", None))
        if warning is not None:
            is_over = invocation.duration is not None
            invocation.note_warning(warning)
            if is_over and owner is not None:
                owner.hint(invocation, str(warning))
            return
    if _before.__module__ in _STANDARD and coro.cr_origin is None:
        text = f"coroutine '{coro.__qualname__}' was never awaited"
        warnings.warn(text, RuntimeWarning, stacklevel=2, source=coro)  # theirs would name this file
    else:
        _before(coro)


def blamed(
    coro: CoroutineType[Any, Any, Any], frame: FrameType | None, handler: CodeType | None
) -> HandlerWarning | None:
    """Return where a coroutine was made that nobody awaited, and what to write there.

    Args:
        coro: the coroutine.
        frame: what runs as it is dropped.
        handler: the code of the handler that runs.

    Returns:
        None where no call in the user's code could have made it.
    """
    name = coro.__name__
    if coro.cr_origin:  # somebody has Python track it, such as the debug mode of asyncio
        return _at_origin(name, *coro.cr_origin[0][:2])
    codes = [*_users_code(frame)]
    if frame is not None and codes and codes[0][0] is frame.f_code and (found := _dropped(frame, name)):
        return _warning(frame.f_code.co_filename, found)
    if handler is not None:
        codes.append((handler, None))
    for code, line in codes:
        if found := _calls_in(code, line, name):
            return _warning(code.co_filename, found)
    return None


def _dropped(frame: FrameType, name: str) -> list[Forgotten]:
    """Return the call whose value a frame drops right now; it may call the function by another name."""
    calls = [c for c in forgotten_calls(frame.f_code.co_filename) if c.first <= frame.f_lineno <= c.last]
    if any(c.name == name for c in calls) or not _drops_result(frame):
        return [c for c in calls if c.name == name]
    return [c for c in calls if c.is_statement]


def _at_origin(name: str, file: str, line: int) -> HandlerWarning | None:
    if is_library(file) or Path(file).is_relative_to(_OURS):
        return None
    calls = [c for c in forgotten_calls(file, name) if c.first <= line <= c.last]
    return _warning(file, calls) or HandlerWarning(location_of(file, line), f"write await {name}(...)")


def _users_code(frame: FrameType | None) -> Iterator[tuple[CodeType, int | None]]:
    """Yield the user's code on the stack with the line that runs, innermost first; up to the loop's own."""
    for _ in range(FRAMES_LOOKED_AT):
        if frame is None or frame.f_globals.get("__name__") == "asyncio.events":
            return
        if not is_library(frame.f_code.co_filename) and not is_ours(frame):
            yield frame.f_code, frame.f_lineno
        frame = frame.f_back


def _calls_in(code: CodeType, line: int | None, name: str) -> list[Forgotten]:
    """Return the calls that may have made a coroutine: of the line, else the function, else its file."""
    calls = forgotten_calls(code.co_filename, name)
    here = [c for c in calls if line is not None and c.first <= line <= c.last]
    inside = [c for c in calls if code.co_firstlineno <= c.first <= last_line_of(code)]
    found = here or inside or calls
    return [c for c in found if not c.is_argument] or found


def _drops_result(frame: FrameType) -> bool:
    """Return whether what runs is the drop of an expression's value, and not a collection in between."""
    code = frame.f_code.co_code
    return 0 <= frame.f_lasti < len(code) and code[frame.f_lasti] == _POP_TOP


def _warning(file: str, calls: list[Forgotten]) -> HandlerWarning | None:
    if not calls:
        return None
    lines = sorted({call.first for call in calls})[:LINES_NAMED]
    place = " or ".join([location_of(file, lines[0]), *map(str, lines[1:])])
    return HandlerWarning(place, f"write {calls[0].text}")
