"""`Orphans`: events whose worker is gone with its node, until another takes them; for `elsewhere.py`."""

from __future__ import annotations

from dnworker.events.history import History

TAKEN_SECONDS = 15.0
"""Seconds for which an event waits for the node that runs its worker next."""

ORPHANS_KEPT = 10_000


class Orphans:
    """Waits for the next node of a worker, within bounds, and says so where there is none.

    Args:
        history: is told of events that no node has taken.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._waiting: dict[str, dict[str, tuple[str, float]]] = {}
        """By event and worker: what became of the worker, and until when the next one is waited for."""

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._waiting

    def add(self, event_id: str, worker: str, why: str, now: float) -> None:
        """Wait for the node that gives an event to a worker next; `why` is what became of the last."""
        if len(self._waiting) < ORPHANS_KEPT:
            self._waiting.setdefault(event_id, {})[worker] = why, now + TAKEN_SECONDS

    def note_taken(self, event_id: str, worker: str) -> None:
        """Note that a worker has begun with an event."""
        if (waiting := self._waiting.get(event_id)) is not None:
            waiting.pop(worker, None)
            if not waiting:
                del self._waiting[event_id]

    def give_up(self, now: float) -> bool:
        """Say of events that their time is up; returns whether there were any."""
        is_changed = False
        for event_id, waiting in [*self._waiting.items()]:
            for worker, (why, until) in [*waiting.items()]:
                if now >= until:
                    text = f"{worker} {why}, and no node took it over within {TAKEN_SECONDS:g} s"
                    self._history.note_loss(event_id, text, is_elsewhere=True)
                    self.note_taken(event_id, worker)
                    is_changed = True
        return is_changed
