"""`SignalState`: what was sent and dropped of one signal, and since when that fails."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass
class SignalState:
    """How one signal does.

    Attributes:
        signal: `traces`, `metrics` or `logs`.
        endpoint: where it goes, without secrets.
        sent: items that the collector has taken.
        dropped: items that it has not taken, or that there was no room for.
        failing_since: since when nothing is taken; None where it goes well.
        failure: why, in words.
        rejected_told: whether it was said that a collector takes a part only.
        too_large_told: whether it was said that items are dropped that are too large for it.
    """

    signal: str
    endpoint: str
    sent: int = 0
    dropped: int = 0
    failing_since: datetime | None = None
    failure: str | None = None
    rejected_told: bool = False
    too_large_told: bool = False
