"""`Causes`: what published each event, for the history; lists of runs follow it to the first event."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from dnworker.core.invocation import Invocation

_publisher: ContextVar[str | None] = ContextVar("dnworker_publisher", default=None)


@contextmanager
def published_by(name: str) -> Iterator[None]:
    """Name who publishes what no handler publishes, in a word such as `HTTP`."""
    token = _publisher.set(name)
    try:
        yield
    finally:
        _publisher.reset(token)


class Source(NamedTuple):
    """Where the first event of a run comes from: a name for people, and the call that no event caused."""

    name: str
    worker: str | None = None
    handler: str | None = None
    cause: str | None = None
    trigger: str = ""
    """What started that call: `schedule`, `task`, `startup` or `shutdown`, and the schedule in words."""


class Causes:
    """Remembers of each event of a handler the event above it, and of other events their source."""

    def __init__(self) -> None:
        self._above: dict[str, str | Source] = {}

    def note(self, event_id: str, invocation: Invocation) -> None:
        """Note who published an event; every event of a handler pays for this."""
        event = invocation.event
        self._above[event_id] = source_of(invocation) if event is None else event.event_id

    def note_publisher(self, event_id: str) -> None:
        """Note the publisher of an event that no handler has published, where that is known."""
        if (name := _publisher.get()) is not None:
            self._above[event_id] = Source(name)

    def forget(self, event_id: str) -> None:
        """Forget the cause of an event that is not kept any more."""
        self._above.pop(event_id, None)

    def above(self, event_id: str) -> str | None:
        """Return the id of the event above; None for the first of a run."""
        found = self._above.get(event_id)
        return found if isinstance(found, str) else None

    def source(self, event_id: str) -> Source | None:
        """Return where the first event of a run comes from, where that is known."""
        found = self._above.get(event_id)
        return found if isinstance(found, Source) else None


def source_of(invocation: Invocation) -> Source:
    """Return the source of what a call publishes that no event has caused."""
    key = invocation.key
    name = "Schedules" if invocation.cause == "schedule" else invocation.worker
    return Source(
        name, invocation.worker, invocation.handler, invocation.cause, key.trigger if key is not None else ""
    )
