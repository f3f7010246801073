"""Timers of a test: time passes when the test says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Timers:
    """Stands in for an event loop where only its clock matters."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Timer]] = []
        self._count = 0

    def time(self) -> float:
        """Return the seconds that have passed."""
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Any:
        """Call back when so many seconds have passed."""
        timer = Timer(callback)
        self._count += 1
        self._due.append((self.now + delay, self._count, timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass, and call what is due."""
        end = self.now + seconds
        while due := sorted(entry for entry in self._due if entry[0] <= end):
            at, _, timer = due[0]
            self._due.remove(due[0])
            self.now = max(self.now, at)
            if not timer.is_cancelled:
                timer.callback()
        self.now = end

    @property
    def pending(self) -> int:
        """How many callbacks are still to come."""
        return sum(not timer.is_cancelled for _, _, timer in self._due)


class Timer:
    """One callback."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        """Do not call back."""
        self.is_cancelled = True
