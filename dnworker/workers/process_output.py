"""`ProcessOutput`: takes the output of a process apart: log, reports, lines; for `subprocess_runner`."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from dnworker.workers.log_file import LogFile
from dnworker.workers.reports import Report, ReportReader, Says

LONGEST_LINE = 65_536
"""Characters of one line kept in memory; the log file has every byte."""

SLICE = 0.002
"""Seconds of work on output after which others have the loop: a process may print without end."""

LINES_AT_ONCE = 32
"""Lines after which the time is looked at."""

LineListener = Callable[[str, Says], None]


class ProcessOutput:
    """The output of one run.

    Args:
        recent: gets the lines that are not empty.
        log_file: gets every byte that is no report.
        on_line: called with every line, and whose it is.
        on_report: called with every report.
        report_word: by which reports are known; without one there are none.
    """

    def __init__(
        self,
        recent: deque[str],
        *,
        log_file: LogFile | None = None,
        on_line: LineListener | None = None,
        on_report: Callable[[Report], None] | None = None,
        report_word: str | None = None,
    ) -> None:
        self.taken = 0
        """Bytes that were read."""
        self._recent = recent
        self._log_file = log_file
        self._on_line = on_line
        self._on_report = on_report
        self._reader = ReportReader(report_word) if report_word is not None else None
        self._says = Says()
        self._rest = b""
        self._slice_began = 0.0

    async def read(self, stream: asyncio.StreamReader) -> None:
        """Take everything until the stream ends."""
        while chunk := await stream.read(65_536):
            self.taken += len(chunk)
            self._slice_began = time.monotonic()
            for piece in (chunk,) if self._reader is None else self._reader.feed(chunk):
                if isinstance(piece, bytes):
                    await self._take_text(piece)
                elif isinstance(piece, Says):
                    self._says = piece
                elif self._on_report is not None:
                    self._on_report(piece)
                    await self._pause()
            await self._pause()

    def end(self) -> None:
        """Take what was held back: the output has ended, or nobody waits for it any more."""
        if self._reader is not None and (held := self._reader.rest()):
            if self._log_file is not None:
                self._log_file.write(held)
            self._rest += held
        for line in self._rest.split(b"\n"):
            self._keep(line)
        self._rest = b""
        if self._log_file is not None:
            self._log_file.end()

    async def _take_text(self, text: bytes) -> None:
        """Write output to the log; keep its whole lines, and the beginning of the one that has not ended."""
        if self._log_file is not None:
            self._log_file.write(text)
        first, newline, others = text.partition(b"\n")
        # Of a line without end the head is kept, and the rest is not, nor copied again and again.
        if (room := 4 * LONGEST_LINE - len(self._rest)) > 0:
            self._rest += first[:room]
        if not newline:
            return
        self._keep(self._rest)
        *lines, self._rest = others.split(b"\n")
        for number, line in enumerate(lines):
            self._keep(line)
            if number % LINES_AT_ONCE == 0:
                await self._pause()

    async def _pause(self) -> None:
        """Leave the loop to others, if it was used here for long."""
        if time.monotonic() - self._slice_began >= SLICE:
            await asyncio.sleep(0)
            self._slice_began = time.monotonic()

    def _keep(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\r\n")
        if not text:
            return
        if len(text) > LONGEST_LINE:
            path = self._log_file.path if self._log_file is not None else None
            text = f"{text[:LONGEST_LINE]} [cut; the whole line is in {path}]"
        self._recent.append(text)
        if self._log_file is not None:
            self._log_file.print(text)
        if self._on_line is not None:
            self._on_line(text, self._says)
