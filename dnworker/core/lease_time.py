"""How long leases last at a broker that nodes share, and the clock that times them."""

from __future__ import annotations

import time
from typing import Protocol

from dnworker.core.clock import Clock, RealClock, SwitchClock

LEASE = 10.0
"""Seconds that a lease lasts."""

RENEW_AFTER = 3.0
"""Seconds after which it is renewed."""

STOP_AFTER = 7.0
"""Seconds after which what it is for stops, where it could not be renewed."""

TRY_AGAIN = 0.5
"""Seconds after which a renewal that failed is tried again."""

ANSWER_WITHIN = 3.0
"""Seconds that the broker may take to answer."""


class LeaseClock(Protocol):
    """What leases are timed by."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""


class BootClock(RealClock):
    """The machine's clock, which goes on while the machine sleeps: `time.monotonic` stands still then."""

    def monotonic(self) -> float:
        """Return seconds since the machine was started."""
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def lease_clock(clock: Clock) -> LeaseClock:
    """Return what leases go by in a runtime: the machine's time, also while a notebook's stands still."""
    return BootClock() if isinstance(clock, RealClock | SwitchClock) else clock
