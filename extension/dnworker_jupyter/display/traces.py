"""Lets IPython show traces and comparisons, as HTML and as text; used by `loading`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from IPython.display import display

from dnworker.core.invocation import current_invocation
from dnworker.core.listeners import Listeners
from dnworker.events.trace import Trace
from dnworker.events.trace_rows import as_it_is, in_colours
from dnworker.workers.shadow import Comparison
from dnworker_jupyter.display.attached import Marked
from dnworker_jupyter.display.comparisons import comparison_html, comparison_text
from dnworker_jupyter.display.printed import Room
from dnworker_jupyter.display.trace_html import CellLink, trace_html
from dnworker_jupyter.live.stale import StaleHandlers

Mark = Callable[[Trace], Marked | None]
"""Returns the line above a trace; None for none."""

TEXT_ROWS = 1_000
"""Rows of a trace as text that a cell shows."""


def register_formatters(
    shell: Any,
    stale: StaleHandlers,
    shown: Listeners[[]],
    cell: CellLink | None = None,
    mark: Mark = lambda trace: None,
) -> Callable[[], None]:
    """Let IPython show traces, with which of the handlers that ran are stale.

    Args:
        shell: IPython's.
        stale: knows the handlers that are stale.
        shown: told when a cell has shown traces after its code had ended.
        cell: where cells are by now, to link them.
        mark: returns the line above a trace of the time in which the notebook is attached elsewhere.

    Returns what ends the displays below them.
    """
    waiting: list[dict[str, Any]] = []

    def as_html(trace: Trace) -> str:
        room = Room(has_below=current_invocation.get() is None)  # a handler may look at a trace, too
        html = trace_html(trace, room, stale_notes(trace, stale), cell)
        if room.has_below:
            waiting.extend(room.below)
        return _below_mark(mark(trace), html)

    def as_text(trace: Trace, printer: Any, _: object) -> None:
        printer.text("\n".join([*_trace_lines(trace, mark(trace), shell), *stale_notes(trace, stale)]))

    def show_below() -> None:
        below, waiting[:] = [*waiting], []
        for bundle in below:
            display(bundle, raw=True)

    formatters = shell.display_formatter.formatters
    formatters["text/plain"].for_type(Trace, as_text)
    formatters["text/html"].for_type(Trace, as_html)
    _register_comparisons(shell)
    undo = ExitStack()
    shell.events.register("post_execute", show_below)
    undo.callback(shell.events.unregister, "post_execute", show_below)
    undo.callback(shown.add(show_below))
    return undo.close


def _register_comparisons(shell: Any) -> None:
    def as_text(found: Comparison, printer: Any, _: object) -> None:
        printer.text(comparison_text(found) if has_colours(shell) else repr(found))

    formatters = shell.display_formatter.formatters
    formatters["text/plain"].for_type(Comparison, as_text)
    formatters["text/html"].for_type(Comparison, comparison_html)


def _below_mark(mark: Marked | None, html: str) -> str:
    return html if mark is None else mark._repr_html_() + html


def _trace_lines(trace: Trace, mark: Marked | None, shell: Any) -> list[str]:
    colours = has_colours(shell)
    above = [] if mark is None else [mark.as_text(colours=colours)]
    return [*above, *trace.lines(TEXT_ROWS, in_colours if colours else as_it_is)]


def has_colours(shell: Any) -> bool:
    """Return whether text is shown in a terminal with colours; a notebook shows HTML, and stores the text."""
    is_terminal = getattr(shell, "kernel", None) is None and getattr(shell, "pt_app", None) is not None
    return is_terminal and str(getattr(shell, "colors", "")).lower() != "nocolor"


def stale_notes(trace: Trace, stale: StaleHandlers) -> list[str]:
    """Return what is to be said of the handlers in a trace that are stale, one line each."""
    runs = trace.iter_runs()
    found = stale.among((run.worker, run.key, run.generation) for run in runs)
    return [f"({one.text})" for one in found]
