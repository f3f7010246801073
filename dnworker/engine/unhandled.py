"""`UnhandledErrors`: collects what tasks, threads and finalizers of workers raise and nobody awaits.

The notebook installs it, and `serve` the one of `own_loop.py`, which knows more.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import sys
import threading
from collections.abc import Callable
from typing import Any

from dnworker.core.handler_error import BASE_TRACEBACK
from dnworker.core.invocation import current_invocation
from dnworker.core.owners import Culprit, culprit_by_module, current_culprit, current_owner, has_users_code
from dnworker.workers.recorders import OnUnhandled

HAS_CONTEXTS = sys.version_info >= (3, 12)
"""Whether the loop calls its exception handler in the context of the task or callback that failed."""


class UnhandledErrors:
    """Gives each error to the worker whose code raised it; what is no worker's goes on as before.

    Args:
        note: takes, on the loop, invocation, exception and source of an error that is no worker's.
    """

    def __init__(self, note: OnUnhandled) -> None:
        self._note = note
        self._loop: asyncio.AbstractEventLoop | None = None
        self._before: Any = None
        self._threads_before: Any = None
        self._finalizers_before: Any = None

    def install(self) -> None:
        """Replace the handlers of the running loop, threads and finalizers; again, it changes nothing."""
        if self._loop is not None:
            return
        self._loop = loop = asyncio.get_running_loop()
        self._before = loop.get_exception_handler()
        loop.set_exception_handler(self._take)
        self._threads_before = threading.excepthook
        threading.excepthook = self._take_of_thread
        self._finalizers_before = sys.unraisablehook
        sys.unraisablehook = self._take_of_finalizer

    def uninstall(self) -> None:
        """Restore what was there before, unless somebody has replaced it since."""
        if self._loop is None:
            return
        if self._loop.get_exception_handler() == self._take:
            self._loop.set_exception_handler(self._before)
        if threading.excepthook == self._take_of_thread:
            threading.excepthook = self._threads_before
        if sys.unraisablehook == self._take_of_finalizer:
            sys.unraisablehook = self._finalizers_before
        self._loop = None

    def culprit_of(self, context: dict[str, Any]) -> Culprit | None:
        """Return whose an error is that the loop reports, by what it reports."""
        return current_culprit() if HAS_CONTEXTS else None

    def give(self, culprit: Culprit, exc: BaseException, source: str) -> None:
        """Tell the worker of what its code raised, on any thread."""
        if culprit.owner is not None:
            culprit.owner.escaped(exc, source, culprit.invocation)
        elif culprit.invocation is not None and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._note, culprit.invocation, exc, source)

    def _take(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        exc: Any = context.get("exception")
        if issubclass(type(exc), BaseException):
            culprit = self.culprit_of(context) or culprit_by_module(BASE_TRACEBACK.__get__(exc))
            if culprit is not None:
                self.give(culprit, exc, "a task it started")
                return
        if self._before is not None:
            self._before(loop, context)
        else:
            loop.default_exception_handler(context)

    def _take_of_thread(self, args: Any) -> None:
        exc = args.exc_value
        culprit = current_culprit() or (None if exc is None else culprit_by_module(args.exc_traceback))
        if culprit is None or exc is None:
            self._threads_before(args)
        else:
            self.give(culprit, exc, "a thread it started")

    def _take_of_finalizer(self, args: Any) -> None:
        # It runs in whatever code runs when its object is collected: its module tells more than the context.
        culprit = culprit_by_module(args.exc_traceback)
        if culprit is None and has_users_code(args.exc_traceback):
            culprit = current_culprit()
        if culprit is None or args.exc_value is None:
            self._finalizers_before(args)
        else:
            self.give(culprit, args.exc_value, "a finalizer of it")


def start_on_behalf(original: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    """Return a `Thread.start` by which a thread knows the worker that started it.

    Threads of pools work for many, and know none.
    """

    def start(thread: threading.Thread) -> None:
        owner, invocation = current_owner.get(), current_invocation.get()
        is_pools = getattr(thread, "_target", None) is concurrent.futures.thread._worker
        if current_culprit() is not None and not is_pools:
            run = thread.run

            def run_on_behalf() -> None:
                current_owner.set(owner)
                current_invocation.set(invocation)
                run()

            thread.run = run_on_behalf  # type: ignore[method-assign]
        original(thread)

    return start
