"""`Page` and `Stored`: events as a consumer reads them from where they are kept."""

from __future__ import annotations

from typing import NamedTuple

from dnworker.core.envelope import EventEnvelope


class Stored(NamedTuple):
    """An event as it is kept."""

    envelope: EventEnvelope
    size: int
    only: str | None


class Page(NamedTuple):
    """Events in order, and the `seq` up to which there are no others."""

    events: list[Stored]
    reached: int
