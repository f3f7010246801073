"""`EventNotes`: what is noted of events beside their invocations: losses, storms, what is held."""

from __future__ import annotations

from collections.abc import Iterator

from dnworker.core.envelope import EventEnvelope
from dnworker.events.elsewhere import Reported


class EventNotes:
    """Notes of the events that are kept; one that is not kept gets none."""

    def __init__(self) -> None:
        self._events: dict[str, EventEnvelope] = {}
        self.reported: Reported | None = None
        """What reports to other nodes what happens here; None where there are none."""
        self._losses: dict[str, tuple[str, ...]] = {}
        """By the id of an event: which workers have not got it, and why."""
        self._held: dict[str, tuple[str, str]] = {}
        self._storms: dict[str, str] = {}
        """By the id of an event: what delivers it, where it is held, and what began its chain; its storm."""

    def newest_first(self) -> Iterator[EventEnvelope]:
        """Go through the kept events themselves, to read them now: they must not be changed or held."""
        return reversed(self._events.values())

    def oldest(self) -> EventEnvelope | None:
        """Return the oldest kept event itself, to read it now; None where there is none."""
        return next(iter(self._events.values()), None)

    def _forget_notes(self, event_id: str) -> None:
        """Forget what is noted of an event that is not kept any more."""
        if self._losses:
            self._losses.pop(event_id, None)
        if self._storms:
            self._storms.pop(event_id, None)
        if self._held:
            self._held.pop(event_id, None)

    def note_loss(self, event_id: str, text: str, *, is_elsewhere: bool = False) -> None:
        """Note that a worker does not get an event that it listens to, and why; another node may say so."""
        if self.reported is not None and not is_elsewhere:
            self.reported.note_loss(event_id, text)
        known = self._losses.get(event_id, ())
        if event_id in self._events and text not in known:
            self._losses[event_id] = (*known, text)

    def note_storm(self, event_id: str, text: str) -> None:
        """Note that an event has caused a storm."""
        if event_id in self._events:
            self._storms[event_id] = text

    def note_held(self, event_id: str, text: str, root: str) -> None:
        """Note that an event is held back from workers, what to do about it, and what began its chain."""
        if event_id in self._events:
            self._held[event_id] = text, root

    def note_released(self, event_id: str) -> None:
        """Note that an event is held no more."""
        self._held.pop(event_id, None)

    def storm_of(self, event_id: str) -> str | None:
        """Return what storm an event has begun."""
        return self._storms.get(event_id)

    def held(self, event_id: str) -> str | None:
        """Return what delivers an event that is held back from workers; None where it is not."""
        return self._held[event_id][0] if event_id in self._held else None

    def held_below(self, root: str) -> list[str]:
        """Return what delivers each event that is held of the chain that an event began."""
        return [text for text, began in self._held.values() if began == root]

    def losses_of(self, event_id: str) -> tuple[str, ...]:
        """Return which workers have not got an event, and why."""
        return self._losses.get(event_id, ())
