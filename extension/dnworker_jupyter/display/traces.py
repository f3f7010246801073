"""Shows traces as static HTML: no script, so that GitHub and nbviewer show them too; used by `loading`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from html import escape
from itertools import groupby
from typing import Any

from IPython.display import display

from dnworker.core.invocation import current_invocation
from dnworker.core.listeners import Listeners
from dnworker.events.trace import Row, Trace
from dnworker.panel.forms import form_of, frame_html, live_forms
from dnworker.panel.log_rows import plain_text
from dnworker_jupyter.live.stale import StaleHandlers

# Inline styles only: style sheets are taken out of stored outputs by GitHub. Colours hold on light and dark.
_BOX = "font-family:var(--jp-code-font-family,monospace);font-size:13px;line-height:1.5;margin:2px 0"
_MUTED = "opacity:.7"
_PRE = "margin:0;white-space:pre-wrap;background:none"
_BAR = "white-space:pre;background:rgba(128,128,128,.15)"
_LEVELS = {"error": ";color:#d32f2f", "critical": ";color:#d32f2f", "warning": ";color:#b26a00"}
_MARKS = {
    "ok": ("✓", "#2e7d32"),
    "warning": ("!", "#b26a00"),
    "error": ("✗", "#d32f2f"),
    "running": ("…", "#b26a00"),
    "cancelled": ("-", "#757575"),
}


STORED = 1_000_000
FORMS_STORED = 50
"""Characters of what handlers displayed that one trace stores in the notebook, and how many displays."""


class Room:
    """What one trace may still store of displays, and those that the front end draws below it."""

    def __init__(self) -> None:
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


def register_formatters(shell: Any, stale: StaleHandlers, shown: Listeners[[]]) -> Callable[[], None]:
    """Let IPython show traces, with which of the handlers that ran are stale.

    Args:
        shell: IPython's.
        stale: knows the handlers that are stale.
        shown: told when a cell has shown traces after its code had ended.

    Returns:
        what ends the displays below them.
    """
    waiting: list[dict[str, Any]] = []

    def as_html(trace: Trace) -> str:
        room = Room()
        html = trace_html(trace, room, stale_notes(trace, stale))
        if current_invocation.get() is None:  # a handler may look at a trace, too
            waiting.extend(room.below)
        return html

    def show_below() -> None:
        below, waiting[:] = [*waiting], []
        for bundle in below:
            display(bundle, raw=True)

    formatters = shell.display_formatter.formatters
    formatters["text/plain"].for_type(
        Trace,
        lambda trace, printer, _: printer.text("\n".join([str(trace), *stale_notes(trace, stale)])),
    )
    formatters["text/html"].for_type(Trace, as_html)
    undo = ExitStack()
    shell.events.register("post_execute", show_below)
    undo.callback(shell.events.unregister, "post_execute", show_below)
    undo.callback(shown.add(show_below))
    return undo.close


def stale_notes(trace: Trace, stale: StaleHandlers) -> list[str]:
    """Return what is to be said of the handlers in a trace that are stale, one line each."""
    runs = trace.runs()
    found = stale.among((run.worker, run.key, run.generation) for run in runs)
    return [f"({one.text})" for one in found]


def trace_html(trace: Trace, room: Room | None = None, notes: Sequence[str] = ()) -> str:
    """Return a trace as HTML: a tree with a waterfall, what was printed and displayed, and errors.

    Args:
        room: how much of displays may be stored.
        notes: stand below it.
    """
    rows = [*trace.rows(), *(Row(0, "note", note) for note in notes)]
    room = room or Room()
    width = max((2 * row.depth + len(row.text) for row in rows if row.bar is not None), default=0) + 3
    shown = "".join(_shown(rows, width, room))
    return f"<div style='{_BOX}' role='tree' aria-label='trace'>{shown}</div>"


def _shown(rows: Iterable[Row], width: int, room: Room) -> Iterator[str]:
    """Yield the rows; the values of a frame's variables open on demand, which takes no script."""
    for is_value, some in groupby(rows, lambda row: row.category == "value"):
        if not is_value:
            yield from (_row(row, width, room) for row in some)
            continue
        values = [*some]
        lines = escape("\n".join(row.text.strip() for row in values))
        count = f"{len(values)} value{'s' if len(values) > 1 else ''}"
        yield (
            f"<details style='margin-left:{2 * values[0].depth + 4}ch' role='treeitem'>"
            f"<summary style='cursor:pointer;{_MUTED}'>{count}</summary>"
            f"<pre style='{_PRE}'>{lines}</pre></details>"
        )


def _row(row: Row, width: int, room: Room) -> str:
    indent = 2 * row.depth
    text = escape(row.text)
    match row.category:
        case "event":
            kind, _, rest = text.partition("  ")
            inner = f"<b>{kind}</b> <span style='{_MUTED}'>{rest}</span>"
        case "invocation":
            sign, colour = _MARKS[row.outcome]
            mark = f"<span style='color:{colour}' role='img' aria-label='{row.outcome}'>{sign}</span>"
            inner = f"{mark} {text}"
            if row.bar is not None:  # bars stand below each other, whatever the depth
                inner = f"<span style='display:inline-block;min-width:{width - indent}ch'>{inner}</span>"
                inner += f"<code style='{_BAR};color:{colour}'>{row.bar_text()}</code>"
        case "log":
            inner = _log(row, room)
        case "warning":
            inner = f"<pre style='{_PRE};color:{_MARKS['warning'][1]}'>{text}</pre>"
        case "error":
            inner = f"<pre style='{_PRE};color:{_MARKS['error'][1]}'>{text}</pre>"
        case _:
            inner = text
    return f"<div style='margin-left:{indent}ch' role='treeitem'>{inner}</div>"


def _log(row: Row, room: Room) -> str:
    colour = _LEVELS.get(row.line.level if row.line else "info", "")
    shown = f"<pre style='{_PRE}{colour}'>{escape(plain_text(row.text))}</pre>"
    return shown if row.line is None or not row.line.data else shown + _form(row, room)


def _form(row: Row, room: Room) -> str:
    """Return what was displayed as HTML, if there is room for it; else a note of where it is."""
    line = row.line
    form = None if line is None else form_of(line.data)
    if line is None or form is None:
        return ""
    live = live_forms(line.data)
    size = sum(len(str(one)) for one in live.values()) or len(form.content)
    if not room.takes(size):
        where = f"%worker logs {line.worker} --show {line.number} shows it" if line.number else "it is muted"
        return _note(f"({form.mime} of {size:,} characters is not stored in the notebook; {where})")
    if live:
        room.below.append({**live, "text/plain": line.text})
        return _note(f"({form.mime}: number {len(room.below)} below the trace)")
    match form.type:
        case "image":
            return f"<img style='max-width:100%' alt='{escape(row.text)}' src='{form.content}'>"
        case "frame":
            return frame_html(form, row.text[:200])
        case "json":
            pre = f"<pre style='{_PRE}'>{escape(form.content)}</pre>"
            return f"<details><summary>{form.mime}</summary>{pre}</details>"
        case _:
            return f"<pre style='{_PRE}'>{escape(form.content)}</pre>"


def _note(text: str) -> str:
    return f"<div style='{_MUTED}'>{escape(text)}</div>"
