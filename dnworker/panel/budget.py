"""How much may be sent to one view of the panel; used by `view` and `operations`."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

BYTES_PER_SECOND = 250_000
"""What one view may be sent."""


def size_of(value: object) -> int:
    """Return the bytes of a part of a message."""
    return len(msgspec.json.encode(value))


class Budget:
    """Bytes that may be sent: so many a second, and one second's worth at once."""

    def __init__(self, per_second: float, now: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._now = now
        self._left = per_second
        self._at = now()

    @property
    def left(self) -> float:
        """How many bytes may be sent now; below zero after more were spent than there were."""
        now = self._now()
        self._left = min(self._per_second, self._left + (now - self._at) * self._per_second)
        self._at = now
        return self._left

    def spend(self, count: int) -> None:
        """Take so many, which may be more than there are: then there are none for a while."""
        self._left = self.left - count
