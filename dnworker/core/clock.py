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
    """The machine's clock, which a runtime has by default.

    Examples:
        >>> clock = RealClock()
        >>> clock.now().tzinfo, clock.can_advance
        (datetime.timezone.utc, False)
    """

    can_advance = False
    """The machine's time cannot be advanced."""

    def now(self) -> datetime:
        """Return the time of day.

        Returns:
            An aware `datetime` in UTC.

        Examples:
            >>> f"{RealClock().now():%Z}"
            'UTC'
        """
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return a number of seconds that never goes back; only differences mean something.

        Returns:
            Seconds.

        Examples:
            >>> clock = RealClock()
            >>> clock.monotonic() <= clock.monotonic()
            True
        """
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after a number of seconds.

        Args:
            seconds: how long to sleep.

        Examples:
            >>> await RealClock().sleep(0.01)
        """
        await asyncio.sleep(seconds)

    async def sleep_until(self, when: datetime) -> bool:
        """Return at a time of day; it follows the clock when somebody corrects it.

        Args:
            when: an aware `datetime`.

        Returns:
            True.

        Examples:
            >>> clock = RealClock()
            >>> await clock.sleep_until(clock.now())
            True
        """
        while (left := (when - self.now()).total_seconds()) > 0:  # noqa: ASYNC110  no event tells the time
            await asyncio.sleep(min(left, LONGEST_STEP))
        return True


class VirtualClock:
    """A clock that stands still until `advance` moves it: an hour of schedules runs in milliseconds.

    Sleepers wake in the order of their deadlines, and those of the same moment in the order in which they
    went to sleep, so a run is the same every time.

    Args:
        start: its first time of day, an aware `datetime`; by default 2030-01-01 00:00 UTC.

    Examples:
        >>> clock = VirtualClock()
        >>> await clock.advance(90)
        0
        >>> f"{clock.now():%Y-%m-%d %H:%M:%S}"
        '2030-01-01 00:01:30'
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
        """Return the virtual time of day.

        Returns:
            An aware `datetime` in UTC.

        Examples:
            >>> VirtualClock().now().isoformat()
            '2030-01-01T00:00:00+00:00'
        """
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Return the virtual seconds since the clock was made.

        Returns:
            Seconds.

        Examples:
            >>> clock = VirtualClock()
            >>> woken = await clock.advance(90)
            >>> clock.monotonic()
            90.0
        """
        return self._elapsed

    @property
    def next_wake(self) -> float | None:
        """Seconds until the next sleeper is due, or None when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] - self._elapsed if self._sleepers else None

    async def sleep(self, seconds: float) -> None:
        """Return when the clock was advanced by a number of seconds; at once when it is not positive.

        Args:
            seconds: virtual seconds to sleep.

        Examples:
            >>> clock = VirtualClock()
            >>> sleeper = asyncio.create_task(clock.sleep(3600))
            >>> await clock.advance(3600)
            1
        """
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        with self.asleep_here():
            await self._wake_at(self.monotonic() + seconds)

    async def sleep_until(self, when: datetime) -> bool:
        """Return when the clock was advanced to a time of day; at once when that is past.

        Args:
            when: an aware `datetime`.

        Returns:
            True; a `SwitchClock` says False when it was switched meanwhile.

        Examples:
            >>> clock = VirtualClock()
            >>> sleeper = asyncio.create_task(clock.sleep_until(clock.now() + timedelta(hours=1)))
            >>> woken = await clock.advance(3600)
            >>> await sleeper
            True
        """
        await self.sleep((when - self.now()).total_seconds())
        return True

    @contextmanager
    def asleep_here(self) -> Iterator[None]:
        """Count the handler that runs here as asleep during the body: time moves on without it.

        Yields:
            None.

        Examples:
            >>> clock = VirtualClock()
            >>> with clock.asleep_here():
            ...     await clock.advance(60)
            0
        """
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
        """Move time forward, and wake every sleeper on the way.

        Of a runtime's clock use `Runtime.advance`, which lets the handlers that wake run to their end.

        Args:
            seconds: how far to go, in virtual seconds; not negative.
            settle: awaited after each wake, to let what woke run until it sleeps again. By default the
                loop turns a few dozen times, which is enough for code that awaits no real I/O.
            limit: stop, at the time reached by then, after so many wakes; None for no bound.

        Returns:
            How many sleepers woke.

        Raises:
            ValueError: `seconds` is negative.

        Examples:
            >>> clock = VirtualClock()
            >>> async def tick():
            ...     while True:
            ...         await clock.sleep(60)
            ...         print(f"{clock.monotonic():g} s")
            >>> ticking = asyncio.create_task(tick())
            >>> await clock.advance(150)
            60 s
            120 s
            2
            >>> ticking.cancel()
            True
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

    It is the clock of a notebook's runtime: `%clock virtual` and `%clock real` switch it. A sleeper keeps the
    rest of its sleep over a switch. A sleeper until a time of day is woken early by the switch back, so that
    no tick of the real day is lost.

    Attributes:
        is_virtual: whether it stands still now.

    Examples:
        >>> clock = SwitchClock()
        >>> clock.is_virtual
        False
        >>> clock.be_virtual()
        >>> await clock.advance(60)
        0
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
        """Whether it stands still until it is advanced: whether it is virtual."""
        return self.is_virtual

    def now(self) -> datetime:
        """Return the time of day: the machine's, or the virtual one.

        Returns:
            An aware `datetime` in UTC.

        Examples:
            >>> clock = SwitchClock()
            >>> clock.be_virtual()
            >>> clock.now() == clock.now()
            True
        """
        return super().now() if self.is_virtual else datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the seconds since the clock was made, advanced ones included.

        Returns:
            Seconds.

        Examples:
            >>> clock = SwitchClock()
            >>> clock.be_virtual()
            >>> woken = await clock.advance(60)
            >>> clock.monotonic() >= 60
            True
        """
        return self._elapsed if self.is_virtual else self._elapsed + time.monotonic() - self._anchor

    @property
    def next_wake(self) -> float | None:
        """Seconds until the next sleeper is due, or None when nobody sleeps."""
        wait = super().next_wake
        return None if wait is None else self._elapsed + wait - self.monotonic()

    def be_virtual(self) -> None:
        """Stand still from now on, until `advance`; does nothing to a virtual clock.

        Examples:
            >>> clock = SwitchClock()
            >>> clock.be_virtual()
            >>> clock.can_advance
            True
        """
        if not self.is_virtual:
            self._elapsed = self.monotonic()
            self._start = datetime.now(UTC) - timedelta(seconds=self._elapsed)
            self.is_virtual = True
            self._wake_until(still=True)
            self._arm()

    def be_real(self) -> None:
        """Follow the machine's clock again; does nothing to a real clock.

        Examples:
            >>> clock = SwitchClock()
            >>> clock.be_virtual()
            >>> clock.be_real()
            >>> clock.can_advance
            False
        """
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
        """Name the loop whose sleepers this clock wakes; sleepers of other loops use the machine's clock.

        Args:
            loop: the runtime's.
        """
        self._loop = loop

    async def sleep(self, seconds: float) -> None:
        """Return after seconds of this clock's time; on another loop than its own, of the machine's.

        Args:
            seconds: how long to sleep.

        Examples:
            >>> clock = SwitchClock()
            >>> clock.be_virtual()
            >>> sleeper = asyncio.create_task(clock.sleep(3600))
            >>> await clock.advance(3600)
            1
        """
        if self._loop in (None, asyncio.get_running_loop()):
            await super().sleep(seconds)
        else:  # asyncio.run() in a thread that a handler started: sleepers and timer are not that loop's
            await asyncio.sleep(seconds)

    async def sleep_until(self, when: datetime) -> bool:
        """Return at a time of day, or before when the clock became real meanwhile.

        Args:
            when: an aware `datetime`.

        Returns:
            True at `when`; False before: compute `when` again.

        Examples:
            >>> clock = SwitchClock()
            >>> await clock.sleep_until(clock.now())
            True
        """
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

    Args:
        seconds: how long to sleep.

    Examples:
        >>> @worker.on_event("demo.greeted")
        ... async def on_greeted(event, client):
        ...     await sleep(3600)
        ...     print("an hour later")
        >>> managed = await runtime.add(worker)
        >>> trace = await runtime.fire("demo.greeted", {}, wait=False)
        >>> woken = await runtime.advance(3600)
        an hour later
    """
    await (current_clock.get() or RealClock()).sleep(seconds)


async def turn_loop(times: int = 32) -> None:
    """Let everything that is ready run: what a test awaits where it waits for no time and no I/O.

    Args:
        times: how many turns of the event loop.

    Examples:
        >>> task = asyncio.create_task(asyncio.sleep(0, "done"))
        >>> await turn_loop()
        >>> task.result()
        'done'
    """
    for _ in range(times):
        await asyncio.sleep(0)
