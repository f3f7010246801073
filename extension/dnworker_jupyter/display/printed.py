"""What handlers of a trace printed, logged and displayed, as HTML below it; used by `trace_html`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from dnworker.panel.forms import form_of, frame_html, live_forms
from dnworker.panel.log_rows import plain_text
from dnworker_jupyter.display.html import MONO, coloured, details

if TYPE_CHECKING:
    from dnworker.core.logs import LogLine
    from dnworker.events.trace import TracedInvocation

STORED = 1_000_000
FORMS_STORED = 50
"""Characters of what handlers displayed that one trace stores in the notebook, and how many displays."""

LINES_SHOWN = 300
LINES_OPEN = 12
"""Lines of a trace that are stored, and how many are shown without a click."""

_PRE = f"margin:0;white-space:pre-wrap;background:none;{MONO}"
_LEVELS = {"error": "bad", "critical": "bad", "warning": "warn"}


class Room:
    """What one trace may still store of displays, and those that the front end draws below it."""

    def __init__(self, *, has_below: bool = True) -> None:
        self.has_below = has_below
        """Whether the front end draws some below it."""
        self._characters = STORED
        self._forms = FORMS_STORED
        self.below: list[dict[str, Any]] = []
        """Displays by MIME type, in the order of the trace."""

    def takes(self, characters: int) -> bool:
        """Return whether there is room for so much, and take it."""
        if self._forms < 1 or characters > self._characters:
            return False
        self._forms -= 1
        self._characters -= characters
        return True


def printed(runs: Sequence[TracedInvocation], room: Room, *, is_open: bool) -> str:
    """Return the lines of all runs, each below its handler; few are open where nothing failed."""
    wrote = [(run, lines) for run in runs if (lines := run.logs)]
    total = sum(len(lines) for _, lines in wrote)
    if not total:
        return ""
    shown, left = [], LINES_SHOWN
    for run, lines in wrote:
        if left <= 0:
            break
        name = coloured(escape(run.label), "mu") if len(runs) > 1 else ""
        shown.append(f"<div>{name}{''.join(_line(line, room) for line in lines[:left])}</div>")
        left -= len(lines)
    if total > LINES_SHOWN:
        shown.append(_note(f"({total - LINES_SHOWN:,} more lines; %worker logs shows them)"))
    handlers = len({(run.worker, run.handler) for run, _ in wrote})
    by = f"{handlers} handler{'s' if handlers > 1 else ''}"
    title = f"Printed by {by}, {total:,} line{'s' if total > 1 else ''}"
    has_forms = any(line.data for _, lines in wrote for line in lines)
    return details(title, "".join(shown), is_open=has_forms or (is_open and total <= LINES_OPEN))


def _line(line: LogLine, room: Room) -> str:
    text = escape(plain_text(line.text))
    name = _LEVELS.get(line.level)
    shown = f"<pre style='{_PRE}'>{coloured(text, name) if name else text}</pre>"
    return shown if not line.data else shown + "".join(_form(line, room))


def _form(line: LogLine, room: Room) -> Iterator[str]:
    """Yield what was displayed as HTML, if there is room for it; else a note of where it is."""
    form = form_of(line.data)
    if form is None:
        return
    live = live_forms(line.data)
    where = f"%worker logs {line.worker} --show {line.number} shows it" if line.number else "it is muted"
    if live and not room.has_below:
        yield _note(f"({form.mime}: {where})")
        return
    size = sum(len(str(one)) for one in live.values()) or len(form.content)
    if not room.takes(size):
        yield _note(f"({form.mime} of {size:,} characters is not stored in the notebook; {where})")
        return
    if live:
        room.below.append({**live, "text/plain": line.text})
        yield _note(f"({form.mime}: number {len(room.below)} below the trace)")
        return
    match form.type:
        case "image":
            yield f"<img style='max-width:100%' alt='{escape(line.text)}' src='{form.content}'>"
        case "frame":
            yield frame_html(form, line.text[:200])
        case "json":
            pre = f"<pre style='{_PRE}'>{escape(form.content)}</pre>"
            yield f"<details><summary>{form.mime}</summary>{pre}</details>"
        case _:
            yield f"<pre style='{_PRE}'>{escape(form.content)}</pre>"


def _note(text: str) -> str:
    return f"<div>{coloured(escape(text), 'mu')}</div>"
