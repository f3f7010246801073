"""`Outlet`: writes to one file descriptor from a thread of its own, so that nobody waits for its reader.

`serve` puts its standard output and standard error on outlets (`streams.py`). A reader that stops reading
costs text, which is counted, and nothing else.
"""

from __future__ import annotations

import errno
import os
import select
import threading
from collections import deque
from collections.abc import Callable

from dnworker.core.threads import untraced

LIMIT = 1_000_000
"""Bytes that wait for the reader; what comes on top is dropped."""

PATIENCE = 0.25
"""Seconds that a writer waits for room, once: a burst loses nothing to a reader that is only slower."""

FLUSH_PATIENCE = 0.05
"""Seconds that a flush waits for what is before it."""

CHUNK = 32_768
"""Bytes of one write, unless a single piece is longer."""

ROOM = getattr(select, "PIPE_BUF", 512)
"""Bytes that a pipe takes without waiting when `poll` says that it takes any."""

RETRY = 1.0
"""Seconds until a full disk is tried again."""


class Outlet:
    """A bounded queue of bytes and a thread that writes them to a file descriptor.

    May be used on any thread and in finalizers. In a child made by `os.fork`, which has no such thread,
    writes go to the descriptor directly.

    Args:
        fd: where to write; it stays open.
        name: of the stream, for people.
        on_loss: called on the thread with a sentence when text was dropped and there is room again; when
            None, the sentence takes the place of the text in the stream itself.
    """

    def __init__(
        self, fd: int, name: str, *, on_loss: Callable[[str], object] | None = None, limit: int = LIMIT
    ) -> None:
        self.name = name
        self.dropped_bytes = 0
        """Bytes that were dropped since the start."""
        self._fd = fd
        self._on_loss = on_loss
        self._limit = limit
        # what waits
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._changed = threading.Condition(threading.RLock())  # a finalizer may print amid a print
        self._is_writing = False
        # how the reader does
        self._is_behind = False
        self._is_dropping = False
        self._is_broken = False
        self._in_line = False  # whether what was kept last ended amid a line
        self._skips_line = False  # whether what was dropped last ended amid a line
        self._unsaid_bytes = self._unsaid_lines = 0
        # the thread
        self._is_direct = False
        self._pid = os.getpid()
        self._thread = untraced(
            threading.Thread(target=self._write_all, name=f"dnworker {name}", daemon=True)
        )

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def write(self, data: bytes) -> None:
        """Queue bytes; those that there is no room for are dropped and counted."""
        if not data:
            return
        if self._pid != os.getpid():
            self._write_in_fork(data)
            return
        with self._changed:
            if self._is_direct:
                self._write_without_waiting(data)
                return
            if self._is_broken:
                self._drop(data)
                return
            if not self._is_behind and not self._fits(data):
                self._is_behind = not self._changed.wait_for(lambda: self._fits(data), PATIENCE)
            self._take(data)

    def flush(self, timeout: float = FLUSH_PATIENCE) -> bool:
        """Return whether all is written; waits so many seconds, but not for a reader that is behind."""
        if self._pid != os.getpid() or threading.current_thread() is self._thread:
            return True
        with self._changed:
            if self._is_behind or self._is_direct:
                return not self._pieces
            done = self._changed.wait_for(self._is_written, timeout)
            self._is_behind = not done
            return done

    def close(self, timeout: float = 1.0) -> None:
        """Write what is queued, for up to `timeout` seconds; later writes are tried, and never wait."""
        if self._pid != os.getpid() or not self._thread.is_alive():
            return
        with self._changed:
            self._changed.wait_for(self._is_written, timeout)
            self._is_direct = True
            self._changed.notify_all()
            if self._pieces:
                self._unsaid_bytes += self._size
                self._unsaid_lines += sum(piece.count(b"\n") for piece in self._pieces)
                self.dropped_bytes += self._size
                self._pieces.clear()
                self._size = 0
                self._in_line = False

    def take_loss(self) -> str | None:
        """Return what was dropped and not said yet, as a sentence, and count it as said."""
        with self._changed:
            lines, size = self._unsaid_lines, self._unsaid_bytes
            self._unsaid_lines = self._unsaid_bytes = 0
        if not size:
            return None
        why = "it is closed" if self._is_broken else "nobody read it in time"
        return f"[dnworker: {lines:,} lines ({size:,} bytes) of {self.name} were dropped: {why}]"

    # -- what is kept ----------------------------------------------------------------------------------

    def _fits(self, data: bytes) -> bool:
        # One piece may be longer than all that may wait: it is there already.
        return self._is_broken or not self._pieces or self._size + len(data) <= self._limit

    def _take(self, data: bytes) -> None:
        if self._skips_line and not self._is_dropping:
            head, newline, data = data.partition(b"\n")
            self._drop(head + newline)
            self._is_dropping = False
            if not data:
                return
        if self._is_dropping or (self._is_behind and self._size + len(data) > self._limit):
            self._drop(data)
            return
        self._append(data)

    def _append(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        self._in_line = not data.endswith(b"\n")
        self._changed.notify_all()

    def _drop(self, data: bytes) -> None:
        self._is_dropping = True
        self._skips_line = not data.endswith(b"\n")
        self.dropped_bytes += len(data)
        self._unsaid_bytes += len(data)
        self._unsaid_lines += data.count(b"\n")

    def _is_written(self) -> bool:
        return self._is_broken or not (self._pieces or self._is_writing)

    # -- the thread ------------------------------------------------------------------------------------

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._is_writing = False
                if not self._pieces:
                    self._is_behind = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._pieces or self._is_direct or self._has_room_again)
                if self._is_direct:
                    return
                said = self._end_of_loss() if self._has_room_again else None
                chunk = self._next_chunk() if self._pieces else b""
                self._is_writing = bool(chunk)
                self._changed.notify_all()
            if said is not None and self._on_loss is not None:
                self._on_loss(said)
            if not self._write_chunk(chunk):
                return

    @property
    def _has_room_again(self) -> bool:
        return self._is_dropping and self._size <= self._limit // 2

    def _end_of_loss(self) -> str | None:
        """Take text again; what was dropped is said in the stream itself where nobody else is told."""
        self._is_dropping = False
        said = self.take_loss()
        if said is not None and self._on_loss is None:
            self._append((b"\n" if self._in_line else b"") + said.encode() + b"\n")
        return said

    def _next_chunk(self) -> bytes:
        taken = [self._pieces.popleft()]
        size = len(taken[0])
        while self._pieces and size + len(self._pieces[0]) <= CHUNK:
            taken.append(self._pieces.popleft())
            size += len(taken[-1])
        self._size -= size
        return b"".join(taken)

    def _write_chunk(self, chunk: bytes) -> bool:
        """Write all of it, however long that takes; returns whether to go on."""
        rest = memoryview(chunk)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest[:CHUNK]) :]
            except BlockingIOError:  # somebody who shares it has made it so
                select.select([], [self._fd], [], RETRY)
            except OSError as exc:
                if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
                    self._break(bytes(rest))
                    return False
                with self._changed:  # a full disk may have room later
                    self._is_behind = True
                    self._changed.wait_for(lambda: self._is_direct, RETRY)
                    if self._is_direct:
                        return False
        return True

    def _break(self, rest: bytes) -> None:
        """Give up: the reader is gone, and what is written from now on is dropped."""
        with self._changed:
            self._is_broken = True
            self._is_writing = False
            for piece in (rest, *self._pieces):
                self._drop(piece)
            self._pieces.clear()
            self._size = 0
            self._changed.notify_all()
        if self._on_loss is not None:
            self._on_loss(f"[dnworker: {self.name} was closed by its reader; what is written there is lost]")

    # -- without the thread ----------------------------------------------------------------------------

    def _write_without_waiting(self, data: bytes) -> None:
        try:
            while data and can_write(self._fd):
                data = data[os.write(self._fd, data[:ROOM]) :]
        except OSError:
            self._is_broken = True
        if data:
            self._drop(data)

    def _write_in_fork(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._fd, data) :]


def can_write(fd: int, timeout: float = 0.0) -> bool:
    """Return whether a descriptor takes `ROOM` bytes within so many seconds, without waiting then."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return any(event & select.POLLOUT for _, event in poll.poll(timeout * 1000))
