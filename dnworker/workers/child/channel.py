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
from contextlib import suppress
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

DELIVERED = ',"delivered":true'

SPACED, LATER = 0.005, 0.02
MOST_AT_ONCE = 256
"""Seconds after a write within which others wait: the beginnings of runs for the end of their step of the
loop, the ends for as long as `LATER`, both no longer than until there are so many, or something is printed.

Each write wakes the runtime, which costs a process more than all else here."""

_NOBODY: tuple[Any, str, int, bool] = (None, "stdout", 0, False)


class Gone(Exception):
    """The output of the process does not lead to the runtime any more."""


class Channel:
    """Writes reports into the output, which the runtime reads anyway, and marks whose the text is.

    Nothing that fails in it reaches the script: the reports end then, and that is said once.

    Args:
        word: that the runtime knows reports by.
        here: the run of a handler that goes on here.
        failed: the run that failed here, which the SDK is about to log.

    Raises:
        OSError, ValueError, AttributeError: standard output is no file.
    """

    def __init__(self, word: str, here: ContextVar[Any], failed: ContextVar[Any]) -> None:
        self.is_over = False
        """Whether it has given up."""
        self._start, self._end = f"\x1b_dnworker:{word}:", "\x1b\\"
        self._here, self._failed = here, failed
        # where reports go
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._streams = [one for one in (sys.stdout, sys.stderr) if one is not None]
        self._files = [sys.stdout.fileno(), *_numbers(sys.stderr)]
        self._pipe = _identity(self._files[0])
        # what waits for the end of this step
        self._batch: list[Any] = []
        self._is_due = False
        self._timer: Any = None
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

    def begin(self, run: Any) -> None:
        """Write that a handler begins; of many in a short time, those of one step of the loop at once."""
        if self.is_over or os.getpid() != self._pid:
            return
        with self._lock:
            self._batch.append(run)
            if run.event_id is None:
                self._write_batch()
            else:
                self._write_soon()

    def end(self, run: Any, took: float) -> None:
        """Write that a handler has ended well, after `took` seconds."""
        if self.is_over or os.getpid() != self._pid:
            return
        with self._lock:
            if self._last[0] is run:  # text that follows is not its own
                self._last = _NOBODY
                self._batch.append(_says(_NOBODY))
            elif not run.is_told:
                run.took = took
                return
            self._batch.append(f'"is":"end","outcome":"ok","id":"{run.id}","duration":{took:.6f}')
            if run.event_id is None:
                self._write_batch()
            else:
                self._write_soon(is_end=True)

    def fail(self, run: Any, report: dict[str, Any]) -> None:
        """Write that a handler was cancelled, or raised."""
        with self._lock:
            if self._last[0] is run:
                self._last = _NOBODY
                self._batch.append(_says(_NOBODY))
            self.report(report)

    def _write_soon(self, *, is_end: bool = False) -> None:
        """Write now, at the end of this step, or a little later; see `SPACED`."""
        if self._is_due and len(self._batch) < MOST_AT_ONCE:
            return
        now = time.monotonic()
        if now < self._written_at + SPACED and (loop := asyncio._get_running_loop()) is not None:
            if not is_end:
                self._is_due = True
                loop.call_soon(self.write_late, context=self._nothing)
            elif self._timer is None:
                self._timer = loop.call_later(LATER, self.write_late, context=self._nothing)
            return
        self._write_batch()

    def write_late(self) -> None:
        """Write what waits; never raises."""
        self._is_due = False
        self._timer = None
        try:
            with self._lock:
                self._write_batch()
        except Exception as exc:
            self.give_up(exc)

    def _write_batch(self) -> None:
        if not self._batch:
            if self._waiting:
                self._write(b"")
            return
        if self._has_text:
            self._flush()
        self._write(self._taken().encode())

    def _taken(self) -> str:
        """Return the reports that wait, as they stand in the output, and forget them."""
        batch, self._batch = self._batch, []
        self._written_at = time.monotonic()
        return "".join(map(self._text, batch))

    def _text(self, one: Any) -> str:
        """Return one report as it stands in the output: the inside of JSON, or a run that begins."""
        if type(one) is str:
            return f"{self._start}{{{one}}}{self._end}"
        event_id, one.is_told = one.event_id, True
        how = '"is":"begin"' if one.took is None else f'"is":"ran","duration":{one.took:.6f}'
        if event_id is None:
            return f'{self._start}{{{how},{one.head},"id":"{one.number:016x}"}}{self._end}'
        named = f'"{event_id}"' if event_id.isalnum() else json.dumps(event_id)
        event = f'"event_id":{named}{DELIVERED if one.is_delivered else ""}'
        return f'{self._start}{{{how},{one.head},"id":"{one.number:016x}",{event}}}{self._end}'

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
        if data:
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
        if self._waiting and self._timer is None and (loop := asyncio._get_running_loop()) is not None:
            self._timer = loop.call_later(LATER, self.write_late, context=self._nothing)
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
                stream.write = self._writer(stream, name, file)

    def _writer(self, stream: Any, source: str, file: int) -> Callable[[str], Any]:
        write, flush = stream.write, stream.flush

        def write_on(text: str) -> Any:
            if not isinstance(text, str) or self.is_over or os.getpid() != self._pid:
                return write(text)
            with self._lock:
                mark = self._mark(source, file, text)
                self._has_text = True
                if not mark:
                    return write(text)
                write(mark + text)
                if not text.endswith("\n"):
                    flush()  # the reports before it
                return len(text)

        return write_on

    def _mark(self, source: str, file: int, text: str) -> str:
        """Return the report that the text is whose it is, if it is another's than the one before."""
        try:
            here, failed = self._here.get(), self._failed.get()
            is_told = False
            whose: Any
            if failed is not None and here is None and OF_RUNNER in text[:HEAD]:
                self._failed.set(None)
                whose, is_told = failed, True
            else:
                whose = None if here is None or not here.number else here
            thread = threading.get_ident()
            says = (whose, source, 0 if thread == self._main else thread, is_told)
            if says == self._last or _identity(file) != self._pipe:
                return ""
            self._flush()
            if self._waiting:
                self._write_batch()
            self._last = says
            return f"{self._taken()}{self._start}{{{_says(says)}}}{self._end}"
        except Exception as exc:
            self.give_up(exc)
            return ""

    def _flush(self) -> None:
        """Write the text that came before."""
        self._has_text = False
        for stream in self._streams:
            with suppress(OSError, ValueError):  # it is the script's to notice that
                stream.flush()


def _says(says: tuple[Any, str, int, bool]) -> str:
    whose, source, by, is_told = says
    told = ',"told":true' if is_told else ""
    source, level = ("runtime", "error") if is_told else (source, "info")
    who = "null" if whose is None else f'"{whose.id}"'
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
