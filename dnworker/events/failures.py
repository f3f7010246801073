"""`Failures`: the exceptions of the latest failed invocations, with their tracebacks; the history has it.

A kernel keeps some, so that a debugger can enter their frames. `serve` keeps none: a traceback holds whatever
its frames hold.
"""

from __future__ import annotations

from collections import deque

from dnworker.core.invocation import Invocation
from dnworker.core.listeners import Listeners


class Failures:
    """Keeps what the newest failed invocations raised.

    Args:
        kept: how many at most; 0 keeps none.
    """

    def __init__(self, kept: int = 0) -> None:
        self._kept: deque[tuple[Invocation, BaseException]] = deque(maxlen=kept)
        self.noted: Listeners[[Invocation, BaseException]] = Listeners()
        """Called with each failed invocation where it failed, before its end is noted; must not raise."""

    def keep(self, count: int) -> None:
        """Keep at most `count` from now on, the newest of those there are."""
        self._kept = deque(self._kept, maxlen=count)

    def note(self, invocation: Invocation, exc: BaseException) -> None:
        """Keep what an invocation raised; the oldest goes where there are too many."""
        self._kept.append((invocation, exc))
        self.noted.notify(invocation, exc)

    def exception_of(self, invocation: Invocation) -> BaseException | None:
        """Return what an invocation raised; None where it did not fail, or that is not kept any more."""
        return next((exc for one, exc in reversed(self._kept) if one is invocation), None)

    def newest(self) -> list[tuple[Invocation, BaseException]]:
        """Return what is kept, the newest first."""
        return [*reversed(self._kept)]

    def forget(self) -> None:
        """Let all of it go."""
        self._kept.clear()
