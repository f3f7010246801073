"""`Captured`: makes JSON lines of what C code and child processes write to a standard descriptor."""

from __future__ import annotations

import os
import threading

from dnworker.cli.json_lines import JsonOutlet
from dnworker.cli.outlet import Outlet
from dnworker.core.threads import untraced

CHUNK = 65_536
REST_SECONDS = 0.3
"""Seconds for which what was written before the end is read; a child may hold the descriptor for ever."""


class Captured:
    """Leads a descriptor into a pipe, whose lines a thread writes to an outlet.

    Args:
        fd: 1 or 2.
        logger: who says the lines, such as `stderr`.
        below: takes lines of JSON.
    """

    def __init__(self, fd: int, logger: str, below: Outlet) -> None:
        self._fd = fd
        self._lines = JsonOutlet(below, logger)
        self._before = os.dup(fd)
        self._reading_end, writing_end = os.pipe()
        os.dup2(writing_end, fd)
        os.close(writing_end)
        self._closing = threading.Lock()
        self._is_closed = False
        self._thread = untraced(
            threading.Thread(target=self._read, name=f"dnworker captured {logger}", daemon=True)
        )
        self._thread.start()

    def close(self) -> None:
        """Have the descriptor lead where it did, and write what is in the pipe."""
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
            os.dup2(self._before, self._fd)
            os.close(self._before)
        self._thread.join(REST_SECONDS)
        self._lines.close()

    def _read(self) -> None:
        while data := os.read(self._reading_end, CHUNK):
            self._lines.write(data)
        os.close(self._reading_end)
