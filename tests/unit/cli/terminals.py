"""Pseudo-terminals for tests: commands write to them in this process, or have one of their own."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from wcwidth import wcswidth

SGR = re.compile(r"\x1b\[[0-9;]*m")
"""Colours; the only escape sequences of what is not redrawn."""

REDRAW = re.compile(r"\x1b\[(?:H|2J|K|J)")


class Terminal:
    """The far side of a pseudo-terminal: what was written to it so far."""

    def __init__(self, columns: int, rows: int = 50) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._pieces: list[bytes] = []
        self._came = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                piece = os.read(self.master, 65_536)
            except OSError:  # nobody has it open any more
                piece = b""
            with self._came:
                if piece:
                    self._pieces.append(piece)
                else:
                    self._is_over = True
                self._came.notify_all()
            if not piece:
                return

    _is_over = False

    @property
    def text(self) -> str:
        """Everything that was written, with line feeds alone."""
        return b"".join(self._pieces).decode().replace("\r\n", "\n")

    def _has(self, words: tuple[str, ...]) -> bool:
        return all(word in self.text for word in words)

    def wait(self, *words: str, timeout: float = 30) -> str:
        """Return the text once it has all the words."""
        with self._came:
            self._came.wait_for(lambda: self._has(words) or self._is_over, timeout)
        assert self._has(words), f"{words} not in:\n{self.text}"
        return self.text

    def end(self) -> str:
        """Close the near side and return the whole text."""
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1
        self._reader.join(10)
        return self.text

    def close(self) -> None:
        self.end()
        os.close(self.master)


@contextmanager
def terminal(columns: int, rows: int = 50) -> Iterator[Terminal]:
    made = Terminal(columns, rows)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def own_terminal(made: Terminal, environ: dict[str, str], *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `dnworker WORDS` with a controlling terminal, as a shell would; killed at the end."""
    code = "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    code += "from dnworker.cli.entry import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdin=made.slave,
        stdout=made.slave,
        stderr=made.slave,
        env=os.environ | environ,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()


def press_ctrl_c(made: Terminal) -> None:
    """Type it: the terminal sends the signal."""
    os.write(made.master, b"\x03")


def columns_of(line: str) -> int:
    """Return the columns that a line takes; fails where it has something that is no text."""
    plain = SGR.sub("", line)
    found = wcswidth(plain)
    assert found >= 0, f"control characters: {line!r}"
    return found
