"""Threads of ours that run no code of users: a debugger of this process leaves them alone."""

from __future__ import annotations

import threading


def untraced(thread: threading.Thread) -> threading.Thread:
    """Return a thread, not yet started, that debugpy neither stops with the others nor lists.

    While a debugger holds a handler, it holds every thread that it traces: the journal would not be written,
    and the watchdog could not see why the loop stands still. ipykernel marks its own threads alike. The names
    are debugpy's (pydevd); without it they mean nothing.
    """
    thread.pydev_do_not_trace = True  # type: ignore[attr-defined]
    thread.is_pydev_daemon_thread = True  # type: ignore[attr-defined]
    return thread
