"""`UnseenFailures`: failures of handlers that `settle` has not raised yet; a part of the history."""

from __future__ import annotations

from collections import deque

from dnworker.core.errors import HandlerFailed
from dnworker.core.text import clip

FAILURES_KEPT = 1_000
"""Failures not yet raised that are kept; older ones are dropped."""

LONGEST_FAILURE = 2_000
"""Characters of a failure that `settle` raises; the invocation has all of it."""


class UnseenFailures:
    """Keeps the newest failures as text, and counts the others."""

    def __init__(self) -> None:
        self._kept: deque[str] = deque(maxlen=FAILURES_KEPT)
        self._dropped = 0

    def note(self, text: str) -> bool:
        """Keep a failure; return whether an older one is dropped for it."""
        is_full = len(self._kept) == FAILURES_KEPT
        self._dropped += is_full
        self._kept.append(clip(text, LONGEST_FAILURE))
        return is_full

    def raise_all(self) -> None:
        """Raise the failures that were not raised yet, and forget them.

        Raises:
            HandlerFailed: there was at least one.
        """
        failures = [*self._kept]
        self._kept.clear()
        more, self._dropped = self._dropped, 0
        if more:
            failures.append(f"and {more:,} that failed before these; the log has them")
        if failures:
            raise HandlerFailed(failures)
