"""`KernelEnd`: stops the runtime in order before a kernel ends, while its loop turns; `loading` installs it.

A kernel ends by a request (restart, shut down, the end of nbclient), which ipykernel reads on a thread of
its own and answers before it stops the loop, or by SIGTERM, which comes also 2.5 s after a request that takes
longer. jupyter_client kills a kernel 5 s after the request: all of this takes less.

After a request, no signal is relied on where a cell holds the loop: Python handles it on the main thread
only, which sleeps on where the system gave the signal to another thread, or which another interrupt takes
out of the handler.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from dnworker.core.threads import untraced
from dnworker_jupyter.kernel.loop import KernelLoop
from dnworker_jupyter.kernel.patching import replace

log = logging.getLogger("dnworker.notebook")

PATIENCE = 0.5
"""Seconds in which the loop must turn; then what holds it is interrupted, as by the stop button."""

NAMED = 3.4
"""Seconds after which what still runs is named."""

STOP_WITHIN = 3.5
"""Seconds that workers and turns get to stop; then journal and server are closed without them."""

SENT_WITHIN = 0.2
"""Seconds that the sockets get to send what was said, before a signal ends the process."""

LIMIT = 4.5
"""Seconds after which the kernel ends, whatever is left."""


class KernelEnd:
    """The end of one kernel.

    Args:
        shell: the kernel's; in a terminal, nothing is installed.
        loop: that the runtime runs on.
        stop: stops the runtime within so many seconds.
        left: names what still runs, on any thread.
        last: called on a thread before the kernel is ended by force, with what `stop` would have done last.
    """

    def __init__(
        self,
        shell: Any,
        loop: KernelLoop,
        stop: Callable[[float], Coroutine[Any, Any, object]],
        *,
        left: Callable[[], list[str]],
        last: Callable[[], None],
    ) -> None:
        self._kernel = getattr(shell, "kernel", None)
        self._loop = loop
        self._stop = stop
        self._left = left
        self._last = last
        self._pid = os.getpid()
        self._task: asyncio.Task[None] | None = None
        # by the first request or signal, for those that wait on other threads
        self._since: float | None = None
        self._is_turning = threading.Event()
        self._has_stopped = threading.Event()
        self._is_named = False
        self._is_forced = threading.Lock()
        """Held for ever by the thread that ends the process."""

    def install(self) -> Callable[[], None]:
        """Be told of the kernel's end; returns what undoes it.

        A SIGTERM that the process handles already stays with who handles it.
        """
        if self._kernel is None:
            return lambda: None
        undo_request = replace(self._kernel, "do_shutdown", self._before)
        undo_signal = self._take_signal()

        def undo() -> None:
            undo_request()
            undo_signal()

        return undo

    def _take_signal(self) -> Callable[[], None]:
        if threading.current_thread() is not threading.main_thread():
            return lambda: None
        if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
            log.debug("somebody else handles SIGTERM, which so does not stop the runtime in order")
            return lambda: None
        signal.signal(signal.SIGTERM, self._on_signal)

        def give_back() -> None:
            is_ours = signal.getsignal(signal.SIGTERM) == self._on_signal
            if is_ours and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, signal.SIG_DFL)

        return give_back

    # -- what ends the kernel --------------------------------------------------------------------------

    def _before(self, shutdown: Callable[[bool], Any]) -> Callable[[bool], Coroutine[Any, Any, Any]]:
        """Return the kernel's `do_shutdown`, with a stop of the runtime before it."""

        @functools.wraps(shutdown)
        async def do_shutdown(restart: bool) -> Any:
            has_stopped = True
            try:
                self._begin()
                has_stopped = await asyncio.get_running_loop().run_in_executor(None, self._wait)
            except Exception:
                _log_failure()
            finally:  # the kernel ends, whatever becomes of the runtime
                result = shutdown(restart)
            answer = await result if inspect.isawaitable(result) else result
            if not has_stopped:  # the loop may be held, and not read either that it is to end
                self._end_apart(signal.SIGKILL)
            return answer

        return do_shutdown

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends the kernel at once
        if os.getpid() != self._pid:  # a child made by `os.fork`, which is not the kernel
            os.kill(os.getpid(), number)
            return
        with _uninterrupted():  # the stop's own interrupt may come just now, and nobody else ends the process
            self._begin()
            self._end_apart(number)

    def _end_apart(self, number: int) -> None:
        """End the process by a signal, on a thread, unless one does so already."""
        if self._is_forced.acquire(blocking=False):
            ending = threading.Thread(target=self._end_by, args=(number,), name="dnworker end", daemon=True)
            untraced(ending).start()

    def _end_by(self, number: int) -> None:
        """End the process as the signal would have, once the runtime has stopped."""
        try:
            streams = [stream for stream in (sys.stdout, sys.stderr) if stream is not None]
            for step in (self._wait, self._last, *(stream.flush for stream in streams)):
                _attempt(step)
            time.sleep(SENT_WITHIN)
        finally:  # Python has taken the signal, so nobody else ends the process
            os.kill(self._pid, number)

    # -- the stop --------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Begin to stop, unless that has begun; on any thread, also in a signal handler."""
        if self._since is None:
            self._since = time.monotonic()
            self._loop.post(self._start_to_stop)
        if self._loop.loop is None:
            self._is_turning.set()
            self._has_stopped.set()  # nothing has started, so nothing is there to stop

    def _start_to_stop(self) -> None:
        self._is_turning.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="dnworker stop")

    async def _run(self) -> None:
        try:
            await self._stop(STOP_WITHIN)
        except Exception:
            log.exception("the runtime did not stop in order")
        finally:
            self._has_stopped.set()

    def _wait(self) -> bool:
        """Wait, on a thread beside the loop, until the runtime has stopped; False where the time is over."""
        if not self._is_turning.wait(self._until(PATIENCE)):
            _interrupt_main_thread()
        if self._has_stopped.wait(self._until(NAMED)):
            return True
        _attempt(self._name_what_runs)
        return self._has_stopped.wait(self._until(LIMIT))

    def _until(self, seconds: float) -> float:
        return max(0.0, (self._since or 0.0) + seconds - time.monotonic())

    def _name_what_runs(self) -> None:
        if self._is_named:
            return
        self._is_named = True
        what = "; ".join(self._left()) or "code that cannot be named"
        say(f"the kernel ends, and does not wait longer than {LIMIT:g} s for: {what}")


def _attempt(step: Callable[[], object]) -> None:
    """Take a step of the end; what it raises is logged, and holds up nothing that comes after it."""
    try:
        step()
    except Exception:
        _log_failure()


def _log_failure() -> None:
    with suppress(
        ValueError, OSError
    ):  # logging itself raises where stderr is closed, and nobody can be told
        log.exception("a step of the kernel's end failed; the kernel ends all the same")


def say(text: str) -> None:
    """Print a line below the newest cell: the runtime's log is read no more, or closed."""
    print(f"dnworker: {text}", file=sys.stderr, flush=True)  # noqa: T201


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let SIGINT wait until the body is over; on the main thread."""
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if handler is None else handler)
        if came:
            signal.raise_signal(signal.SIGINT)


def _interrupt_main_thread() -> None:
    """Send SIGINT to the thread that a cell or handler holds: it means what it means for the stop button."""
    main = threading.main_thread().ident
    if main is not None and hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main, signal.SIGINT)
