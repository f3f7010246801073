"""`CellInput`: reads answers in the cell that waits, and writes there; the debugger's terminal.

In a kernel the front end of the cell is asked. In a terminal the handlers run on a thread of ours, while the
main thread waits: the line is read there, as only there Ctrl-C reaches it.
"""

from __future__ import annotations

import asyncio
import builtins
import concurrent.futures
import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from dnworker_jupyter.kernel.waiting_cells import WaitingCell, write_in

T = TypeVar("T")

POLL = 0.2
"""Seconds between two looks whether the cell waits still, in a terminal."""

in_debugger: contextvars.ContextVar[bool] = contextvars.ContextVar("dnworker_in_debugger", default=False)
"""Whether a debugger's prompt runs here: code that is typed there."""


class CellInput:
    """Standard input and output of one waiting cell; a `Pdb` takes it for both.

    Args:
        cell: that waits.
        kernel: that it runs in; None in a terminal.
        stream: what the cell prints to.
    """

    _asking: set[int] = set()

    def __init__(self, cell: WaitingCell, kernel: Any, stream: Any) -> None:
        self.cell = cell
        self._kernel = kernel
        self._stream = stream

    @classmethod
    def is_asking(cls) -> bool:
        """Return whether a prompt waits for an answer on this thread."""
        return threading.get_ident() in cls._asking

    def run(self, function: Callable[..., T], *args: Any) -> T:
        """Run a prompt in the cell: what it and what is typed there writes and asks goes to the cell."""
        result: T = write_in(self.cell, self._run, function, *args)
        return result

    def _run(self, function: Callable[..., T], *args: Any) -> T:
        in_debugger.set(True)
        with self._is_input():
            return function(*args)

    @classmethod
    @contextmanager
    def asking(cls) -> Iterator[None]:
        """Let an interrupt be for the prompt that runs here."""
        here = threading.get_ident()
        was_asking = here in cls._asking
        cls._asking.add(here)
        try:
            yield
        finally:
            if not was_asking:
                cls._asking.discard(here)

    @contextmanager
    def _is_input(self) -> Iterator[None]:
        """Let `input()` ask in the cell, also where the kernel has taken its own away."""
        before, builtins.input = builtins.input, self.ask
        try:
            with self.asking():
                yield
        finally:
            builtins.input = before

    # -- as a stream -----------------------------------------------------------------------------------

    def write(self, text: str) -> int:
        """Write in the cell."""
        write_in(self.cell, self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        """Send what was written."""
        self._stream.flush()

    def readline(self) -> str:
        """Read a line; empty at the end of the input."""
        try:
            return f"{self.ask('')}\n"
        except EOFError:
            return ""

    # -- answers ---------------------------------------------------------------------------------------

    def ask(self, prompt: object = "") -> str:
        """Return what the user types.

        Raises:
            EOFError: the input has ended, or the cell does not wait any more.
            KeyboardInterrupt: the user has interrupted.
        """
        self._stream.flush()
        if self._kernel is not None and self.cell.request is not None:
            request = self.cell.request
            answer: str = self._kernel._input_request(
                str(prompt), request.ident, request.message, password=False
            )
            return answer
        if threading.current_thread() is threading.main_thread():
            return _read(str(prompt))
        return self._ask_on_main_thread(str(prompt))

    def _ask_on_main_thread(self, prompt: str) -> str:
        answered: concurrent.futures.Future[str] = concurrent.futures.Future()

        def read() -> None:
            if not self.cell.is_waiting or not answered.set_running_or_notify_cancel():
                return
            with self.asking():
                try:
                    answered.set_result(_read(prompt))
                except (EOFError, KeyboardInterrupt) as exc:
                    answered.set_exception(exc)

        _post(self.cell.loop, read)
        while True:
            try:
                return answered.result(POLL)
            except concurrent.futures.TimeoutError:
                if not self.cell.is_waiting and answered.cancel():
                    raise EOFError("the cell does not wait any more") from None


_read = builtins.input


def _post(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        raise EOFError("the cell does not wait any more") from None
