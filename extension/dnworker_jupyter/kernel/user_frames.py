"""Which frames of a stack are of the user's handler, and not ours or of asyncio: what a debugger shows."""

from __future__ import annotations

import asyncio
import functools
from types import CodeType, FrameType
from typing import Any

from dnworker.core.locations import known_location
from dnworker.core.user_code import NOT_THEIRS, is_library

_STEP = asyncio.Handle._run.__code__
"""The code by which the loop runs a step of a task; what is above it is not the task's."""

CALLERS_LOOKED_AT = 50
"""Frames above one of a library in which the user's is searched for."""

UNWRAPS = 100
"""Decorators that are looked through for the user's function."""


def is_hidden(frame: FrameType) -> bool:
    """Return whether a frame is of the runtime or of asyncio, where nobody wants to stop."""
    module: Any = frame.f_globals.get("__name__", "")
    return isinstance(module, str) and module.partition(".")[0] in NOT_THEIRS


def is_users(frame: FrameType) -> bool:
    """Return whether a frame is of a cell or of a file of the user, and not of a library."""
    file = frame.f_code.co_filename
    if known_location(file, frame.f_lineno) is not None:
        return True
    return not is_library(file) and not is_hidden(frame)


def is_stepped_in(frame: FrameType) -> bool:
    """Return whether a step may stop in a frame: in the user's code, and in libraries that this calls.

    What the runtime and asyncio call of the standard library is passed over.
    """
    current: FrameType | None = frame
    for _ in range(CALLERS_LOOKED_AT):
        if current is None or is_hidden(current):
            return False
        if is_users(current):
            return True
        current = current.f_back
    return True


def of_handler(stack: list[tuple[FrameType, int]]) -> list[tuple[FrameType, int]]:
    """Return the frames from the first of the user's on, the oldest first; all where none is the user's."""
    steps = [n for n, (frame, _) in enumerate(stack) if frame.f_code is _STEP]
    own = stack[steps[-1] + 1 :] if steps else stack
    first = next((n for n, (frame, _) in enumerate(own) if not is_hidden(frame)), None)
    return stack if first is None else own[first:]


def innermost_users(stack: list[tuple[FrameType, int]]) -> int:
    """Return the index of the innermost frame of the user's; that of the last where none is."""
    return next((n for n in reversed(range(len(stack))) if is_users(stack[n][0])), len(stack) - 1)


def code_of(handler: Any) -> CodeType | None:
    """Return the code of the user's own function, below what decorates it; None where it is not Python's."""
    for _ in range(UNWRAPS):
        inner = getattr(handler, "__wrapped__", None)
        if inner is not None:
            handler = inner
        elif isinstance(handler, functools.partial):
            handler = handler.func
        elif (function := getattr(handler, "__func__", None)) is not None:
            handler = function
        elif isinstance(code := getattr(handler, "__code__", None), CodeType):
            return code
        elif (call := vars(type(handler)).get("__call__")) is not None:
            handler = call
        else:
            return None
    return None
