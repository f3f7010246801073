"""Ends a runtime that cannot end itself; `serve` runs this file as a program.

C code that holds the interpreter's lock keeps every thread of a runtime from running, and then no signal has
an effect. The interpreter's C handler still writes the number of each signal to a pipe, which this
program reads (`signal.set_wakeup_fd`). What it reads it writes to its output, for the loop of the runtime,
which may sleep until then. `faulthandler` prints where the runtime is on SIGABRT. It imports only
the standard library, so it starts in milliseconds, and it ends when the pipe is closed: with the runtime.

Arguments: the process, the numbers of the signals that end it, and the seconds until it is killed after the
first and after the second.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress

TOGETHER = 0.01
"""Seconds in which several signals are the first one: who forwards a signal may send it twice."""

LOOK = 10.0
"""Seconds between two looks whether the runtime is still there, should its end not close the pipe."""


def main() -> None:
    """Wait for the first signal, then for the end of the runtime; kill it when that takes too long."""
    process, numbers = int(sys.argv[1]), {int(n) for n in sys.argv[2].split(",")}
    after_first, after_second = float(sys.argv[3]), float(sys.argv[4])
    deadline: float | None = None
    os.set_blocking(1, False)  # who holds the lock of the interpreter reads nothing
    while deadline is None or time.monotonic() < deadline:
        wait = LOOK if deadline is None else max(0.0, deadline - time.monotonic())
        if os.getppid() != process:
            return  # a child of the runtime may hold the pipe open
        if not select.select([0], [], [], wait)[0]:
            continue
        came = os.read(0, 512)
        if not came:
            return
        if any(came):
            with suppress(OSError):
                os.write(1, came)
        now = time.monotonic()
        if 0 in came:  # the runtime turns, and does not end: the signal was not for it
            deadline = None
        if numbers.isdisjoint(came):
            continue
        if deadline is None:
            deadline = now + after_first
            time.sleep(TOGETHER)
            if select.select([0], [], [], 0)[0] and not os.read(0, 512):
                return
        else:
            deadline = min(deadline, now + after_second)
    for number in (signal.SIGABRT, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(process, number)
        if select.select([0], [], [], 0.3)[0] and not os.read(0, 512):
            return


if __name__ == "__main__":
    main()
