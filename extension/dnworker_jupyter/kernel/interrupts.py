"""`Interrupts`: Ctrl-C stops the handler or cell that blocks the event loop; else it acts as before.

A kernel ignores SIGINT while it is idle, and hands it to the cell while one awaits: a handler that blocks
would run to its end, and so would code of a cell that blocks. Our signal handlers first check whether one of
these holds the loop. If so, it gets the exception, which counts as an error of a handler; if not, the signal
does what it did before.
"""

from __future__ import annotations

import asyncio
import ctypes
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from dnworker.core.invocation import current_invocation
from dnworker.engine.watchdog import invocation_of, running_invocation
from dnworker_jupyter.kernel.loop import HandlerInterrupted, KernelLoop
from dnworker_jupyter.kernel.loop_watch import LoopWatch

SHORTEST = 0.2
"""Seconds for which a handler or cell must hold the loop: nobody wants to stop one that is just passing."""

_SAVED = "saved_sigint_handler"


class Interrupts:
    """Handles every SIGINT of one notebook before its own handler does."""

    def __init__(self, shell: Any, loop: KernelLoop, watch: LoopWatch) -> None:
        self._kernel = getattr(shell, "kernel", None)
        self._names = shell.user_ns
        self._loop = loop
        self._watch = watch
        self._before_idle: Any = None
        self.came = False
        """Whether one came for the running cell; its coroutine notices it only when the loop runs on."""
        self.is_asking: Callable[[], bool] = lambda: False
        """Tells whether a debugger's prompt waits for an answer on this thread: the signal is for that."""

    def begin_cell(self) -> None:
        """Put ours before the handler of SIGINT of the cell that begins."""
        if threading.current_thread() is not threading.main_thread():
            return  # a subshell: signals are not its business
        self.came = False
        meaning = signal.getsignal(signal.SIGINT)
        if not isinstance(meaning, _Meaning):
            signal.signal(signal.SIGINT, _Meaning(self, meaning))

    def end_cell(self) -> None:
        """Put ours before the handler that the kernel has saved, and puts back between cells."""
        if self._kernel is None or threading.current_thread() is not threading.main_thread():
            return
        saved = getattr(self._kernel, _SAVED, None)
        if saved is not None and not isinstance(saved, _Meaning):
            self._before_idle = saved
            setattr(self._kernel, _SAVED, _Meaning(self, saved))

    def uninstall(self) -> None:
        """Restore the handlers of SIGINT."""
        if threading.current_thread() is not threading.main_thread():
            return
        meaning = signal.getsignal(signal.SIGINT)
        if isinstance(meaning, _Meaning):
            signal.signal(signal.SIGINT, meaning.before)
        if self._kernel is not None and isinstance(getattr(self._kernel, _SAVED, None), _Meaning):
            setattr(self._kernel, _SAVED, self._before_idle)

    def stop_handler(self, frame: FrameType | None) -> bool:
        """Interrupt the handler that holds the loop, if one does; raises in it where this is its thread."""
        loop = self._loop.loop
        if loop is None or self._watch.blocked_for < SHORTEST:
            return False
        if self._loop.thread_id is not None:
            return self._stop_in_thread(self._loop.thread_id, loop)
        if (invocation := running_invocation(frame)) is not None:
            raise KeyboardInterrupt(f"{invocation.label} was interrupted")
        if (invocation := current_invocation.get()) is not None:
            # In a task that the handler started. A KeyboardInterrupt would pass through it into the loop.
            raise HandlerInterrupted(f"{invocation.label} was interrupted")
        return False

    def is_in_cell(self, frame: FrameType | None) -> bool:
        """Return whether code of a cell is on the stack: what blocks there does not notice a cancellation.

        A kernel only cancels a cell that awaits, as a `%%worker` cell does whose worker is started in it.
        """
        if self._watch.blocked_for < SHORTEST:
            return False
        while frame is not None:
            if frame.f_globals is self._names and frame.f_code.co_name.startswith(("<module>", "<cell line")):
                return True
            frame = frame.f_back
        return False

    def _stop_in_thread(self, thread_id: int, loop: asyncio.AbstractEventLoop) -> bool:
        if invocation_of(sys._current_frames().get(thread_id), loop) is None:
            return False
        raised = ctypes.py_object(HandlerInterrupted)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), raised)
        return True


def hide_own_frames(exc: BaseException | None) -> None:
    """Take the frames of this file, which raise interrupts, off the end of their traceback."""
    traceback = exc.__traceback__ if isinstance(exc, KeyboardInterrupt) else None
    while traceback is not None and traceback.tb_next is not None:
        if traceback.tb_next.tb_frame.f_globals is globals():
            traceback.tb_next = None
        traceback = traceback.tb_next


class _Meaning:
    """A handler of SIGINT in front of the one that was there before."""

    def __init__(self, interrupts: Interrupts, before: Any) -> None:
        self.before = before
        self._interrupts = interrupts

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._interrupts.is_asking():
            raise KeyboardInterrupt
        if self._interrupts.stop_handler(frame):
            return
        if self._only_cancels() and self._interrupts.is_in_cell(frame):
            raise KeyboardInterrupt
        self._interrupts.came = True
        if callable(self.before):
            self.before(number, frame)
        elif self.before == signal.SIG_DFL:
            signal.default_int_handler(number, frame)

    def _only_cancels(self) -> bool:
        """Return whether this is the handler by which ipykernel cancels a cell that awaits."""
        return "_cancel_on_sigint" in getattr(self.before, "__qualname__", "")
