"""`UnhandledErrors`: collects exceptions that handlers' tasks and threads raise and nobody awaits."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from dnworker.core.invocation import Invocation, current_invocation
from dnworker_jupyter.kernel.patching import replace

HAS_CONTEXTS = sys.version_info >= (3, 12)
RAISED_KEPT = 100


class UnhandledErrors:
    """Notes each with the invocation that it belongs to; what is not a handler's goes on as before.

    Args:
        note: takes the invocation, the exception, and what raised it; it is called on the loop.
    """

    def __init__(self, note: Callable[[Invocation, BaseException, str], object]) -> None:
        self._note = note
        self._loop: asyncio.AbstractEventLoop | None = None
        self._before: Any = None
        self._threads_before: Any = None
        self._raised: deque[tuple[BaseException, Invocation]] = deque(maxlen=RAISED_KEPT)
        self._untrack: Callable[[], None] = lambda: None

    def install(self) -> None:
        """Replace the exception handlers of the running loop and of threads; again, it changes nothing."""
        if self._loop is not None:
            return
        self._loop = loop = asyncio.get_running_loop()
        self._before = loop.get_exception_handler()
        loop.set_exception_handler(self._take)
        self._threads_before = threading.excepthook
        threading.excepthook = self._take_of_thread
        if not HAS_CONTEXTS:
            self._untrack = replace(asyncio, "create_task", self._follow_tasks)

    def uninstall(self) -> None:
        """Restore the exception handlers of the loop and of threads."""
        if self._loop is None:
            return
        self._untrack()
        self._raised.clear()
        if self._loop.get_exception_handler() == self._take:
            self._loop.set_exception_handler(self._before)
        if threading.excepthook == self._take_of_thread:
            threading.excepthook = self._threads_before
        self._loop = None

    def _take(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        exc = context.get("exception")
        if isinstance(exc, BaseException):
            # From Python 3.12 on this runs in the task's own context.
            invocation = next((i for e, i in self._raised if e is exc), None) or (
                current_invocation.get() if HAS_CONTEXTS else None
            )
            if invocation is not None:
                self._note(invocation, exc, "a task it started")
                return
        if self._before is not None:
            self._before(loop, context)
        else:
            loop.default_exception_handler(context)

    def _take_of_thread(self, args: Any) -> None:
        invocation = current_invocation.get()
        if invocation is None or args.exc_value is None:
            self._threads_before(args)
        elif self._loop is not None and not self._loop.is_closed():
            source = "a thread it started"
            self._loop.call_soon_threadsafe(self._note, invocation, args.exc_value, source)

    def _follow_tasks(self, original: Any) -> Any:
        """Note which handler creates a task: before Python 3.12 the loop does not know a task's context."""

        def create_task(*args: Any, **fields: Any) -> Any:
            task = original(*args, **fields)
            invocation = current_invocation.get()
            if invocation is not None:
                task.add_done_callback(lambda done: self._keep_error(done, invocation))
            return task

        return create_task

    def _keep_error(self, task: asyncio.Task[Any], invocation: Invocation) -> None:
        exc = getattr(task, "_exception", None)  # not exception(): that would count as looking at it
        if exc is not None:
            self._raised.append((exc, invocation))
