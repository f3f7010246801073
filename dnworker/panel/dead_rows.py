"""Dead letters as rows of the overview, the newest first, and of a run: what workers could not handle."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dnworker.core.text import shorten
from dnworker.panel.serialize import millis

if TYPE_CHECKING:
    from dnworker.engine.dead_letters import DeadLetters, Summary

ROWS_SHOWN = 20

LONGEST = 250
"""Characters of a text that is sent."""


def rows(letters: DeadLetters, only: str | None) -> dict[str, Any]:
    """Return the rows, of all workers or of one, and how many there are."""
    found = letters.all(only)
    return {"rows": [_row(one) for one in found[:ROWS_SHOWN]], "all": len(found)}


def rows_of(letters: DeadLetters, events: Iterable[str]) -> dict[str, Any]:
    """Return the rows of these events, and how many there are."""
    found = [one for event_id in events for one in letters.of_event(event_id)]
    return {"rows": [_row(one) for one in found[:ROWS_SHOWN]], "all": len(found)}


def _row(one: Summary) -> dict[str, Any]:
    return {
        "id": one.id,
        "worker": one.worker,
        "seq": one.seq,
        "kind": shorten(one.kind, LONGEST),
        "session": one.session_id,
        "handlers": [shorten(name, LONGEST) for name in one.handlers[:ROWS_SHOWN]],
        "error": shorten(one.error.partition("\n")[0], LONGEST),
        "attempts": one.attempts,
        "why": one.why,
        "at": millis(one.failed_at),
    }
