"""`SignalPipe`: what the interpreter's C handler writes signals to; `Ending` has one.

`last_resort.py` reads it, in a process of its own, and sends back what it reads. There is one such descriptor
in a process, and loops want it too: uvloop always, as it is woken up by nothing else, asyncio's once a worker
calls `loop.add_signal_handler`. They get what comes back.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

KILL_AT_ONCE = 1.5
"""Seconds until `last_resort.py` kills after the second signal."""


class SignalPipe:
    """Has signals told to `last_resort.py`, and through it to the loop."""

    def __init__(self) -> None:
        self._program: subprocess.Popen[bytes] | None = None
        self._to: int | None = None
        self._back: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loops_own: int | None = None
        """A copy of the descriptor at which the loop wants signals: the loop may have closed that."""

    def start(self, numbers: Iterable[int], kill_after: float) -> None:
        """Start the program.

        Args:
            numbers: of the signals that end this process.
            kill_after: seconds that it gets for this after the first.
        """
        program = [sys.executable, "-I", "-S", str(Path(__file__).with_name("last_resort.py"))]
        named = ",".join(str(int(number)) for number in numbers)
        with suppress(OSError):  # no process can be had: all but the worst code ends without it
            self._program = subprocess.Popen(
                [*program, str(os.getpid()), named, str(kill_after), str(KILL_AT_ONCE)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        if self._program is not None and self._program.stdin is not None and self._program.stdout is not None:
            self._to, self._back = self._program.stdin.fileno(), self._program.stdout.fileno()
            os.set_blocking(self._to, False)
            os.set_blocking(self._back, False)

    def take(self) -> None:
        """Have signals written here, if they are not; call it on the main thread."""
        if self._to is None:
            return
        before = signal.set_wakeup_fd(self._to, warn_on_full_buffer=False)
        if before in (-1, self._to):
            return
        if self._loop is None:  # nobody would wake it
            signal.set_wakeup_fd(before, warn_on_full_buffer=False)
            return
        self._let_go()
        with suppress(OSError):
            self._loops_own = os.dup(before)

    def wake(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell a loop of the signals that come, from its next turn on."""
        if self._back is not None:
            self._loop = loop
            loop.add_reader(self._back, self._hand_on)
            loop.call_soon(self.take)

    def calm(self) -> None:
        """Tell the program that the loop turns, and nothing ends: a signal was for a forked child."""
        if self._to is not None:
            with suppress(OSError):
                os.write(self._to, b"\0")

    def leave(self) -> None:
        """Have no signals written, as in a child made by `os.fork`."""
        signal.set_wakeup_fd(-1)

    def close(self) -> None:
        """Tell the loop nothing more: it ends."""
        loop, self._loop = self._loop, None
        if loop is not None and self._back is not None:
            loop.remove_reader(self._back)
        self._let_go()

    def _let_go(self) -> None:
        copy, self._loops_own = self._loops_own, None
        if copy is not None:
            os.close(copy)

    def _hand_on(self) -> None:
        """Let the loop have what has come back; where the program has ended, it has signals to itself."""
        assert self._back is not None
        with suppress(BlockingIOError):
            came = os.read(self._back, 512)
            if not came:
                self._give_back()
            elif self._loops_own is not None:
                with suppress(OSError):
                    os.write(self._loops_own, came)

    def _give_back(self) -> None:
        loops_own, own, self._to = self._loops_own, self._to, None
        if self._loop is not None and self._back is not None:
            self._loop.remove_reader(self._back)
            self._loop = None
        before = signal.set_wakeup_fd(-1 if loops_own is None else loops_own, warn_on_full_buffer=False)
        if before != own:  # it was not ours
            signal.set_wakeup_fd(before, warn_on_full_buffer=False)
