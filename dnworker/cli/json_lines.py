"""Lines of output as JSON objects, for `serve --log-format json`: what is in them, and who says what."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

from dnworker.cli.outlet import Outlet
from dnworker.cli.text import ErrorCodes
from dnworker.core.errors import code_of
from dnworker.core.invocation import current_invocation
from dnworker.core.log_records import current_emission
from dnworker.core.logs import LONGEST_LINE
from dnworker.core.text import clip, valid_text

LONGEST_PARTIAL = 1_000_000
"""Bytes that wait for the end of their line; then they are a line."""

_HIDDEN = re.compile(r"[^\x20-\x7e]")


class Entry(msgspec.Struct, frozen=True):
    """What one line says.

    Attributes: `message`; `level`, in lower case; `logger`, who says it; `worker`; `invocation` and `event`,
    the ids of what it is about; `code`, of an error of ours; `exception`, with its traceback; `more`,
    fields of this kind of line alone.
    """

    message: str
    level: str = "info"
    logger: str = "dnworker.serve"
    worker: str | None = None
    invocation: str | None = None
    event: str | None = None
    code: str | None = None
    exception: str | None = None
    more: Mapping[str, Any] = msgspec.field(default_factory=dict)

    @classmethod
    def of_error(cls, exc: BaseException) -> Entry:
        """Return what says that a command has failed."""
        return cls(str(exc), "error", code=code_of(exc))


_current: ContextVar[Entry | None] = ContextVar("dnworker_log_entry", default=None)
"""What the text is that is being written; None for text of somebody else."""


@contextmanager
def speaking(entry: Entry) -> Iterator[None]:
    """Have the text that is written in the block be this entry, where lines are JSON."""
    token = _current.set(entry)
    try:
        yield
    finally:
        _current.reset(token)


def current_entry() -> Entry | None:
    """Return what the text is that is being written here."""
    return _current.get()


def line_of(entry: Entry) -> bytes:
    """Return an entry as a line of JSON: printable characters alone, whatever its texts are."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    invocation = current_invocation.get()
    worker, invocation_id, event = entry.worker, entry.invocation, entry.event
    if invocation is not None and worker in (None, invocation.worker) and invocation_id is None:
        worker, invocation_id = invocation.worker, invocation.id
        event = event or (None if invocation.event is None else invocation.event.event_id)
    found: dict[str, Any] = {
        "time": now,
        "level": entry.level,
        "logger": valid_text(entry.logger),
        "message": clip(entry.message, LONGEST_LINE),
        "worker": worker,
        "invocation": invocation_id,
        "event": event,
        "code": entry.code,
        "exception": None if entry.exception is None else clip(entry.exception, LONGEST_LINE),
    }
    kept = {name: value for name, value in found.items() if value is not None}
    text = json.dumps({**entry.more, **kept}, ensure_ascii=False)
    if not text.isprintable():
        text = _HIDDEN.sub(lambda c: c[0] if c[0].isprintable() else json.dumps(c[0])[1:-1], text)
        text = text.replace("\x7f", "\\u007f")
    return text.encode("utf-8", "replace") + b"\n"


class JsonOutlet(Outlet):
    """An outlet for text of others, each line of which is an entry; written to another outlet.

    Args:
        below: takes the lines of JSON.
        logger: who says them, such as `stdout`.
    """

    def __init__(self, below: Outlet, logger: str) -> None:
        super().__init__(-1, below.name)
        self._below = below
        self._logger = logger
        self._partial = b""
        self._splitting = threading.RLock()

    def start(self) -> None:
        """Begin to write: the outlet below does."""

    def write(self, data: bytes) -> None:
        """Write the lines that are complete."""
        with self._splitting:
            *lines, self._partial = (self._partial + data).split(b"\n")
            if len(self._partial) > LONGEST_PARTIAL:
                lines.append(self._partial)
                self._partial = b""
        for line in lines:
            self._write_line(line)

    def say(self, entry: Entry) -> None:
        """Write an entry, apart from lines that are not complete."""
        self._below.write(line_of(entry))

    def flush(self, timeout: float | None = None) -> bool:
        """Return whether all is written but a line that is not complete."""
        return self._below.flush() if timeout is None else self._below.flush(timeout)

    def close(self, timeout: float = 1.0) -> None:
        """Write what has no end of line yet; the outlet below is closed by its owner."""
        with self._splitting:
            partial, self._partial = self._partial, b""
        if partial:
            self._write_line(partial)

    def take_loss(self) -> str | None:
        """Return None: nothing is lost here."""
        return None

    def _write_line(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace").rstrip("\r")
        if not text:
            return
        emission = current_emission.get()
        level, logger = "info", self._logger
        if emission is not None:
            level, logger = emission.level, logger if emission.record is None else emission.record.name
        self.say(Entry(text, level, logger))


class RecordHandler(logging.Handler):
    """Writes records of `logging` to a stream: as text, which is an entry where the stream has JSON lines."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._codes = ErrorCodes()
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            entry = self._entry(record)
            text = self.format(record)
            with speaking(entry):
                self._stream.write(f"{text}\n")
            self._stream.flush()
        except RecursionError:
            raise
        except Exception:
            self.handleError(record)

    def _entry(self, record: logging.LogRecord) -> Entry:
        values = record.args if isinstance(record.args, tuple) else ()
        errors = [one for one in values if isinstance(one, BaseException)]
        exception = None
        if record.exc_info and record.exc_info[1] is not None:
            errors.append(record.exc_info[1])
            exception = logging.Formatter().formatException(record.exc_info)
        code = next((code for one in errors if (code := code_of(one)) is not None), None)
        message = record.getMessage()
        self._codes.filter(record)
        return Entry(message, record.levelname.lower(), record.name, code=code, exception=exception)
