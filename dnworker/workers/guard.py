"""`Guard`: ends worker processes when their runtime is gone, even after SIGKILL of the runtime.

`Guard` is the runtime's side. The other side is this file run as a program: it holds the reading end of a
pipe, on which the runtime names the process groups it owns. When the runtime dies, however it dies, the
pipe closes, and the program sends SIGTERM, waits 5 s, and sends SIGKILL (contract 13.17). It imports
only the standard library, so it starts in a few milliseconds.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

log = logging.getLogger("dnworker.guard")

GRACE = 5.0


class Guard:
    """Watches process groups on behalf of this process; starts its program with the first."""

    def __init__(self) -> None:
        self._program: subprocess.Popen[bytes] | None = None
        self._groups: set[int] = set()

    def watch(self, group: int) -> None:
        """End `group` when this process is gone."""
        self._groups.add(group)
        self._say(f"+{group}\n")

    def release(self, group: int) -> None:
        """Forget `group`: it has ended."""
        self._groups.discard(group)
        self._say(f"-{group}\n")

    def kill(self) -> None:
        """End every watched group at once; may be called on any thread."""
        for group in sorted(self._groups):
            _signal_group(group, signal.SIGKILL)

    def close(self) -> None:
        """End the program; groups still watched are ended by it."""
        program, self._program = self._program, None
        if program is not None and program.stdin is not None:
            with suppress(OSError):
                program.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                program.wait(GRACE + 1)

    def _say(self, line: str) -> None:
        program = self._program
        if program is not None and program.stdin is not None and program.poll() is None:
            try:
                program.stdin.write(line.encode())
            except OSError:
                log.debug("the guard has just ended; starting another")
            else:
                return
        if program is not None and program.stdin is not None:
            program.stdin.close()
        if not self._groups:
            return
        # A session of its own: Ctrl-C in the terminal of the runtime must not reach it.
        self._program = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
        )
        if self._program.stdin is not None:
            self._program.stdin.write("".join(f"+{group}\n" for group in sorted(self._groups)).encode())


def end_groups(groups: set[int], grace: float = GRACE) -> None:
    """Send SIGTERM to process groups, and SIGKILL to those that are left after `grace` seconds."""
    alive = {group for group in groups if _signal_group(group, signal.SIGTERM)}
    deadline = time.monotonic() + grace
    while alive and time.monotonic() < deadline:
        time.sleep(0.05)  # the members are nobody's children here, so there is nothing to wait on
        alive = {group for group in alive if _signal_group(group, 0)}
    for group in alive:
        _signal_group(group, signal.SIGKILL)


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def main() -> None:
    """Read `+group` and `-group` lines until the pipe closes, then end what is left."""
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    end_groups(groups)


if __name__ == "__main__":
    main()
