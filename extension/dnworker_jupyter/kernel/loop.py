"""`KernelLoop`: the event loop that the runtime runs on; every part of the extension enters it here.

In a kernel it is the kernel's own loop. The loop of a plain terminal runs only while a cell runs, so
workers would stop at the prompt: there the runtime gets a thread with a loop of its own.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from dnworker.core.handler_error import type_name

T = TypeVar("T")

log = logging.getLogger("dnworker.loop")

STOP_LIMIT = 10.0
"""Seconds that the runtime may take to stop, and its thread to end."""


class HandlerInterrupted(Exception):
    """Raised in a handler that is interrupted where KeyboardInterrupt would end the loop."""

    def __init__(self, text: str = "interrupted by the user") -> None:
        super().__init__(text)


class KernelLoop:
    """The loop of one notebook's runtime."""

    def __init__(self, shell: Any) -> None:
        self.has_thread = getattr(shell, "kernel", None) is None
        """Whether the loop runs on a thread of ours, as in a plain terminal."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ending = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop, once it is known."""
        return self._loop

    @property
    def thread_id(self) -> int | None:
        """The thread that the loop runs on, where it is one of ours."""
        return self._thread.ident if self._thread is not None else None

    def start(self) -> bool:
        """Find the loop, or start one; False while a kernel has not begun to run."""
        if self._loop is not None:
            return True
        if self.has_thread:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._run, args=(self._loop,), name="dnworker", daemon=True
            )
            self._thread.start()
            return True
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:  # named in a configuration, and so loaded before the kernel runs
            return False
        return True

    async def enter(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the loop, from whichever loop this is, and return its result."""
        here = asyncio.get_running_loop()
        loop = self._loop or here  # from a coroutine, `start` always finds one
        if here is loop:
            return await make()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(make(), loop))

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Call something on the loop soon, from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, *args)

    def finish(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run a last coroutine on a loop of ours, from another thread, and end the loop."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            coroutine.close()  # nothing has started, so nothing is there to stop
            return
        try:
            asyncio.run_coroutine_threadsafe(coroutine, loop).result(STOP_LIMIT)
        except TimeoutError:
            log.warning("the runtime did not stop within %g s", STOP_LIMIT)
        finally:
            self._ending = True
            loop.call_soon_threadsafe(loop.stop)
            thread.join(STOP_LIMIT)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        while not self._ending:
            try:
                loop.run_forever()
            except HandlerInterrupted:  # it came a moment too late for its handler
                log.debug("an interrupt came to the loop itself, which goes on")
            except (SystemExit, KeyboardInterrupt) as exc:  # of code that is no worker's
                log.warning("%s came to the loop of the runtime, which goes on", type_name(exc))
        loop.close()
