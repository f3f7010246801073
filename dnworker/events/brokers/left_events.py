"""`LeftEvents`: what a broker tells of events whose kind their worker names no more; the engine says it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LeftEvents:
    """Events of a kind that a worker names no more, and had not handled."""

    worker: str
    kind: str
    count: int
    """How many; 0 where the kind is named again."""
    oldest: str
    newest: str
    """When the first and the last of them were published, as ISO 8601 in UTC; empty where it is not known."""
    is_kept: bool = True
    """Whether they wait for a version that names the kind again; else they are let go."""
    why: str = ""
    """Why they are let go; empty where that is because the broker keeps nothing."""
    ids: tuple[str, ...] = ()
    """Those of events that are let go, where they are known."""
    is_news: bool = True
    """Whether nobody was told before; else a worker that starts is reminded."""
