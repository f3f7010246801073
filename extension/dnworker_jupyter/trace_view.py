"""Shows traces and worker tables as static HTML: no script, so GitHub and nbviewer show them too."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from dnworker.trace import STREAMED, Trace, TracedInvocation

# Inline styles only: style sheets are taken out of stored outputs by GitHub. Colours hold on light and dark.
_BOX = "font-family:var(--jp-code-font-family,monospace);font-size:13px;line-height:1.5;margin:2px 0"
_LIST = "list-style:none;margin:0;padding-left:1.4em;border-left:1px solid rgba(128,128,128,.35)"
_MUTED = "opacity:.7"
_MARKS = {
    "ok": ("✓", "#2e7d32"),
    "error": ("✗", "#d32f2f"),
    "running": ("…", "#b26a00"),
    "cancelled": ("-", "#757575"),
}


class Table:
    """Rows under headings, as text and as HTML."""

    def __init__(
        self, headings: Sequence[str], rows: Sequence[Sequence[str]], empty: str = "nothing yet"
    ) -> None:
        self.headings = list(headings)
        self.rows = [list(row) for row in rows]
        self.empty = empty

    def __repr__(self) -> str:
        if not self.rows:
            return self.empty
        table = [self.headings, *self.rows]
        widths = [max(len(row[n]) for row in table) for n in range(len(self.headings))]
        return "\n".join(
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table
        )

    def _repr_html_(self) -> str:
        if not self.rows:
            return f"<p>{escape(self.empty)}</p>"
        head = "".join(f"<th style='text-align:left'>{escape(h)}</th>" for h in self.headings)
        cell = "<td style='text-align:left;vertical-align:top;white-space:pre-wrap'>{}</td>"
        body = "".join(f"<tr>{''.join(cell.format(escape(c)) for c in row)}</tr>" for row in self.rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def register_formatters(shell: Any) -> None:
    """Let IPython show traces."""
    formatters = shell.display_formatter.formatters
    formatters["text/plain"].for_type(Trace, lambda trace, printer, _: printer.text(str(trace)))
    formatters["text/html"].for_type(Trace, trace_html)


def trace_html(trace: Trace) -> str:
    """Return a trace as HTML."""
    return f"<div style='{_BOX}' role='tree' aria-label='trace'>{_event(trace)}</div>"


def _event(trace: Trace) -> str:
    event = trace.event
    scope = f" <span style='{_MUTED}'>session {escape(event.session_id)}</span>" if event.session_id else ""
    late = "<div>still running when the time was up</div>" if trace.timed_out else ""
    head = f"<div><b>{escape(event.kind)}</b> <span style='{_MUTED}'>#{event.seq}</span>{scope}</div>{late}"
    items = "".join(_invocation(i) for i in trace.invocations)
    return head + (f"<ul style='{_LIST}'>{items}</ul>" if items else "")


def _invocation(invocation: TracedInvocation) -> str:
    sign, colour = _MARKS[invocation.outcome]
    took = "" if invocation.duration is None else f"{invocation.duration * 1000:.1f} ms"
    name = f"{invocation.worker}.{invocation.handler}"
    head = (
        f"<div><span style='color:{colour}' role='img' aria-label='{invocation.outcome}'>{sign}</span> "
        f"{escape(name)} <span style='{_MUTED}'>{invocation.outcome} {took}</span></div>"
    )
    logs = _pre("\n".join(line.text for line in invocation.logs))
    error = _pre("\n".join(invocation.error.lines()), colour) if invocation.error is not None else ""
    events, folded = invocation.folded_events()
    below = "".join(f"<div style='padding-left:1.4em'>{_event(trace)}</div>" for trace in events)
    if folded:
        below += f"<div style='padding-left:1.4em;{_MUTED}'>{STREAMED} x{folded}</div>"
    return f"<li>{head}{logs}{error}{below}</li>"


def _pre(text: str, colour: str = "") -> str:
    if not text:
        return ""
    style = "margin:0 0 0 1.4em;white-space:pre-wrap;background:none" + (f";color:{colour}" if colour else "")
    return f"<pre style='{style}'>{escape(text)}</pre>"
