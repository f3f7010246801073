"""`Dropped` and `LostRuns`: counts of what the history keeps no more."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Dropped(msgspec.Struct):
    """How much the history has dropped so far: payloads of kept events, events, invocations, failures."""

    payloads: int = 0
    events: int = 0
    invocations: int = 0
    failures: int = 0

    @property
    def total(self) -> int:
        """All of them together."""
        return self.payloads + self.events + self.invocations + self.failures


class LostRuns(NamedTuple):
    """Invocations of one event that are not kept any more, and how many of them did not end well."""

    runs: int
    failed: int
