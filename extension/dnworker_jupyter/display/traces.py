"""Shows traces as static HTML: no script, so that GitHub and nbviewer show them too; used by `loading`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import groupby
from typing import Any

from dnworker.events.trace import Row, Trace
from dnworker_jupyter.live.stale import StaleHandlers

# Inline styles only: style sheets are taken out of stored outputs by GitHub. Colours hold on light and dark.
_BOX = "font-family:var(--jp-code-font-family,monospace);font-size:13px;line-height:1.5;margin:2px 0"
_MUTED = "opacity:.7"
_PRE = "margin:0;white-space:pre-wrap;background:none"
_BAR = "white-space:pre;background:rgba(128,128,128,.15)"
_LEVELS = {"error": ";color:#d32f2f", "critical": ";color:#d32f2f", "warning": ";color:#b26a00"}
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # a terminal's colours, which HTML has no use for
BASE64 = re.compile(r"[A-Za-z0-9+/=\s]+")
_MARKS = {
    "ok": ("✓", "#2e7d32"),
    "warning": ("!", "#b26a00"),
    "error": ("✗", "#d32f2f"),
    "running": ("…", "#b26a00"),
    "cancelled": ("-", "#757575"),
}


def register_formatters(shell: Any, stale: StaleHandlers) -> None:
    """Let IPython show traces, and which of the handlers that ran are stale."""
    formatters = shell.display_formatter.formatters
    formatters["text/plain"].for_type(
        Trace,
        lambda trace, printer, _: printer.text("\n".join([str(trace), *stale_notes(trace, stale)])),
    )
    formatters["text/html"].for_type(Trace, lambda trace: trace_html(trace, stale_notes(trace, stale)))


def stale_notes(trace: Trace, stale: StaleHandlers) -> list[str]:
    """Return what is to be said of the handlers in a trace that are stale, one line each."""
    runs = trace.runs()
    found = stale.among((run.worker, run.key, run.generation) for run in runs)
    return [f"({one.text})" for one in found]


def trace_html(trace: Trace, notes: Sequence[str] = ()) -> str:
    """Return a trace as HTML: a tree with a waterfall, what was printed, and errors; `notes` below it."""
    rows = [*trace.rows(), *(Row(0, "note", note) for note in notes)]
    width = max((2 * row.depth + len(row.text) for row in rows if row.bar is not None), default=0) + 3
    shown = "".join(_shown(rows, width))
    return f"<div style='{_BOX}' role='tree' aria-label='trace'>{shown}</div>"


def _shown(rows: Iterable[Row], width: int) -> Iterator[str]:
    """Yield the rows; the values of a frame's variables open on demand, which takes no script."""
    for is_value, some in groupby(rows, lambda row: row.category == "value"):
        if not is_value:
            yield from (_row(row, width) for row in some)
            continue
        values = [*some]
        lines = escape("\n".join(row.text.strip() for row in values))
        count = f"{len(values)} value{'s' if len(values) > 1 else ''}"
        yield (
            f"<details style='margin-left:{2 * values[0].depth + 4}ch' role='treeitem'>"
            f"<summary style='cursor:pointer;{_MUTED}'>{count}</summary>"
            f"<pre style='{_PRE}'>{lines}</pre></details>"
        )


def _row(row: Row, width: int) -> str:
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
            inner = _log(row)
        case "warning":
            inner = f"<pre style='{_PRE};color:{_MARKS['warning'][1]}'>{text}</pre>"
        case "error":
            inner = f"<pre style='{_PRE};color:{_MARKS['error'][1]}'>{text}</pre>"
        case _:
            inner = text
    return f"<div style='margin-left:{indent}ch' role='treeitem'>{inner}</div>"


def _log(row: Row) -> str:
    colour = _LEVELS.get(row.line.level if row.line else "info", "")
    shown = f"<pre style='{_PRE}{colour}'>{escape(_ANSI.sub('', row.text))}</pre>"
    data = row.line.data if row.line is not None and row.line.data is not None else {}
    for kind in ("image/png", "image/jpeg"):
        picture = data.get(kind)
        if isinstance(picture, str) and BASE64.fullmatch(picture):
            shown += f"<img alt='{escape(row.text)}' src='data:{kind};base64,{''.join(picture.split())}'>"
    return shown
