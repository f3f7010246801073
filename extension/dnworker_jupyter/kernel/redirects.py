"""Confines redirections of output to the handler or cell that made them; used by `output`.

`contextlib.redirect_stdout` and IPython's capture replace `sys.stdout` for the whole process. Handlers
interleave with cells and with each other: each would write into the other's buffer, and the last to leave
would put back a buffer instead of the stream. So a handler's redirection is a ContextVar, and what a cell
puts in the place of a stream still sends handlers' text to their log.
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
from collections.abc import Callable
from io import StringIO
from typing import Any

from IPython.utils.capture import CapturedIO, capture_output

from dnworker.core.invocation import current_invocation
from dnworker_jupyter.kernel.patching import replace

_Targets = dict[str, Any]

targets: contextvars.ContextVar[_Targets | None] = contextvars.ContextVar("dnworker_redirects", default=None)
"""Where the handler that runs here redirects stdout, stderr and displays, by name; a stream or a list."""

_TOKENS = "_dnworker_tokens"


def install(guard_streams: Callable[[], None]) -> list[Callable[[], None]]:
    """Patch both ways to redirect; returns what undoes it.

    Args:
        guard_streams: called when a cell has put something in the place of a stream.
    """
    base = contextlib.redirect_stdout.__mro__[1]
    return [
        replace(base, "__enter__", lambda original: _entering(original, _redirect, guard_streams)),
        replace(base, "__exit__", _leaving),
        replace(capture_output, "__enter__", lambda original: _entering(original, _capture, guard_streams)),
        replace(capture_output, "__exit__", _leaving),
    ]


def _entering(
    original: Any, within_handler: Callable[[Any], tuple[_Targets, Any]], guard_streams: Callable[[], None]
) -> Any:
    def enter(manager: Any) -> Any:
        if current_invocation.get() is None:
            entered = original(manager)
            guard_streams()
            return entered
        wanted, entered = within_handler(manager)
        token = targets.set({**(targets.get() or {}), **wanted})
        manager.__dict__.setdefault(_TOKENS, []).append(token)
        return entered

    return enter


def _leaving(original: Any) -> Any:
    def leave(manager: Any, *exc_info: Any) -> Any:
        tokens = manager.__dict__.get(_TOKENS)
        if not tokens:
            return original(manager, *exc_info)
        targets.reset(tokens.pop())
        return None

    return leave


def _redirect(manager: Any) -> tuple[_Targets, Any]:
    return {manager._stream: manager._new_target}, manager._new_target


def _capture(manager: Any) -> tuple[_Targets, Any]:
    out = StringIO() if manager.stdout else None
    err = StringIO() if manager.stderr else None
    shown: list[Any] | None = [] if manager.display else None
    wanted = {"stdout": out, "stderr": err, "display": shown}
    return {name: one for name, one in wanted.items() if one is not None}, CapturedIO(out, err, shown)


def streams() -> list[tuple[str, Any]]:
    """Return the present streams by name."""
    return [("stdout", sys.stdout), ("stderr", sys.stderr)]
