"""`Watched`: what a consumer has its watcher expect."""

from __future__ import annotations

from collections.abc import Iterable

from dnworker.core.envelope import EventEnvelope
from dnworker.events.brokers.base import BacklogWatcher


class Watched:
    """What the watcher of a consumer expects; it sees by that whether more is to come.

    Args:
        watcher: None where nobody watches.
    """

    def __init__(self, watcher: BacklogWatcher | None) -> None:
        self._watcher = watcher
        self._promised: EventEnvelope | None = None
        """One of the events that are left in the file, which it expects for all of them."""
        self._is_reading = False

    def expect(self, envelope: EventEnvelope) -> None:
        """Have it expect an event that is queued, once: it may be the one that was promised."""
        if self._watcher is None:
            return
        if self._promised is not None and self._promised.seq == envelope.seq:
            self._promised = None
        else:
            self._watcher.expect(envelope)

    def promise(self, envelope: EventEnvelope) -> None:
        """Have it expect one of the events that are left in the file, unless it does."""
        if self._watcher is not None and self._promised is None:
            self._watcher.expect(envelope)
            self._promised = envelope

    def break_promise(self) -> None:
        """Have it expect no event that is left in the file."""
        promised, self._promised = self._promised, None
        if promised is not None and self._watcher is not None:
            self._watcher.delivered(promised)

    def take_back(self, envelopes: Iterable[EventEnvelope]) -> None:
        """Have it expect these no more."""
        if self._watcher is not None:
            for envelope in envelopes:
                self._watcher.delivered(envelope)

    def note_reading(self, *, is_reading: bool) -> None:
        """Have it know whether there may be more in the file than it expects."""
        if self._watcher is not None and is_reading != self._is_reading:
            self._is_reading = is_reading
            self._watcher.note_reading(1 if is_reading else -1)
