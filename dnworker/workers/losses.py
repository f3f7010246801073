"""`Losses`: counts the events that a worker has not got, and says so; every managed worker has one."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Protocol

from dnworker.events.brokers.left_events import LeftEvents
from dnworker.events.history import History

SAID_EVERY = 0.5
"""Seconds for which losses are counted together before they are said."""

KINDS_NAMED = 5


class Tell(Protocol):
    """Says that events were lost; `is_first` if there were none before."""

    def __call__(self, text: str, *, is_first: bool) -> None:
        """Say it."""


class Losses:
    """Events that one worker was to get and did not.

    Args:
        history: makes the trace of each lost event not ok.
        worker: the worker's qualified name.
        tell: says it, once for all that are lost within half a second.
    """

    def __init__(self, history: History, worker: str, tell: Tell) -> None:
        self.count = 0
        self._why = ""
        self._history = history
        self._worker = worker
        self._tell = tell
        self._unsaid: Counter[str] = Counter()
        self._left: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def text(self) -> str | None:
        """How many were lost and why, and how many are kept of kinds that it names no more; or None."""
        lost = f"{_events(self.count)} lost: {self._why}" if self.count else None
        return "; ".join(filter(None, (lost, self._left_text))) or None

    @property
    def _left_text(self) -> str | None:
        if not self._left:
            return None
        named = ", ".join(f"{kind} ({count:,})" for kind, count in [*self._left.items()][:KINDS_NAMED])
        more = f" and {len(self._left) - KINDS_NAMED:,} more" if len(self._left) > KINDS_NAMED else ""
        return f"{_events(sum(self._left.values()))} kept of kinds that it names no more: {named}{more}"

    def note_left(self, left: LeftEvents) -> None:
        """Note what is kept or lost of a kind that it names no more; nothing where it names it again."""
        if not left.is_kept:
            why = left.why or "events are kept in memory, and go with the handler"
            why = f"{left.kind} is named no more, and {why}"
            for event_id in left.ids:
                self.note(event_id, why)
            if count := left.count - len(left.ids):
                self.note(None, why, count)
            return
        self._left.pop(left.kind, None)
        if left.count:
            self._left[left.kind] = left.count

    def to_json(self) -> dict[str, Any]:
        """Return it for the worker's detail."""
        return {"count": self.count, "reason": self._why}

    def note(self, event_id: str | None, why: str, count: int = 1) -> None:
        """Note the loss of one event, or of several that are not known."""
        if event_id is not None:
            self._history.note_loss(event_id, f"lost for {self._worker}: {why}")
        self._unsaid[why] += count
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SAID_EVERY, self.flush)

    def flush(self) -> None:
        """Say what was lost since it was said last."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        unsaid, self._unsaid = self._unsaid, Counter()
        for why, count in unsaid.items():
            is_first = not self.count
            self.count += count
            self._why = why
            self._tell(f"{_events(count)} lost: {why}", is_first=is_first)


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count:,} events"
