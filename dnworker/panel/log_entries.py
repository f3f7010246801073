"""Entries of the log as messages have them; used by `view` and `operations_log`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dnworker.core.models import iso
from dnworker.core.printed import headline
from dnworker.panel import serialize
from dnworker.panel.log_rows import LogWindow, plain_text

if TYPE_CHECKING:
    from dnworker.core.logs import LogBook, LogLine

LOOKED_BACK = 200
"""Entries in which the last is looked for that is no error."""

PARTS_LOOKED_AT = 80
"""Lines of an error, from its end, in which is looked for what it says."""

BRIEF = 300
"""Characters of the last line as the closed log shows it."""

ERRORS = ("error", "critical")


def entry_to_json(book: LogBook, window: LogWindow, position: int, head: LogLine) -> dict[str, Any]:
    """Return an entry, folded: of an error, what it says.

    `lines` says how many lines it has, `marks` where the text of the filter is, and `within` whether a line
    that is folded has it.
    """
    found = serialize.line_to_json(position, head) | {
        **_times(head),
        "lines": 1 + book.count_parts(head.number),
        "marks": [],
        "within": False,
    }
    finder = window.finder
    texts = [found["text"]]
    if found["lines"] > 1:
        texts += [line.text for line in book.parts(head.number)[-PARTS_LOOKED_AT:]]
        found["text"] = headline(texts)[: serialize.LONGEST_LINE]
    if finder is not None:
        found["marks"] = finder.spans(found["text"])
        found["within"] = not found["marks"] and any(finder.spans(text) for text in texts)
    return found


def _times(line: LogLine) -> dict[str, Any]:
    """Return when a line was written, and the time of a virtual clock then."""
    return {
        "at": serialize.millis(line.timestamp),
        "clock": None if line.clock is None else serialize.millis(line.clock),
    }


def whole_entry(book: LogBook, window: LogWindow, head: LogLine, room: int) -> dict[str, Any]:
    """Return all lines of an entry, as many as there is room for in characters; the first in full."""
    finder, left = window.finder, room
    found = serialize.line_to_json(0, head, whole=True)
    rows: list[dict[str, Any]] = []
    for line in [head, *book.parts(head.number)]:
        left -= len(line.text)
        if rows and left < 0:
            break
        rows.append({"text": line.text, "marks": finder.spans(line.text) if finder is not None else []})
    return found | {"rows": rows, "lines": 1 + book.count_parts(head.number)}


def bar_of(window: LogWindow, dropped: int) -> dict[str, Any]:
    """Return what the closed log shows: how many entries there are, and the last that is no error."""
    first, end = window.first, window.end
    for start in (end - 1, end - LOOKED_BACK):
        for _, line in reversed(window.entries(max(first, start), end - max(first, start))):
            if line.level not in ERRORS:
                text = plain_text(line.text[:BRIEF])
                last = {"worker": line.worker, "level": line.level, "text": text} | _times(line)
                return {"count": end - first, "dropped": dropped, "last": last}
    return {"count": end - first, "dropped": dropped, "last": None}


def as_text(book: LogBook, head: LogLine) -> str:
    """Return an entry as in a file, a line each, without colours."""
    return "".join(
        f"{iso(line.timestamp)} {line.level:<7} {line.worker}  {plain_text(line.text)}\n"
        for line in [head, *book.parts(head.number)]
    )
