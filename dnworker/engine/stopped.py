"""Tells whether a debugger has stopped a thread on purpose; the watchdog asks before it says anything."""

from __future__ import annotations

from types import FrameType

_STOPPED = ("pydevd", "_do_wait_suspend")
"""Module and function of debugpy in which each thread waits that it has stopped."""


def is_stopped_by_debugger(frame: FrameType | None) -> bool:
    """Return whether debugpy holds the thread whose innermost frame this is.

    What the debugger evaluates there meanwhile, such as a watched expression, counts as held.
    """
    while frame is not None:
        if frame.f_code.co_name == _STOPPED[1] and frame.f_globals.get("__name__") == _STOPPED[0]:
            return True
        frame = frame.f_back
    return False
