"""Exceptions that nobody awaits: of tasks and threads that handlers start. None of them vanishes."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from dnworker.invocation import Invocation
from dnworker.invocation import current as current_invocation

if TYPE_CHECKING:
    from dnworker_jupyter.notebook import Notebook


class Strays:
    """Gives them to the invocation that they belong to; what is not a handler's goes on as before."""

    def __init__(self, book: Notebook) -> None:
        self._book = book
        self._loop: asyncio.AbstractEventLoop | None = None
        self._before: Any = None
        self._threads_before: Any = None

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stand before the loop's handler of exceptions, and that of threads."""
        if self._loop is not None:
            return
        self._loop, self._before = loop, loop.get_exception_handler()
        loop.set_exception_handler(self._take)
        self._threads_before = threading.excepthook
        threading.excepthook = self._take_of_thread

    def uninstall(self) -> None:
        """Let both be what they were."""
        if self._loop is None:
            return
        if self._loop.get_exception_handler() == self._take:
            self._loop.set_exception_handler(self._before)
        if threading.excepthook == self._take_of_thread:
            threading.excepthook = self._threads_before
        self._loop = None

    def _take(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        exc = context.get("exception")
        if isinstance(exc, BaseException):
            # From Python 3.12 on this runs in the task's own context; before, the frames have to tell.
            invocation = current_invocation.get() or self._by_frames(exc)
            if invocation is not None:
                self._book.runtime.note_stray(invocation, exc)
                return
        if self._before is not None:
            self._before(loop, context)
        else:
            loop.default_exception_handler(context)

    def _take_of_thread(self, args: Any) -> None:
        invocation = current_invocation.get()
        if invocation is None or args.exc_value is None:
            self._threads_before(args)
        else:
            self._book.host.post(self._book.runtime.note_stray, invocation, args.exc_value)

    def _by_frames(self, exc: BaseException) -> Invocation | None:
        """Return the newest invocation of the worker whose cell the exception comes from."""
        files = set()
        trace = exc.__traceback__
        while trace is not None:
            files.add(trace.tb_frame.f_code.co_filename)
            trace = trace.tb_next
        names = {
            live.managed.qualified_name
            for live in self._book.live.values()
            for handler, _ in live.handlers()
            if live.managed is not None
            and getattr(handler.function, "__code__", None) is not None
            and handler.function.__code__.co_filename in files
        }
        found = [i for i in self._book.runtime.history.invocations() if i.worker in names]
        return found[-1] if found else None
