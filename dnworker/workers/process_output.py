"""`ProcessOutput`: takes the output of a process apart: log, reports, lines; for `subprocess_runner`."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from dnworker.workers.log_file import LogFile
from dnworker.workers.reports import End, Report, ReportReader, Says

LONGEST_LINE = 65_536
"""Characters of one line kept in memory; the log file has every byte."""

LONGEST_REST = 4 * LONGEST_LINE
UNFINISHED_LINES = 100
"""Bytes of a line that has not ended, and how many such lines there may be: one for each thread."""

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
        self.has_reports = False
        """Whether a report was read."""
        self._recent = recent
        self._log_file = log_file
        self._on_line = on_line
        self._on_report = on_report
        self._reader = ReportReader(report_word) if report_word is not None else None
        self._says = Says()
        self._rests: dict[Says, bytearray] = {}
        """The beginnings of lines that have not ended, by whose they are."""
        self._cut: dict[Says, int] = {}
        """Bytes of these lines that are not kept."""
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
                    await self._pause()
                elif self._on_report is not None:
                    self.has_reports = True
                    if isinstance(piece, End):
                        self._end_lines(lambda says, ended=piece.id: says.id == ended)  # type: ignore[misc]
                    self._on_report(piece)
                    await self._pause()
            await self._pause()

    def end(self) -> None:
        """Take what was held back: the output has ended, or nobody waits for it any more."""
        if self._reader is not None and (held := self._reader.rest()):
            if self._log_file is not None:
                self._log_file.write(held)
            self._begin_line(held)
        self._end_lines(lambda says: True)
        if self._log_file is not None:
            self._log_file.end()

    async def _take_text(self, text: bytes) -> None:
        """Write output to the log; keep its whole lines, and the beginning of the one that has not ended."""
        if self._log_file is not None:
            self._log_file.write(text)
        first, newline, others = text.partition(b"\n")
        self._begin_line(first)
        if not newline:
            return
        self._end_line(self._says)
        *lines, rest = others.split(b"\n")
        for number, line in enumerate(lines):
            self._keep(line, self._says)
            if number % LINES_AT_ONCE == 0:
                await self._pause()
        self._begin_line(rest)

    def _begin_line(self, text: bytes) -> None:
        """Add to the line of whoever writes; of one without end the head is kept, and the rest is counted."""
        if not text:
            return
        if self._says not in self._rests and len(self._rests) >= UNFINISHED_LINES:
            self._end_line(next(iter(self._rests)))
        rest = self._rests.setdefault(self._says, bytearray())
        if b"\r" in text or rest.endswith(b"\r"):  # a progress bar, whose last state is its line
            text = bytes(rest) + text
            text = text[text.rstrip(b"\r").rfind(b"\r") + 1 :]
            rest.clear()
            self._cut.pop(self._says, None)
        room = max(0, LONGEST_REST - len(rest))
        rest += text[:room]
        if len(text) > room:
            self._cut[self._says] = self._cut.get(self._says, 0) + len(text) - room

    def _end_line(self, says: Says) -> None:
        line, cut = self._rests.pop(says, b""), self._cut.pop(says, 0)
        self._keep(bytes(line), says, cut)

    def _end_lines(self, are_ended: Callable[[Says], bool]) -> None:
        for says in [one for one in self._rests if are_ended(one)]:
            self._end_line(says)

    async def _pause(self) -> None:
        """Leave the loop to others, if it was used here for long."""
        if time.monotonic() - self._slice_began >= SLICE:
            await asyncio.sleep(0)
            self._slice_began = time.monotonic()

    def _keep(self, line: bytes, says: Says, cut: int = 0) -> None:
        text = line.decode(errors="replace").rstrip("\r\n").rpartition("\r")[2]
        if not text:
            return
        if len(text) > LONGEST_LINE:
            size = f"{len(text) - LONGEST_LINE + cut:,} more characters"
            where = f"; the whole line is in {self._log_file.path}" if self._log_file is not None else ""
            text = f"{text[:LONGEST_LINE]} [cut: {size}{where}]"
        self._recent.append(text)
        if self._log_file is not None:
            self._log_file.print(text)
        if self._on_line is not None:
            self._on_line(text, says)
