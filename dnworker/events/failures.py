"""`Failures`: the exceptions of the latest failed invocations, with their tracebacks; the history has it.

A kernel keeps some, so that a debugger can enter their frames. `serve` keeps none: a traceback holds whatever
its frames hold.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

import msgspec

from dnworker.core.invocation import Invocation
from dnworker.core.listeners import Listeners

log = logging.getLogger("dnworker.history")


class Failure(msgspec.Struct, frozen=True, eq=False):
    """What one invocation raised, and since when it is kept, in seconds of the machine's monotonic clock."""

    invocation: Invocation
    exception: BaseException
    since: float = msgspec.field(default_factory=time.monotonic)


class Failures:
    """Keeps what the newest failed invocations raised.

    Args:
        kept: how many at most; 0 keeps none.
    """

    def __init__(self, kept: int = 0) -> None:
        self._kept: deque[Failure] = deque(maxlen=kept)
        self.noted: Listeners[[Failure]] = Listeners()
        """Called with each failure where it failed, before its end is noted; what it raises is logged."""

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, count: int) -> None:
        """Keep at most `count` from now on, the newest of those there are."""
        self._kept = deque(self._kept, maxlen=count)

    def note(self, invocation: Invocation, exc: BaseException) -> None:
        """Keep what an invocation raised; the oldest goes where there are too many."""
        if not self._kept.maxlen and not self.noted.all:
            return
        failure = Failure(invocation, exc)
        self._kept.append(failure)
        try:
            self.noted.notify(failure)
        except BaseException:  # what goes wrong in a debugger must not keep the run from ending
            log.exception("what %s raised could not be told to a debugger", invocation.label)

    def exception_of(self, invocation: Invocation) -> BaseException | None:
        """Return what an invocation raised; None where it did not fail, or that is not kept any more."""
        return next((one.exception for one in reversed(self._kept) if one.invocation is invocation), None)

    def newest(self) -> list[tuple[Invocation, BaseException]]:
        """Return what is kept, the newest first."""
        return [(one.invocation, one.exception) for one in reversed(self._kept)]

    def entries(self) -> list[Failure]:
        """Return what is kept, the newest first, with its age."""
        return [*reversed(self._kept)]

    def forget(self, which: Callable[[Failure], bool] = lambda _: True) -> list[Failure]:
        """Let those go that `which` names, by default all of them; returns them."""
        gone = [one for one in self._kept if which(one)]
        for one in gone:
            self._kept.remove(one)
        return gone
