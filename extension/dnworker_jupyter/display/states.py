"""`StateTree`: the state of a worker as text in a terminal and HTML in a notebook; used by magics."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from IPython.utils.dir2 import get_real_method

from dnworker.core.value_tree import Bounds, Node, tree_of

OPEN_LEVELS = 2
"""Levels of the tree that are open at first."""

BOUNDS = Bounds()

# Inline styles only: style sheets are taken out of stored outputs by GitHub. Colours hold on light and dark.
_BOX = "font-family:var(--jp-code-font-family,monospace);font-size:13px;line-height:1.5;margin:2px 0"
_LIST = "list-style:none;margin:0;padding-left:2ch"
_MUTED = "opacity:.7"


class StateTree:
    """The state of a worker as it was when this was made; a title above it, notes below."""

    def __init__(self, state: object, title: str, notes: tuple[str, ...] = ()) -> None:
        self.node: Node = tree_of(state, "", BOUNDS)
        self.title = title
        self.notes = notes

    def __repr__(self) -> str:
        lines = [line for child in self.node.children for line in child.lines()]
        if self.node.more:
            lines.append(self.node.rest)
        return "\n".join([self.title, *(f"  {line}" for line in lines or ["(empty)"]), *self.notes])

    def _repr_html_(self) -> str:
        notes = "".join(f"<div style='{_MUTED}'>{escape(note)}</div>" for note in self.notes)
        tree = _parts(self.node, 0) or f"<div style='{_MUTED}'>(empty)</div>"
        return f"<div style='{_BOX}'><div>{escape(self.title)}</div>{tree}{notes}</div>"


def _parts(node: Node, level: int) -> str:
    rows = [f"<li>{_row(child, level)}</li>" for child in node.children]
    if node.more:
        rows.append(f"<li style='{_MUTED}'>{escape(node.rest)}</li>")
    return f"<ul style='{_LIST}'>{''.join(rows)}</ul>" if rows else ""


def _row(node: Node, level: int) -> str:
    kind = f"<span style='{_MUTED}'>{escape('  '.join(filter(None, [node.type, node.size])))}</span>"
    head = f"<b>{escape(node.key)}</b> {kind} <span style='white-space:pre-wrap'>{escape(node.value)}</span>"
    inner = _parts(node, level + 1)
    if not inner:
        return head
    is_open = " open" if level + 1 < OPEN_LEVELS else ""
    return f"<details{is_open}><summary>{head}</summary>{inner}</details>"


def register_state_formatter(shell: Any, find: Callable[[object], StateTree | None]) -> Callable[[], None]:
    """Let IPython draw a dict that is the state of a worker, and leave all others as they are.

    Args:
        shell: IPython's.
        find: returns what is drawn for a dict; None for one that is no state.

    Returns:
        what takes it out again.
    """
    formatters = shell.display_formatter.formatters
    undo = [_put(formatters["text/html"], _as_html, find), _put(formatters["text/plain"], _as_text, find)]

    def undo_all() -> None:
        for one in undo:
            one()

    return undo_all


def _put(
    formatter: Any, make: Callable[..., Callable[..., Any]], find: Callable[..., Any]
) -> Callable[[], None]:
    """Put a printer of dicts into a formatter; returns what puts back the one that was there."""
    before = formatter.for_type(dict)
    draw = make(find, before)
    formatter.for_type(dict, draw)

    def undo() -> None:
        if formatter.for_type(dict) is draw:
            formatter.pop(dict)
            if before is not None:
                formatter.for_type(dict, before)

    return undo


def _as_html(find: Callable[[object], StateTree | None], before: Any) -> Callable[[object], Any]:
    def draw(value: object) -> Any:
        found = find(value)
        if found is not None:
            return found._repr_html_()
        if before is not None:
            return before(value)
        method = get_real_method(value, "_repr_html_")  # of a subclass: IPython looks no further than here
        return method() if method is not None else None

    return draw


def _as_text(find: Callable[[object], StateTree | None], before: Any) -> Callable[..., None]:
    """Return what writes the tree of a state, but not where it is part of another value.

    The printer of dicts would write what is secret, and run `__repr__` of what handlers put into the state.
    """

    def draw(value: object, printer: Any, cycle: bool) -> None:
        found = find(value) if len(printer.stack) == 1 else None
        if found is not None:
            printer.text(repr(found))
        elif before is not None:
            before(value, printer, cycle)
        else:
            printer.text(repr(value))

    return draw
