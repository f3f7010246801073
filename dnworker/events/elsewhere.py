"""`Elsewhere` and `Reported`: what the history asks of other nodes and tells them; for the engine."""

from __future__ import annotations

from typing import Protocol

from dnworker.core.invocation import Invocation


class Elsewhere(Protocol):
    """What is known of what happens on other nodes."""

    def is_pending(self, event_id: str) -> bool:
        """Return whether another node has an event still to take, as far as is known."""

    def has_coming(self, invocation: Invocation) -> bool:
        """Return whether an invocation has published events that have not arrived yet."""

    def counts(self, invocation: Invocation) -> bool:
        """Return whether an event that this node has published has caused an invocation of another."""

    def is_busy(self) -> bool:
        """Return whether anything that this node has published is queued or runs on another."""


class Reported(Protocol):
    """Hears of what happens on this node, to report it to others."""

    def note_queue(self, event_id: str) -> None:
        """Note that an event was queued for workers here, or that all of them have taken it."""

    def note_reopened(self, invocation: Invocation) -> None:
        """Note that an invocation which counted as ended has only begun."""

    def note_unhandled(self, invocation: Invocation) -> None:
        """Note that something it started has failed."""

    def note_loss(self, event_id: str, text: str) -> None:
        """Note that a worker does not get an event."""
