"""The format of the reports that a worker process writes between the lines of its own output.

The runtime that spawns a worker reads its output anyway. A process that finds `DNWORKER_REPORTS` in its
environment puts reports into it as application program commands (ECMA-48, 8.3.2), which a terminal shows
nothing of: they keep their place among the lines that handlers print, need no further connection, and do not
trouble other runtimes, which do not set the variable. The runtime takes them out before the log file and
anybody else sees the output.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from functools import cache
from typing import Literal

import msgspec

from dnworker.core.declared import DeclaredPayload
from dnworker.core.handler_error import HandlerError
from dnworker.core.handlers import HandlerKey
from dnworker.core.invocation import Cause, HandlerWarning

VARIABLE = "DNWORKER_REPORTS"
"""Holds a word that only the runtime and the process know: what a handler prints cannot pass for a report."""

LOCALS = "DNWORKER_LOCALS"
"""Says whether errors have the values of variables: `0` if not."""

OBSERVE = "DNWORKER_OBSERVE"
"""Says whether a worker of the reference's SDK is made to report: `1` if so."""

OUTPUT = "DNWORKER_OUTPUT"
"""Says which file leads to the runtime, `device:number`: another, such as a pipe of a parent's, gets none."""

LONGEST = 1_000_000
"""Bytes after which something that began like a report is taken for text."""

_ESCAPE = b"\x1b"
_END = b"\x1b\\"


class Hello(msgspec.Struct, tag="hello", tag_field="is"):
    """The process reports; its handlers are these, and their events come over one stream for these kinds.

    `observed` if it does not know that it reports, and so cannot say which of its streams that is.
    """

    handlers: list[HandlerKey]
    observed: bool = False
    declared: list[DeclaredPayload] = []
    """What event handlers declare of payloads; a runtime of an earlier version reads over it."""


class Begin(msgspec.Struct, tag="begin", tag_field="is"):
    """A handler begins."""

    id: str
    key: HandlerKey
    cause: Cause
    event_id: str | None = None
    delivered: bool = False
    """Whether all invocations of the event have begun."""


class Ran(msgspec.Struct, tag="ran", tag_field="is"):
    """A handler has begun, and has ended well, after `duration` seconds."""

    id: str
    key: HandlerKey
    cause: Cause
    duration: float
    event_id: str | None = None
    delivered: bool = False


class End(msgspec.Struct, tag="end", tag_field="is"):
    """It has ended, after `duration` seconds.

    One that ended in a warning says `ok`, with its warnings: a runtime of an earlier version knows no other.
    """

    id: str
    outcome: Literal["ok", "error", "cancelled"]
    duration: float
    error: HandlerError | None = None
    warnings: list[HandlerWarning] = []


class Delivered(msgspec.Struct, tag="delivered", tag_field="is"):
    """All invocations of an event have begun."""

    event_id: str


class Says(msgspec.Struct, tag="says", tag_field="is", frozen=True, omit_defaults=True):
    """Whose the text is that follows; `is_logged` if its lines reach the runtime's log by another way.

    `by` tells threads and forked children apart: a line that is cut off by another writer goes on later.
    """

    id: str | None = None
    source: str = "stdout"
    level: str = "info"
    is_logged: bool = msgspec.field(default=False, name="told")
    by: int = 0


class Notice(msgspec.Struct, tag="notice", tag_field="is"):
    """Something about the reports themselves, for the log.

    With `is_over` the process reports nothing from now on; `lost` reports did not get through.
    """

    text: str
    is_over: bool = False
    lost: int = 0


Report = Hello | Begin | Ran | End | Delivered | Says | Notice

_encoder = msgspec.json.Encoder()


@cache
def _decoder() -> msgspec.json.Decoder[Report]:
    """Return what reads reports; a process that writes them needs none."""
    return msgspec.json.Decoder(Report)


def identity(file: int) -> str:
    """Return what tells the file of a descriptor from others, for `OUTPUT`.

    Raises:
        OSError: it is no open file.
    """
    found = os.fstat(file)
    return f"{found.st_dev}:{found.st_ino}"


def new_word() -> str:
    """Return a fresh word for a process."""
    return secrets.token_hex(8)


def _start(word: str) -> bytes:
    return f"\x1b_dnworker:{word}:".encode()


def encode(report: Report, word: str) -> str:
    """Return the report as it stands in the output; JSON escapes what could end it early."""
    return (_start(word) + _encoder.encode(report) + _END).decode()


class ReportReader:
    """Takes the reports out of a stream of output, wherever its chunks are cut."""

    def __init__(self, word: str) -> None:
        self._start = _start(word)
        self._held = b""
        self._decode = _decoder().decode

    def feed(self, chunk: bytes) -> Iterator[bytes | Report]:
        """Give text and reports in their order; what may be the beginning of a report is held back."""
        data, self._held = self._held + chunk, b""
        at = text_at = 0  # where to look on, and where text begins that was not given
        while (start := data.find(self._start, at)) >= 0:
            inside = start + len(self._start)
            end = data.find(_ESCAPE, inside)  # JSON has none
            if end in (-1, len(data) - 1) and len(data) - start <= LONGEST:
                if start > text_at:
                    yield data[text_at:start]
                self._held = data[start:]
                return
            report = None
            if end >= 0 and data.startswith(_END, end):
                try:  # not `suppress`: every run pays for it
                    report = self._decode(data[inside:end])
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                    report = None
            if report is None:  # not what `encode` makes: it is text
                at = end if end >= 0 else len(data)
                continue
            if start > text_at:
                yield data[text_at:start]
            yield report
            at = text_at = end + len(_END)
        keep = self._tail_that_may_start(data)
        self._held = data[len(data) - keep :]
        if len(data) - keep > text_at:
            yield data[text_at : len(data) - keep]

    def rest(self) -> bytes:
        """Return what was held back, at the end of the stream."""
        held, self._held = self._held, b""
        return held

    def _tail_that_may_start(self, data: bytes) -> int:
        """Return how many of the last bytes may be the beginning of a report."""
        at = data.rfind(_ESCAPE, max(0, len(data) - len(self._start) + 1))  # a start has no other inside
        return len(data) - at if at >= 0 and self._start.startswith(data[at:]) else 0
