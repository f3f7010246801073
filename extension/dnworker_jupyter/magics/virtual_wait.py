"""`VirtualWait` says that a `%fire` waits for a virtual clock, which nothing moves while the cell runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from dnworker.core.clock import VirtualClock
from dnworker.engine.waiting import settle_step
from dnworker.runtime import Runtime

LOOK = 1.0
"""Seconds after which it is said what a cell waits for."""

NAMED = 3
"""Handlers that are named at most."""

WAY_OUT = "%clock next and %clock advance TIME move it"


class VirtualWait:
    """What of one `%fire` sleeps on a virtual clock, told once.

    Args:
        runtime: whose clock it is.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._is_told = False

    def sleepers(self) -> list[str]:
        """Return the handlers that sleep, where nothing else runs; none of a real clock."""
        clock = self._runtime.clock
        if not isinstance(clock, VirtualClock) or not clock.can_advance:
            return []
        asleep = [one for one in clock.asleep if one.cause != "task"]
        return [*dict.fromkeys(one.label for one in asleep if self._runtime.history.is_idle(clock.asleep))]

    @asynccontextmanager
    async def telling(self) -> AsyncIterator[None]:
        """Say during the block what it waits for, where that sleeps."""
        is_of_interest = self._runtime.clock.can_advance and not self._is_told
        looking = (
            asyncio.create_task(self._look(), name="%fire looks at the clock") if is_of_interest else None
        )
        try:
            yield
        finally:
            if looking is not None:
                looking.cancel()
                await asyncio.wait({looking})  # an interrupt of the cell is not taken for its end

    async def _look(self) -> None:
        while not self._is_told:
            await asyncio.sleep(LOOK)
            if names := self.sleepers():
                self._is_told = True
                way = f"{WAY_OUT}, once this cell has ended: interrupt it, or fire with --no-wait"
                print(f"waiting for {sleeping(names)}; {way}")  # noqa: T201

    async def settle(self) -> None:
        """Let run to its end what does not sleep."""
        await settle_step(self._runtime.history, self._runtime.clock)


def sleeping(names: Iterable[str]) -> str:
    """Return that handlers sleep, as people read it."""
    names = [*names]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    verb = "sleeps" if len(names) == 1 else "sleep"
    return f"{', '.join(names[:NAMED])}{more}, which {verb} on the virtual clock"
