"""`Channel`: writes the reports of a process that `observe.py` observes into its output, between its text.

The format is that of `dnworker.workers.reports`. It uses the standard library only: the environment is not
ours.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import Any

LONGEST_QUEUE = 1_000_000
"""Bytes of reports that wait where the pipe takes none and the process made it not block."""

LONGEST_TEXT = 2_000
"""Characters of a notice."""

OF_RUNNER = "dreadnode.capabilities.worker_runner"
"""What the SDK's own line of a failed handler names; the runtime has an entry of its own for that."""

HEAD = 300
"""Characters of a text in which that is looked for."""

BEGIN = '"is":"begin",'

SPACED = 0.005
MOST_AT_ONCE = 256
"""Seconds after a write within which others wait for the end of their step of the loop, and how many do."""

_NOBODY: tuple[str | None, str, int, bool] = (None, "stdout", 0, False)


class Gone(Exception):
    """The output of the process does not lead to the runtime any more."""


class Channel:
    """Writes reports into the output, which the runtime reads anyway, and marks whose the text is.

    Nothing that fails in it reaches the script: the reports end then, and that is said once.

    Args:
        word: that the runtime knows reports by.
        running: the ids of the event and the invocation that run here.
        failed: the invocation that failed here, which the SDK is about to log.

    Raises:
        OSError, ValueError, AttributeError: standard output is no file.
    """

    def __init__(
        self, word: str, running: ContextVar[tuple[str, str] | None], failed: ContextVar[str | None]
    ) -> None:
        self.is_over = False
        """Whether it has given up."""
        self._start, self._end = f"\x1b_dnworker:{word}:", "\x1b\\"
        self._running, self._failed = running, failed
        # where reports go
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._streams = [one for one in (sys.stdout, sys.stderr) if one is not None]
        self._files = [sys.stdout.fileno(), *_numbers(sys.stderr)]
        self._pipe = _identity(self._files[0])
        # what waits for the end of this step
        self._batch: list[str] = []
        self._batches = 0
        self._written_at = 0.0
        self._nothing = Context()
        # what waits for room
        self._waiting: deque[bytes] = deque()
        self._waits = 0
        self._lost = 0
        # whose the text is
        self._last = _NOBODY
        self._has_text = False
        self._main = threading.main_thread().ident

    # -- reports ---------------------------------------------------------------------------------------

    def report(self, report: dict[str, Any]) -> None:
        """Write one report at once, and those before it that wait for the others of their step."""
        if self.is_over or os.getpid() != self._pid:
            return
        with self._lock:
            self._batch.append(json.dumps(report)[1:-1])
            self._write_batch()

    def begin(self, report: str) -> tuple[int, int]:
        """Write that a handler begins, as the inside of JSON; returns where that is, for `end`.

        Of many in a short time, those of one step of the loop are written at once.
        """
        if self.is_over or os.getpid() != self._pid:
            return -1, 0
        with self._lock:
            position = self._batches, len(self._batch)
            self._batch.append(BEGIN + report)
            self._write_soon(position[1])
            return position

    def end(self, run_id: str, position: tuple[int, int], duration: float) -> None:
        """Write that a handler has ended well; `position` is where it began."""
        if self.is_over or os.getpid() != self._pid:
            return
        with self._lock:
            number, index = position
            if self._last[0] == run_id:  # text that follows is not its own
                self._last = _NOBODY
                self._batch.append(_says(_NOBODY))
            elif number == self._batches:
                begun = self._batch[index][len(BEGIN) :]
                self._batch[index] = f'"is":"ran","duration":{duration:.6f},{begun}'
                return
            self._batch.append(f'"is":"end","outcome":"ok","id":"{run_id}","duration":{duration:.6f}')
            self._write_soon(len(self._batch) - 1)

    def fail(self, run_id: str, report: dict[str, Any]) -> None:
        """Write that a handler was cancelled, or raised."""
        with self._lock:
            if self._last[0] == run_id:
                self._last = _NOBODY
                self._batch.append(_says(_NOBODY))
            self.report(report)

    def _write_soon(self, before: int) -> None:
        """Write the reports of this step at its end; at once where nothing was written for a while."""
        if 0 < before < MOST_AT_ONCE:
            return
        if before == 0 and time.monotonic() < self._written_at + SPACED:
            loop = asyncio._get_running_loop()
            if loop is not None:
                loop.call_soon(self._write_late, context=self._nothing)
                return
        self._write_batch()

    def _write_late(self) -> None:
        try:
            with self._lock:
                self._write_batch()
        except Exception as exc:
            self.give_up(exc)

    def _write_batch(self) -> None:
        batch, self._batch = self._batch, []
        if not batch:
            return
        self._batches += 1
        self._written_at = time.monotonic()
        if self._has_text:
            self._flush()
        start, end = self._start, self._end
        self._write("".join([f"{start}{{{one}}}{end}" for one in batch]).encode())

    def notice(self, text: str) -> None:
        """Have the runtime log something about the reports; never raises."""
        try:
            self.report({"is": "notice", "text": text[:LONGEST_TEXT]})
        except Exception as exc:
            self.give_up(exc)

    def give_up(self, exc: BaseException) -> None:
        """Report nothing from now on, and say why; never raises."""
        if self.is_over:
            return
        try:
            why = f"observing it failed: {type(exc).__name__}: {exc}"[:LONGEST_TEXT]
            self.report({"is": "notice", "text": why, "is_over": True})
        except Exception:  # noqa: S110  where it would be said cannot be written to
            pass
        finally:
            self.is_over = True

    def _write(self, data: bytes) -> None:
        """Write what waits, and then this.

        Raises:
            Gone: no file of this process leads to the runtime.
        """
        file = self._file()
        if not self._waiting:
            written = _written(file, data)
            if written == len(data):
                return
            data = data[written:]
        self._waiting.append(data)
        self._waits += len(data)
        while self._waiting:
            first = self._waiting[0]
            written = _written(file, first)
            self._waits -= written
            if written < len(first):
                self._waiting[0] = first[written:]
                break
            self._waiting.popleft()
        while self._waits > LONGEST_QUEUE and len(self._waiting) > 1:  # the first may be half written
            self._waits -= len(self._waiting.pop())
            self._lost += 1
        if self._lost and not self._waiting:
            lost, self._lost = self._lost, 0
            text = f"reports were lost, as its output was full: {lost:,}"
            self.report({"is": "notice", "text": text, "lost": lost})

    def _file(self) -> int:
        """Return a file that leads to the runtime: the process may have put another in the place of one."""
        for file in self._files:
            if _identity(file) == self._pipe:
                return file
        raise Gone("its output was redirected")

    # -- whose the text is -----------------------------------------------------------------------------

    def follow_output(self) -> None:
        """Have what is printed say which handler printed it."""
        for name, file in zip(("stdout", "stderr"), self._files, strict=False):
            stream = getattr(sys, name)
            if "\x1b_a".encode(stream.encoding or "utf-8") == b"\x1b_a":
                # On the instance: who holds the stream already, as the SDK's logger does, is followed too.
                stream.write = self._writer(stream.write, name, file)

    def _writer(self, write: Callable[[str], int], source: str, file: int) -> Callable[[str], int]:
        def write_on(text: str) -> int:
            if not isinstance(text, str) or self.is_over or os.getpid() != self._pid:
                return write(text)
            with self._lock:
                mark = self._mark(source, file, text)
                self._has_text = True
                if not mark:
                    return write(text)
                write(mark + text)
                return len(text)

        return write_on

    def _mark(self, source: str, file: int, text: str) -> str:
        """Return the report that the text is whose it is, if it is another's than the one before."""
        try:
            here, failed = self._running.get(), self._failed.get()
            is_told = False
            whose: str | None
            if failed is not None and here is None and OF_RUNNER in text[:HEAD]:
                self._failed.set(None)
                whose, is_told = failed, True
            else:
                whose = None if here is None else here[1]
            thread = threading.get_ident()
            says = (whose, source, 0 if thread == self._main else thread, is_told)
            if says == self._last or _identity(file) != self._pipe:
                return ""
            self._write_batch()
            self._flush()
            self._last = says
            return f"{self._start}{{{_says(says)}}}{self._end}"
        except Exception as exc:
            self.give_up(exc)
            return ""

    def _flush(self) -> None:
        """Write the text that came before."""
        self._has_text = False
        for stream in self._streams:
            try:
                stream.flush()
            except (OSError, ValueError):  # it is the script's to notice that
                pass


def _says(says: tuple[str | None, str, int, bool]) -> str:
    whose, source, by, is_told = says
    told = ',"told":true' if is_told else ""
    source, level = ("runtime", "error") if is_told else (source, "info")
    who = "null" if whose is None else f'"{whose}"'
    return f'"is":"says","id":{who},"source":"{source}","level":"{level}","by":{by}{told}'


def _written(file: int, data: bytes) -> int:
    """Write what the file takes; returns how many bytes that is."""
    done = 0
    while done < len(data):
        try:
            done += os.write(file, data[done:] if done else data)
        except BlockingIOError:
            break
    return done


def _numbers(stream: Any) -> list[int]:
    try:
        return [stream.fileno()]
    except (AttributeError, OSError, ValueError):
        return []


def _identity(file: int) -> tuple[int, int] | None:
    """Return what tells one file from another; None where the number is no file."""
    try:
        found = os.fstat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino
