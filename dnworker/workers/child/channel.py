"""`Channel`: writes the reports of a process that `observe.py` observes into its output, between its text.

The format is that of `dnworker.workers.reports`. It uses the standard library only: the environment is not
ours.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import Any

LONGEST_QUEUE = 1_000_000
"""Bytes of reports that wait where the pipe takes none: a handler that prints nothing waits for no reader."""

LONGEST_REPORT = 900_000
"""Bytes of a report; the runtime takes what is longer than 1,000,000 for text."""

LAST_WAIT = 1.0
"""Seconds in which what waits may get room at the end, or before text that would cut a report in two."""

AT_ONCE = select.PIPE_BUF
END = b"\x1b\\"
"""Bytes that a pipe which has room takes whole, and the end of a report."""

LONGEST_TEXT = 2_000
"""Characters of a notice."""

OF_RUNNER = "dreadnode.capabilities.worker_runner"
"""What the SDK's own line of a failed handler names; the runtime has an entry of its own for that."""

HEAD = 300
"""Characters of a text in which that is looked for."""

DELIVERED = ',"delivered":true'

SPACED, LATER = 0.005, 0.02
MOST_AT_ONCE = 256
"""Seconds after a write within which others wait: the beginnings of runs for `SPACED` more, the ends for
`LATER`, both no longer than until there are so many, or something is printed.

Each write wakes the runtime, which costs a process more than all else here, and each call at the end of a
step another turn of the loop."""

_NOBODY: tuple[Any, str, int, bool] = (None, "stdout", 0, False)


class Gone(Exception):
    """The output of the process does not lead to the runtime, or not any more."""


class Channel:
    """Writes reports into the output, which the runtime reads anyway, and marks whose the text is.

    Nothing that fails in it reaches the script: the reports end then, and that is said once.

    Args:
        word: that the runtime knows reports by.
        pipe: the device and the number of the file that leads to the runtime; None where it is not known.
        here: the run of a handler that goes on here.
        failed: the run that failed here, which the SDK is about to log.

    Raises:
        Gone: no output of the process leads to the runtime.
        OSError, ValueError, AttributeError: standard output is no file.
    """

    def __init__(self, word: str, pipe: str | None, here: ContextVar[Any], failed: ContextVar[Any]) -> None:
        self.is_over = False
        """Whether it has given up."""
        self._start, self._end = f"\x1b_dnworker:{word}:", "\x1b\\"
        self._here, self._failed = here, failed
        # where reports go
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._streams = [one for one in (sys.stdout, sys.stderr) if one is not None]
        self._files = [sys.stdout.fileno(), *_numbers(sys.stderr)]
        self._pipe = _identity(self._files[0]) if pipe is None else _named(pipe)
        self._file()
        # what waits for more, to be written at once
        self._batch: list[Any] = []
        self._is_due = False
        self._timer: Any = None
        self._written_at = 0.0
        self._nothing = Context()
        # what waits for room
        self._waiting: deque[bytes] = deque()
        self._waits = 0
        self._lost = 0
        self._is_half = False  # whether the first that waits is written in part
        # whose the text is
        self._last = _NOBODY
        self._has_text = False
        self._main = threading.main_thread().ident
        self._is_shared = False  # whether a forked process may write to the same output
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_parent=self._after_fork, after_in_child=self._after_fork_in_child)

    def _after_fork(self) -> None:
        self._is_shared = True

    def _after_fork_in_child(self) -> None:
        self._is_shared = True
        self._lock = threading.RLock()  # another thread may have held it, which is none of the child's
        self._batch, self._timer, self._is_due = [], None, False
        self._waiting.clear()
        self._waits, self._is_half = 0, False

    # -- reports ---------------------------------------------------------------------------------------

    def report(self, report: dict[str, Any]) -> None:
        """Write one report at once, and those before it that wait for others."""
        if self.is_over or os.getpid() != self._pid:
            return
        with self._lock:
            self._batch.append(_as_text(report)[1:-1])
            self._write_batch()

    def begin(self, run: Any) -> None:
        """Write that a handler begins; of many in a short time, several at once."""
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
        if self.is_over or os.getpid() != self._pid:
            return
        with self._lock:
            if self._last[0] is run:
                self._last = _NOBODY
                self._batch.append(_says(_NOBODY))
            self.report(report)

    def _write_soon(self, *, is_end: bool = False) -> None:
        """Write now, or a little later; see `SPACED`."""
        if self._is_due and len(self._batch) < MOST_AT_ONCE:
            return
        now = time.monotonic()
        if now < self._written_at + SPACED and (loop := asyncio._get_running_loop()) is not None:
            if not is_end:
                self._is_due = True
                loop.call_later(SPACED, self.write_late, context=self._nothing)
            elif self._timer is None:
                self._timer = loop.call_later(LATER, self.write_late, context=self._nothing)
            return
        self._write_batch()

    def write_late(self) -> None:
        """Write what waits; never raises."""
        if os.getpid() != self._pid:
            return
        self._is_due = False
        if self._timer is not None:
            self._timer.cancel()  # each would make another while the pipe is full
            self._timer = None
        try:
            with self._lock:
                self._write_batch()
        except Exception as exc:
            self.give_up(exc)

    def write_last(self) -> None:
        """Write what waits, and let a full pipe have a second for it; never raises."""
        self.write_late()
        if self.is_over or os.getpid() != self._pid:
            return
        try:
            with self._lock:
                self._write_waiting(self._file(), LAST_WAIT)
        except Exception as exc:
            self.give_up(exc)

    def _write_batch(self) -> None:
        if not self._batch:
            if self._waiting:
                self._write(b"")
            return
        if self._has_text:
            self._flush()
        self._write(self._taken().encode("utf-8", "replace"))

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

    def notice(self, text: str, *, is_over: bool = False) -> None:
        """Have the runtime log something about the reports, which may be the last of them; never raises."""
        try:
            self.report({"is": "notice", "text": text[:LONGEST_TEXT], "is_over": is_over})
            self.is_over = self.is_over or is_over
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
        if data:
            self._waiting.append(data)
            self._waits += len(data)
        self._write_waiting(file)
        while self._waits > LONGEST_QUEUE and len(self._waiting) > 1:  # the first may be half written
            self._waits -= len(self._waiting.pop())
            self._lost += 1
        if self._waiting and self._timer is None and (loop := asyncio._get_running_loop()) is not None:
            self._timer = loop.call_later(LATER, self.write_late, context=self._nothing)
        if self._lost and not self._waiting:
            lost, self._lost = self._lost, 0
            text = f"reports were lost, as its output was full: {lost:,}"
            self.report({"is": "notice", "text": text, "lost": lost})

    def _write_waiting(self, file: int, seconds: float = 0, *, only_half: bool = False) -> None:
        """Write what waits, or only the rest of what is half written, as far as there is room in time."""
        while self._waiting and (self._is_half or not only_half):
            first = self._waiting[0]
            end = first.find(END) + len(END) if only_half else len(first)
            written, is_half = _written(file, first[:end], seconds)
            self._waits -= written
            if written == len(first):
                self._waiting.popleft()
            else:
                self._waiting[0] = first[written:]
            if written:
                self._is_half = is_half
            if written < end:
                return

    def _make_way(self, file: int) -> None:
        """Write what text must not come before: all where text waits for room, else what is half written."""
        try:
            if os.get_blocking(file):
                self._write_waiting(file, -1)
            else:
                self._write_waiting(file, LAST_WAIT, only_half=True)
        except Exception as exc:
            self.give_up(exc)

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
            if not isinstance(text, str) or self.is_over:
                return write(text)
            with self._lock:
                mark = self._mark(source, file, text)
                if self._waiting and _identity(file) == self._pipe:
                    self._make_way(file)
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
            # The process's own number is in it, too: a forked child has threads of the same numbers.
            by = thread ^ os.getpid() if self._is_shared or thread != self._main else 0
            says = (whose, source, by, is_told)
            if (says == self._last and not self._is_shared) or _identity(file) != self._pipe:
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
            try:  # noqa: SIM105  `suppress` takes longer than a flush
                stream.flush()
            except (OSError, ValueError):  # it is the script's to notice that
                pass


def _says(says: tuple[Any, str, int, bool]) -> str:
    whose, source, by, is_told = says
    told = ',"told":true' if is_told else ""
    source, level = ("runtime", "error") if is_told else (source, "info")
    who = "null" if whose is None else f'"{whose.id}"'
    return f'"is":"says","id":{who},"source":"{source}","level":"{level}","by":{by}{told}'


def _as_text(report: dict[str, Any]) -> str:
    """Return a report as JSON that the runtime takes: of an error that is too long, what is outermost."""
    text = json.dumps(report)
    if len(text) > LONGEST_REPORT:
        text = json.dumps(report, ensure_ascii=False)  # which has six bytes of each letter of two
    if len(text.encode("utf-8", "replace")) <= LONGEST_REPORT:
        return text
    error = report.get("error")
    if not error:
        raise ValueError(f"a report of {len(text):,} characters is too long")
    alone = {key: value for key, value in error.items() if key not in ("cause", "context", "members")}
    alone |= {"is_cut": True, "more_members": error.get("more_members", 0) + len(error.get("members", ()))}
    if alone == error:
        alone["frames"] = [{**frame, "locals": []} for frame in error["frames"]]
    return _as_text(report | {"error": alone})


def _written(file: int, data: bytes, seconds: float) -> tuple[int, bool]:
    """Write what the file takes without a wait, or as far as it has room within `seconds`; -1 is for ever.

    Returns how many bytes that is, and whether they end within a report.
    """
    done, room = 0, select.poll()
    room.register(file, select.POLLOUT)
    until = time.monotonic() + seconds
    while done < len(data):
        wait = None if seconds < 0 else max(0.0, until - time.monotonic()) * 1000 if seconds else 0
        if not room.poll(wait):
            break
        end = data.rfind(END, done, done + AT_ONCE) + len(END)  # whole reports, where they fit
        try:
            done += os.write(file, data[done : end if end > done + 1 else done + AT_ONCE])
        except BlockingIOError:
            if not seconds:
                break
    return done, not data.endswith(END, 0, done)


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


def _named(pipe: str) -> tuple[int, int]:
    """Return the identity of the file that the runtime names."""
    device, number = pipe.split(":")
    return int(device), int(number)
