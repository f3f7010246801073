"""`WatchedRun`: one run of a handler, looked at before and after each of its steps; `state_watch` makes them.

Between two steps of a handler other code of the same worker runs: other handlers, tasks that it started,
cells. What the state is at the beginning and the end of one step differs by what this handler did alone, but
for threads. After so many steps, or so much time, only the whole rest of the run is compared.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from types import CoroutineType
from typing import Any

from dnworker.core.invocation import Invocation
from dnworker.workers.around import Handler
from dnworker.workers.state_changes import LARGEST_STATE, Large, Moment, differences, moment_of
from dnworker.workers.state_frozen import ABSENT, Difference, is_same
from dnworker.workers.state_text import text_of

log = logging.getLogger("dnworker.state")

STEPS = 500
SECONDS = 0.05
"""Steps, and seconds of looking, after which the rest of a run is compared as one."""

KEYS_KEPT = 30
TIMES_KEPT = 3
"""Keys that one run has changed, and separate changes of one key, that are kept."""


class StateChanges:
    """Which keys one run has changed, from what to what."""

    def __init__(self) -> None:
        self._found: dict[object, list[Difference]] = {}
        self._more: set[object] = set()

    def add(self, found: dict[object, Difference]) -> None:
        """Add what a step has changed; what somebody else changed in between stays apart."""
        for key, (before, after) in found.items():
            known = self._found.get(key)
            if known is None:
                if len(self._found) >= KEYS_KEPT:
                    self._more.add(key)
                    continue
                known = self._found[key] = []
            self._append(known, before, after)
            if not known:
                del self._found[key]

    def _append(self, known: list[Difference], before: object, after: object) -> None:
        if known and (_is_equal(known[-1][1], before) or len(known) >= TIMES_KEPT):
            first = known.pop()[0]
            if not _is_equal(first, after):
                known.append((first, after))
        else:
            known.append((before, after))

    def texts(self) -> tuple[str, ...]:
        """Return the changes as text, one for each key."""
        found = [
            "; then ".join(text_of(key, *one) for one in changes) for key, changes in self._found.items()
        ]
        return (*found, *([f"and {len(self._more):,} keys more"] if self._more else []))


def _is_equal(one: object, other: object) -> bool:
    return one is other or (one is not ABSENT and other is not ABSENT and is_same(one, other))


class WatchedRun:
    """One run of a handler whose changes to the state are noted on its invocation.

    Args:
        invocation: it.
        state: returns the state as it is now.
        may_look: returns whether there is time for a look before a step.
        spent: is told the seconds that a look took.
        too_large: called when the state is larger than what is looked at.
        meanwhile: returns what else of the worker ran since a moment of the monotonic clock, as text.
        known: which values of the state are too large, as far as that is known; is kept up to date.
        is_opaque: returns whether of a value, by its key, only another object in its place is a change.
    """

    def __init__(
        self,
        invocation: Invocation,
        state: Callable[[], object],
        *,
        may_look: Callable[[], bool],
        spent: Callable[[float], object],
        too_large: Callable[[], object],
        meanwhile: Callable[[float], str],
        known: dict[object, Large] | None = None,
        is_opaque: Callable[[object, object], bool] = lambda key, value: False,
    ) -> None:
        self._invocation = invocation
        self._state = state
        self._may_look = may_look
        self._note_spent = spent
        self._too_large = too_large
        self._meanwhile = meanwhile
        self._known = {} if known is None else known
        self._is_opaque = is_opaque
        self._changes = StateChanges()
        self._before: Moment | None = None
        # how it is looked at
        self._steps = 0
        self._spent = 0.0
        self._since: float | None = None
        """When it began to be compared as one, by the monotonic clock."""
        self._beside = ""
        self._is_over = False
        self._why_not = ""
        """Why it was not looked at to its end."""

    def wrapped(self, handler: Handler) -> Handler:
        """Return what is run in the place of the handler."""

        async def run(*args: Any) -> Any:
            awaitable = handler(*args)
            if type(awaitable) is not CoroutineType:
                return await self._as_one(awaitable)
            return await _Steps(awaitable, self)

        return run

    async def _as_one(self, awaitable: Awaitable[Any]) -> Any:
        self._since = time.monotonic()
        self.begin_step()
        try:
            return await awaitable
        finally:
            self.end(is_last=True)

    def begin_step(self) -> None:
        """Look at the state before a step; nothing of this raises into the handler."""
        if self._is_over or self._before is not None:
            return
        if self._may_look():
            self._before = self._look()
        else:
            self._give_up("looking takes too long")

    def end(self, *, is_last: bool) -> None:
        """Look at the state after a step."""
        self._steps += 1
        if self._is_over or self._before is None or (self._since is not None and not is_last):
            return
        if not is_last and (self._steps >= STEPS or self._spent >= SECONDS):
            self._since = time.monotonic()
        after = self._look()
        if after is None:
            return
        try:
            self._note(self._before, after, is_last=is_last)
        except Exception as exc:  # what looks must not be why a handler fails
            log.exception("changes of the state of %s cannot be told", self._invocation.worker)
            self._is_over, self._why_not = True, f"{type(exc).__name__} while it was compared"
        self._before = after if self._since is not None else None

    def _note(self, before: Moment, after: Moment, *, is_last: bool) -> None:
        if found := differences(before, after):
            self._changes.add(found)
            if self._since is not None and is_last:
                self._beside = self._meanwhile(self._since)
            self._write()

    def _look(self) -> Moment | None:
        started = time.perf_counter()
        try:
            moment = moment_of(self._state(), self._known, self._is_opaque)
        except Exception as exc:  # a thread changes it meanwhile, or a library's own value does not say
            self._give_up(f"{type(exc).__name__} while it was looked at")
            return None
        took = time.perf_counter() - started
        self._spent += took
        self._note_spent(took)
        if moment.size > LARGEST_STATE:
            self._is_over = True
            self._too_large()
            return None
        return moment

    def _give_up(self, why: str) -> None:
        self._is_over, self._why_not = True, why
        if self._steps:
            self._write()

    def _write(self) -> None:
        found = list(self._changes.texts())
        notes = [f"(meanwhile {self._beside} ran too)"] if self._beside else []
        notes += [f"(not looked at to its end: {self._why_not})"] if self._why_not else []
        if notes:
            last = found.pop() if found else ""
            found.append(" ".join(filter(None, [last, *notes])))
        self._invocation.state_changes = tuple(found)


class _Steps:
    """Runs a coroutine step by step, as whoever awaits it would."""

    __slots__ = ("_run", "cr_await")

    def __init__(self, coroutine: CoroutineType[Any, Any, Any], run: WatchedRun) -> None:
        self.cr_await = coroutine
        """What it waits for, by the name by which frames of a suspended task are found."""
        self._run = run

    def __await__(self) -> _Steps:
        return self

    __iter__ = __await__

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        return self._step(self.cr_await.send, value)

    def throw(self, *args: Any) -> Any:
        return self._step(self.cr_await.throw, *args)

    def close(self) -> None:
        self.cr_await.close()

    def _step(self, step: Callable[..., Any], *args: Any) -> Any:
        run = self._run
        run.begin_step()
        is_last = True
        try:
            waits_for = step(*args)
            is_last = False
            return waits_for
        finally:
            run.end(is_last=is_last)
