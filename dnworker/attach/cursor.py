"""`Cursor`: up to where the events of another runtime were taken, so that none is taken twice."""

from __future__ import annotations

from dnworker.core.envelope import EventEnvelope

KINDS_KEPT = 10_000
"""Kinds of which the newest event is known; where there are more, only the newest of all is."""


class Cursor:
    """Which events were taken, by the `seq` of their runtime.

    Events of one kind come in order; those of a kind that is followed since a moment ago may come behind
    newer ones of others.
    """

    def __init__(self, start: int = 0, start_id: str | None = None) -> None:
        self.last = start
        """The newest event that was taken, or the newest when following began."""
        self.last_id = start_id
        """Its id, where that is known."""
        self._floor = start
        self._by_kind: dict[str, int] = {}
        self._resume: int | None = None

    def take(self, envelope: EventEnvelope) -> bool:
        """Return whether an event is new, and note it as taken."""
        if envelope.seq <= max(self._floor, self._by_kind.get(envelope.kind, 0)):
            return False
        self._by_kind[envelope.kind] = envelope.seq
        if len(self._by_kind) > KINDS_KEPT and self._resume is None:
            self._by_kind.clear()
            self._floor = max(self.last, envelope.seq)
        if envelope.seq > self.last:
            self.last, self.last_id = envelope.seq, envelope.event_id
        return True

    @property
    def resume(self) -> int:
        """After which event is read on, once the connection is there again."""
        return self.last if self._resume is None else self._resume

    def switch(self) -> None:
        """Note that another stream is open beside the one that is read: what it has, was not read yet."""
        self._resume = self.resume

    def switched(self) -> None:
        """Note that all was read that the stream before, or the history, had."""
        self._resume = None

    def begin_anew(self) -> None:
        """Note that the runtime counts from 1 again."""
        self.last, self.last_id, self._floor, self._resume = 0, None, 0, None
        self._by_kind.clear()
