"""The log of a worker as `%worker logs` shows it: the newest lines, a note of those before, or one line."""

from __future__ import annotations

import json
from html import escape
from typing import Any

import msgspec

from dnworker.core.errors import UsageError
from dnworker.core.logs import LINES_KEPT, LogBook, LogLine
from dnworker.panel.forms import form_of, frame_html, live_forms
from dnworker.panel.log_rows import plain_text
from dnworker_jupyter.display.tables import Note

LINES_SHOWN = 50
"""Lines that are shown where nobody says how many."""

PAGED = 200
"""Lines above which `--all` shows the log in a pager."""


class LogQuery(msgspec.Struct, frozen=True):
    """Which lines of a log are wanted.

    `before` is the number of a line; `grep` is found anywhere in a line, in any case; `event` is an id.
    """

    last: int = LINES_SHOWN
    before: int | None = None
    all: bool = False
    grep: str | None = None
    event: str | None = None

    def finds(self, line: LogLine) -> bool:
        """Return whether a line has the text and the event, and is before the number."""
        return (
            (self.before is None or line.number < self.before)
            and (self.event is None or line.event_id == self.event)
            and (self.grep is None or self.grep.casefold() in plain_text(line.text).casefold())
        )


class LogText(Note):
    """Lines of a log; `is_long` where they are for a pager."""

    is_long = False


def log_text(book: LogBook, worker: str, name: str, query: LogQuery) -> LogText:
    """Return lines of a log: time, level where it is worth one, text; with a note of those before."""
    found = [line for line in book.tail(LINES_KEPT, worker) if query.finds(line)]
    shown = found if query.all else found[-max(1, query.last) :]
    if not shown:
        return LogText(_nothing(name, query, book))
    note = _what_is_before(len(found) - len(shown), shown[0].number, name, query)
    if book.dropped and shown[0] is found[0]:
        note += f"({book.dropped:,} older lines, of all workers, are not kept any more)\n"
    text = LogText(note + "\n".join(_shown(line) for line in shown))
    text.is_long = query.all and len(shown) > PAGED
    return text


def _nothing(name: str, query: LogQuery, book: LogBook) -> str:
    if query == LogQuery(last=query.last, all=query.all):
        return f"{name} has no output yet"
    kept = f"; the log begins at line {book.first}" if query.before is not None else ""
    return f"no line of {name} is like that{kept}"


def _what_is_before(count: int, first: int, name: str, query: LogQuery) -> str:
    if not count:
        return ""
    same = "".join(
        f" {option} {value}"
        for option, value in (("--grep", query.grep and json.dumps(query.grep)), ("--event", query.event))
        if value
    )
    lines = f"{count:,} earlier line{'s' if count > 1 else ''}"
    ways = f"--before {first} shows the ones before, --all all of them"
    hint = "" if query.grep else ", --grep TEXT those with a text"
    return f"({lines}; %worker logs {name}{same} {ways}{hint})\n"


def _shown(line: LogLine) -> str:
    level = "" if line.level == "info" else f"{line.level}  "
    form = form_of(line.data)
    whole = "" if form is None else f"  [{form.mime}: --show {line.number}]"
    at = f"{line.timestamp:%H:%M:%S}" if line.clock is None else f"{line.clock:%H:%M:%S} virtual"
    return f"{at}  {level}{line.text}{whole}"


class WholeLine:
    """One line with what was displayed, whole."""

    def __init__(self, line: LogLine) -> None:
        self._line = line

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return whole(self._line)


def line_of(book: LogBook, worker: str, name: str, number: int) -> WholeLine:
    """Return a line of a worker by its number.

    Raises:
        UsageError: there is none.
    """
    found = [line for line in book.pick([number]) if line.worker == worker]
    if not found:
        raise UsageError(
            f"{name} has no line {number}, or it is kept no longer; the log begins at {book.first}",
            code="DN305",
        )
    return WholeLine(found[0])


def whole(line: LogLine) -> dict[str, Any]:
    """Return all that is to be shown of a line by MIME type; HTML is in a sandboxed frame."""
    bundle: dict[str, Any] = {"text/plain": line.text, **live_forms(line.data)}
    form = form_of(line.data)
    if form is None or len(bundle) > 1:
        return bundle
    match form.type:
        case "image":
            bundle["text/html"] = f"<img alt='{escape(line.text)}' src='{form.content}'>"
        case "frame":
            bundle["text/html"] = frame_html(form, line.text[:200])
        case _:
            bundle["text/html"] = f"<pre>{escape(form.content)}</pre>"
    return bundle
