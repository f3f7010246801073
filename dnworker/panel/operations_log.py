"""Requests about the log: filter it, send entries of it, find the next with a text; `feed` registers them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from dnworker.core.errors import NotFound
from dnworker.panel import messages
from dnworker.panel.budget import size_of
from dnworker.panel.log_entries import as_text, entry_to_json, whole_entry
from dnworker.panel.model import PanelModel
from dnworker.panel.operations import Answer, operation
from dnworker.panel.view import View

ENTRIES_AT_ONCE = 500
ANSWER_BYTES = 200_000
"""What one answer may hold of entries; the view asks for the rest."""

T = TypeVar("T")


@operation(messages.Log)
async def _log(request: messages.Log, view: View, model: PanelModel) -> Answer:
    view.filter_log(request.filter)
    return None


@operation(messages.Lines)
async def _lines(request: messages.Lines, view: View, model: PanelModel) -> Answer:
    await view.room()
    book, window = model.engine.logs, view.window
    entries = window.entries(request.position, min(request.count, ENTRIES_AT_ONCE))
    if request.whole:
        texts = list(_up_to(ANSWER_BYTES, (as_text(book, head) for _, head in entries), len))
        reached = entries[len(texts) - 1][0] + 1 if texts else None
        return {"window": window.id, "text": "".join(texts), "next": reached}
    found = (entry_to_json(book, window, at, head) for at, head in entries)
    return {"window": window.id, "lines": list(_up_to(ANSWER_BYTES, found, size_of))}


@operation(messages.Line)
async def _line(request: messages.Line, view: View, model: PanelModel) -> Answer:
    book = model.engine.logs
    found = book.pick([request.number])
    if not found:
        raise NotFound(f"line {request.number} is kept no longer", code="DN305")
    return {"line": whole_entry(book, view.window, found[0], ANSWER_BYTES)}


@operation(messages.Find)
async def _find(request: messages.Find, view: View, model: PanelModel) -> Answer:
    at = view.window.find(request.position, backward=request.backward)
    return {"window": view.window.id, "position": at}


def _up_to(limit: int, items: Iterable[T], size: Callable[[T], int]) -> Iterator[T]:
    """Go through the first items, as many as fit into a size; the first one comes whatever its size."""
    total = 0
    for item in items:
        total += size(item)
        if total > limit and total > size(item):
            return
        yield item
