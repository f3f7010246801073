"""Clocks (real, virtual, switchable), which schedules, backoff and scripts of agents sleep on.

The event loop of a kernel is shared with every widget and socket, so it is never patched: what a virtual
clock must control sleeps on a `Clock` instead.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Protocol

from dnworker.core.invocation import Invocation, current_invocation


class Clock(Protocol):
    """What schedules, backoff and timestamps take their time from."""

    @property
    def can_advance(self) -> bool:
        """Whether it stands still until it is advanced."""
        ...

    def now(self) -> datetime:
        """Return the time of day, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of this clock's time."""
        ...

    async def sleep_until(self, when: datetime) -> bool:
        """Return True at `when`; False earlier if the clock was switched: compute `when` again."""
        ...


LONGEST_STEP = 60.0
"""Seconds after which a sleeper reads the time of day again: a machine may be suspended, or corrected."""

ROUNDING = 1e-4
"""Seconds that a time of day may be off by, having been through floating point."""


class RealClock:
    """The machine's clock."""

    can_advance = False
    """The machine's time cannot be advanced."""

    def now(self) -> datetime:
        """Return the time of day, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        await asyncio.sleep(seconds)

    async def sleep_until(self, when: datetime) -> bool:
        """Return True at `when`."""
        while (left := (when - self.now()).total_seconds()) > 0:  # noqa: ASYNC110  no event tells the time
            await asyncio.sleep(min(left, LONGEST_STEP))
        return True


class VirtualClock:
    """A clock that stands still until `advance` moves it.

    Sleepers wake in the order of their deadlines, and those of the same moment in the order in which they
    went to sleep, so a run is the same every time.
    """

    def __init__(self, start: datetime | None = None) -> None:
        self._start = start or datetime(2030, 1, 1, tzinfo=UTC)
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[bool]]] = []
        self._order = itertools.count()
        self.asleep: Counter[Invocation] = Counter()
        """The invocations that sleep on this clock, with the number of their sleepers."""
        self.on_sleep: Callable[[], None] = lambda: None
        self._cancelled = 0

    @property
    def can_advance(self) -> bool:
        """Whether it stands still until it is advanced."""
        return True

    def now(self) -> datetime:
        """Return the virtual time of day, aware, in UTC."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Return the virtual seconds since the clock was made."""
        return self._elapsed

    @property
    def next_wake(self) -> float | None:
        """Seconds until the next sleeper is due, or None when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] - self._elapsed if self._sleepers else None

    async def sleep(self, seconds: float) -> None:
        """Return when the clock was advanced by `seconds`; at once when it is not positive."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        with self._asleep_here():
            await self._wake_at(self.monotonic() + seconds)

    async def sleep_until(self, when: datetime) -> bool:
        """Return True when the clock was advanced to `when`; at once when that is past."""
        await self.sleep((when - self.now()).total_seconds())
        return True

    @contextmanager
    def _asleep_here(self) -> Iterator[None]:
        invocation = current_invocation.get()
        if invocation is not None:
            self.asleep[invocation] += 1
            self.on_sleep()
        try:
            yield
        except asyncio.CancelledError:
            self._forget_cancelled()
            raise
        finally:
            if invocation is not None:
                self.asleep[invocation] -= 1
                if not self.asleep[invocation]:
                    del self.asleep[invocation]

    def _forget_cancelled(self) -> None:
        """Take cancelled sleepers out of the heap once they are most of it."""
        self._cancelled += 1
        if self._cancelled > max(64, len(self._sleepers) // 2):
            self._sleepers = [entry for entry in self._sleepers if not entry[2].done()]
            heapq.heapify(self._sleepers)
            self._cancelled = 0

    def _wake_at(self, deadline: float) -> asyncio.Future[bool]:
        wake: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (deadline, next(self._order), wake))
        return wake

    async def advance(
        self,
        seconds: float,
        settle: Callable[[], Awaitable[object]] | None = None,
        *,
        limit: int | None = None,
    ) -> int:
        """Move time forward, waking every sleeper on the way, and return how many were woken.

        Args:
            seconds: how far to go; not negative.
            settle: awaited after each wake, to let what woke run until it sleeps again. By default the
                loop turns a few dozen times, which is enough for code that awaits no real I/O.
            limit: stop, at the time reached by then, after so many wakes; None for no bound.

        Raises:
            ValueError: `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError(f"a clock cannot go back; advance({seconds!r})")
        settle = settle or turn_loop
        await settle()
        end = self._elapsed + seconds
        woken = 0
        while (wait := self.next_wake) is not None and self._elapsed + wait <= end + 1e-9:
            if woken == limit or not self.can_advance:  # a handler may have made it real
                return woken
            deadline, _, wake = heapq.heappop(self._sleepers)
            self._elapsed = max(self._elapsed, deadline)
            wake.set_result(True)
            woken += 1
            await settle()
        if self.can_advance:
            self._elapsed = max(self._elapsed, end)
        return woken


class SwitchClock(VirtualClock):
    """A clock that follows the machine's until it is made virtual, and again when it is made real.

    A sleeper keeps the rest of its sleep over a switch. A sleeper until a time of day is woken early by the
    switch back, so that no tick of the real day is lost.
    """

    def __init__(self) -> None:
        super().__init__(datetime.now(UTC))
        self.is_virtual = False
        self._anchor = time.monotonic()
        self._until: set[asyncio.Future[bool]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def can_advance(self) -> bool:
        """Whether it stands still until it is advanced."""
        return self.is_virtual

    def now(self) -> datetime:
        """Return the time of day, aware, in UTC."""
        return super().now() if self.is_virtual else datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since the clock was made, advanced ones included."""
        return self._elapsed if self.is_virtual else self._elapsed + time.monotonic() - self._anchor

    @property
    def next_wake(self) -> float | None:
        """Seconds until the next sleeper is due, or None when nobody sleeps."""
        wait = super().next_wake
        return None if wait is None else self._elapsed + wait - self.monotonic()

    def be_virtual(self) -> None:
        """Stand still from now on, until `advance`; does nothing to a virtual clock."""
        if not self.is_virtual:
            self._elapsed = self.monotonic()
            self._start = datetime.now(UTC) - timedelta(seconds=self._elapsed)
            self.is_virtual = True
            self._wake_until(still=True)
            self._arm()

    def be_real(self) -> None:
        """Follow the machine's clock again; does nothing to a real clock."""
        if self.is_virtual:
            self.is_virtual = False
            self._anchor = time.monotonic()
            self._wake_until(still=False)
            self._arm()

    def _wake_until(self, *, still: bool) -> None:
        """Wake the sleepers until a time of day; `still` is whether their time of day still holds."""
        for wake in self._until:
            if not wake.done():
                wake.set_result(still)

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the loop whose sleepers this clock wakes; sleepers of other loops use the machine's clock."""
        self._loop = loop

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of this clock's time; on another loop than its own, of the machine's."""
        if self._loop in (None, asyncio.get_running_loop()):
            await super().sleep(seconds)
        else:  # asyncio.run() in a thread that a handler started: sleepers and timer are not that loop's
            await asyncio.sleep(seconds)

    async def sleep_until(self, when: datetime) -> bool:
        """Return True at `when`; False before, when the clock became real meanwhile."""
        while (left := (when - self.now()).total_seconds()) > ROUNDING:
            step = left if self.is_virtual else min(left, LONGEST_STEP)
            wake = self._wake_at(self.monotonic() + step)
            self._until.add(wake)
            try:
                if not await wake:
                    return False
            finally:
                self._until.discard(wake)
        return True

    def _wake_at(self, deadline: float) -> asyncio.Future[bool]:
        wake = super()._wake_at(deadline)
        self._arm()
        return wake

    def _arm(self) -> None:
        """Have the loop call when the next sleeper is due, while the clock is real."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.is_virtual and (wait := self.next_wake) is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, wait), self._ring)

    def _ring(self) -> None:
        while (wait := self.next_wake) is not None and wait <= 0:
            _, _, wake = heapq.heappop(self._sleepers)
            wake.set_result(True)
        self._arm()


current_clock: contextvars.ContextVar[Clock | None] = contextvars.ContextVar("dnworker_clock", default=None)
"""The clock of the runtime whose handler is running here."""


async def sleep(seconds: float) -> None:
    """Sleep on the clock of the runtime whose handler calls; outside of handlers on the machine's.

    A handler that uses it instead of `asyncio.sleep` is woken by a virtual clock, too.
    """
    await (current_clock.get() or RealClock()).sleep(seconds)


async def turn_loop(times: int = 32) -> None:
    """Let everything that is ready run, `times` turns of the loop deep."""
    for _ in range(times):
        await asyncio.sleep(0)
