"""`Ending`: ends `serve` within bounds, whatever its workers do; names what had to be left behind.

The first SIGINT or SIGTERM begins an orderly stop on the loop, and so does SIGHUP where the process had a
controlling terminal when it started: that was closed. Without one, as in a service or a container, SIGHUP
asks for a reload (`on_hangup`); under `nohup` it stays ignored. A thread watches over it, which needs
the loop for nothing: it names what still runs after five seconds, and ends the process after nine, or when
`stop_options.py` says. A second signal ends the process at once. `last_resort.py` does so where not even a
thread can run.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from dnworker.cli.signal_pipe import SignalPipe
from dnworker.cli.stop_options import EndTimes
from dnworker.cli.streams import Streams
from dnworker.core.threads import untraced
from dnworker.engine.left_behind import left_behind
from dnworker.engine.own_loop import SharedLoop

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine

TASKS_END = 0.5
"""Seconds that tasks get which nobody owns, once the runtime has stopped."""

THREADS_END = 1.0
"""Seconds that threads get at least, once the loop has ended."""

TOGETHER = 0.01
"""Seconds in which several signals are the first one: who forwards a signal may send it twice."""

LOOK = 1.0
"""Seconds between two looks whether the signals are still ours."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ending:
    """The end of one process.

    Args:
        streams: what is said goes to its standard error.
        on_exit: called before the process is ended by force.
        times: when what happens.
        make_loop: makes the loop of `run`.
    """

    def __init__(
        self,
        streams: Streams,
        on_exit: Callable[[], None],
        times: EndTimes,
        make_loop: Callable[[], asyncio.AbstractEventLoop] = SharedLoop,
    ) -> None:
        self.engine: Engine | None = None
        """What is stopped; set as soon as there is one."""
        self._streams = streams
        self._on_exit = on_exit
        self._times = times
        self._make_loop = make_loop
        # when and how it ends
        self._began: float | None = None
        self._first: float | None = None  # when the first signal came
        self._lock = threading.Lock()  # never taken by a signal handler
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_ended: float | None = None
        self._generators: list[Any] = []
        self._is_in_order = True
        # what SIGHUP does
        self._hangup_ends = has_terminal()
        self._on_hangup: Callable[[], None] | None = None
        self._is_hangup_due = False
        # what the signal handler writes to, and the thread reads from
        self._reading_end, self._writing_end = os.pipe()
        os.set_blocking(self._reading_end, False)
        os.set_blocking(self._writing_end, False)
        self._thread = untraced(threading.Thread(target=self._watch, name="dnworker ending", daemon=True))
        self._last_words = streams.last_words
        self._pipe = SignalPipe()
        self._pid = os.getpid()

    # -- signals ---------------------------------------------------------------------------------------

    def on_signals(self) -> None:
        """Have signals end the process from here on.

        That is not undone: the interpreter's end may need it.
        """
        if not faulthandler.is_enabled():
            faulthandler.enable(self._last_words)
        self._thread.start()
        self._pipe.start(
            (number for number in SIGNALS if number != signal.SIGHUP or self._hangup_ends), self._times.kill
        )
        self._take_signals()
        os.register_at_fork(after_in_child=self._leave_signals)

    def _take_signals(self) -> list[str]:
        """Handle the signals, and return the names of those that somebody else had taken meanwhile."""
        taken = []
        for number in SIGNALS:
            present = signal.getsignal(number)
            if present == self._on_signal:
                continue
            if number == signal.SIGHUP and present == signal.SIG_IGN:
                continue  # `nohup`
            signal.signal(number, self._on_signal)
            taken.append(number.name)
        self._pipe.take()
        return taken

    def _leave_signals(self) -> None:
        """Handle no signal in a child made by `os.fork`: it must not end the runtime when it is ended."""
        self._pipe.leave()
        for number in SIGNALS:
            if signal.getsignal(number) == self._on_signal:
                default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
                signal.signal(number, default)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # Nothing else: the code that it interrupts may hold any lock.
        if os.getpid() == self._pid:
            self._poke(b"h" if number == signal.SIGHUP and not self._hangup_ends else b"s")
        else:  # it came to a child made by `os.fork` before that had left our signals
            self._leave_signals()
            os.kill(os.getpid(), number)

    def _poke(self, sign: bytes) -> None:
        with suppress(OSError):
            os.write(self._writing_end, sign)

    async def keep_signals(self) -> None:
        """Take the signals back where code of a worker has taken them, until cancelled."""
        while True:
            await asyncio.sleep(LOOK)
            if self._began is None:
                self._pipe.calm()
            if taken := self._take_signals():
                self._say(f"code of a worker had taken {', '.join(taken)}; it ends the runtime again")

    def on_hangup(self, reload: Callable[[], None]) -> None:
        """Call `reload` on the loop at each SIGHUP from now on, and once for those that came before."""
        with self._lock:
            self._on_hangup = reload
            is_due, self._is_hangup_due = self._is_hangup_due, False
        if is_due:
            reload()

    def _hang_up(self) -> None:
        """Ask for a reload, or remember it until the start is done."""
        if self._began is not None:
            self._say("SIGHUP: nothing is reloaded, as the runtime stops", "info")
            return
        with self._lock:
            reload, loop = self._on_hangup, self._loop
            self._is_hangup_due = reload is None
        if reload is None:
            self._say("SIGHUP: reloads when the start is done", "info")
        elif loop is not None:
            with suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(reload)

    # -- the end in order ------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin to count the seconds, if no signal has; called when the runtime begins to stop by itself."""
        self._poke(b"b")

    async def requested(self) -> None:
        """Return when a signal has asked for the end."""
        with self._lock:
            if self._stop is None:
                self._stop = asyncio.Event()
            if self._first is not None:
                self._stop.set()
        await self._stop.wait()

    def note_left_behind(self) -> None:
        """Note that the runtime has not ended in order; what could be named has been."""
        if self._is_in_order:
            self._is_in_order = False
            self._say(
                f"workers that did not stop within {self._times.within:g} s are left behind, and killed"
            )

    def run(self, work: Coroutine[Any, Any, int]) -> int:
        """Run a coroutine on a loop of its own and return its result, an exit code.

        Unlike `asyncio.run` it waits neither for tasks that ignore their cancellation nor for threads: if a
        task is left, the process ends here. The interpreter's end waits for threads, while `_watch` lets it.
        """
        loop = self._loop = self._make_loop()
        asyncio.set_event_loop(loop)
        self._pipe.wake(loop)
        try:
            code = loop.run_until_complete(work)
        finally:
            self.begin()
            loop.run_until_complete(self._end_tasks(loop))
            if any(not task.done() for task in asyncio.all_tasks(loop)):
                self._exit(left_behind(self.engine, loop, self._generators))
            self._loop_ended = time.monotonic()
            asyncio.set_event_loop(None)
            self._pipe.close()
            loop.close()  # idle threads of its pool end, and nobody waits for the others
            self._poke(b"e")
        return code if self._is_in_order else max(code, 1)

    async def _end_tasks(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel what is left, and close generators; waits `TASKS_END` at most."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        self._generators = list(getattr(loop, "_asyncgens", ()))
        closing = asyncio.create_task(loop.shutdown_asyncgens(), name="dnworker closing generators")
        await asyncio.wait({*others, closing}, timeout=TASKS_END)
        for task in others:
            if task.done() and not task.cancelled() and (exc := task.exception()) is not None:
                said = {"message": "a task failed while the runtime ended", "exception": exc, "task": task}
                loop.call_exception_handler(said)

    # -- the thread ------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Note signals, and end the process when its time is up."""
        is_named = False
        while True:
            due = self._due(is_named=is_named)
            wait = None if due is None else max(0.0, due - time.monotonic())
            if select.select([self._reading_end], [], [], wait)[0]:
                for sign in sorted(set(os.read(self._reading_end, 512).decode())):
                    self._note(sign)
            elif is_named or self._loop_ended is not None:
                self._exit(left_behind(self.engine, self._loop if self._loop_ended is None else None))
            else:
                is_named = True
                self._name_what_runs()

    def _due(self, *, is_named: bool) -> float | None:
        """Return when to act next, if no signal comes; None while the runtime runs."""
        if self._began is None or (self._loop_ended is not None and self.engine is None):
            return None  # without a runtime nothing can be left
        if self._loop_ended is not None:
            return min(
                max(self._began + self._times.handlers_end, self._loop_ended + THREADS_END),
                self._began + self._times.process_ends,
            )
        return self._began + (self._times.process_ends if is_named else self._times.handlers_end)

    def _note(self, sign: str) -> None:
        if sign == "h":
            self._hang_up()
            return
        now = time.monotonic()
        if self._began is None and sign != "e":
            self._began = now
            if self.engine is not None:
                with suppress(RuntimeError, ValueError):
                    faulthandler.dump_traceback_later(
                        self._times.tracebacks, exit=True, file=self._last_words
                    )
        if sign != "s":
            return
        if self._first is not None:
            self._exit(None)
        time.sleep(TOGETHER)
        with suppress(BlockingIOError):
            os.read(self._reading_end, 512)
        self._say("stopping; Ctrl-C again stops at once", "info")
        with self._lock:
            self._first = now
            stop, loop = self._stop, self._loop
        if stop is not None and loop is not None:
            with suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(stop.set)

    def _name_what_runs(self) -> None:
        """Say what still runs when its handlers should have ended."""
        left = left_behind(self.engine, self._loop)
        if not left:
            return
        self._is_in_order = False
        self._say(f"still running {self._times.handlers_end:.0f} s after the signal:")
        for line in left:
            self._say(f"  {line}")

    def _exit(self, left: list[str] | None) -> None:
        """End the process with exit code 1, and its workers' processes with it.

        Args:
            left: what is left behind; None when a second signal asks for the end at once.
        """
        if left is not None:
            self._say("left behind: the runtime ends without waiting for")
            for line in left or ["code that cannot be named"]:
                self._say(f"  {line}")
        if self.engine is not None:
            self.engine.guard.kill()
        self._on_exit()
        self._streams.close(0.4)
        os._exit(1)

    def _say(self, text: str, level: str = "warning") -> None:
        """Print a line on standard error."""
        self._streams.say(text, level)


def has_terminal() -> bool:
    """Return whether this process has a controlling terminal, which can be closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True
