"""`Epoch`: tells the time of day of monotonic seconds; the model has one, and parts of the panel read it."""

from __future__ import annotations

import time


class Epoch:
    """The monotonic clock as a time of day; the same at every look, or every part would differ."""

    def __init__(self) -> None:
        self._offset = 0.0

    def read(self) -> float:
        """Return the seconds since 1970 at which the monotonic clock was 0."""
        offset = time.time() - time.monotonic()
        if abs(offset - self._offset) > 0.25:
            self._offset = round(offset, 3)
        return self._offset
