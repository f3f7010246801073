"""`Hold`: the lease of one worker: taken, renewed, lost or given back; `holdings` has one for each worker.

A lease lasts 10 s at the broker, from when the broker hears of it. Here it counts from when the request was
sent, which is earlier, by a clock that goes on while the machine sleeps: so it ends here before it ends
there, whatever the delay and whatever the time of day.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from dnworker.core.lease_time import (
    ANSWER_WITHIN,
    LEASE,
    RENEW_AFTER,
    STOP_AFTER,
    TRY_AGAIN,
    LeaseClock,
)
from dnworker.core.task_ends import end_tasks
from dnworker.events.brokers.base import Lease

log = logging.getLogger("dnworker.cluster")

T = TypeVar("T")


class Leases(Protocol):
    """What gives leases; a broker does."""

    async def acquire(self, name: str, holder: str, seconds: float) -> Lease | None:
        """Take a lease; None while another has it."""

    async def renew(self, lease: Lease, seconds: float) -> Lease | None:
        """Hold it longer; None where it has ended and another has it."""

    async def give_back(self, lease: Lease) -> None:
        """End it now; one that another has is left alone."""


class NoAnswer(OSError):
    """The broker did not answer in time."""


class Hold:
    """One lease, and the task that renews it.

    Args:
        name: of the lease.
        holder: who holds it.
        leases: gives the lease.
        clock: times it.
        on_lost: called once when a lease that was held can be held no longer, with the reason; nobody else
            has it before `until`.
        on_renewed: called when it was taken, and whenever it was renewed.
    """

    def __init__(
        self,
        name: str,
        holder: str,
        leases: Callable[[], Leases],
        clock: LeaseClock,
        on_lost: Callable[[str], object],
        on_renewed: Callable[[], object] = lambda: None,
    ) -> None:
        self.name, self.holder = name, holder
        self._leases, self._clock = leases, clock
        self._on_lost, self._on_renewed = on_lost, on_renewed
        self._lease: Lease | None = None
        self._sent = 0.0
        """When the last request was sent that was granted."""
        self._left: Lease | None = None
        """One that was lost: the broker may still count it as held by this node."""
        self._keeper: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()
        self.taken_at = 0.0

    @property
    def is_held(self) -> bool:
        """Whether handlers may run by it now."""
        return self._lease is not None and self._clock.monotonic() < self._sent + STOP_AFTER

    @property
    def is_kept(self) -> bool:
        """Whether it was taken and neither lost nor given back, whatever the time is."""
        return self._lease is not None

    @property
    def fence(self) -> int | None:
        """The number of this holder's turn; None where it is not held."""
        return None if self._lease is None else self._lease.fence

    @property
    def until(self) -> float:
        """When another may have it at the earliest, by the clock of leases."""
        return self._sent + LEASE

    async def take(self) -> bool:
        """Take it if nobody has it; returns whether it is held.

        Raises:
            OSError: the broker cannot be asked, or does not answer in time.
        """
        async with self._one_at_a_time:
            if self._lease is not None:
                return self.is_held
            if self._left is not None:  # or the broker would give the former turn's number again
                await self._ask(self._leases().give_back(self._left))
                self._left = None
            sent = self._clock.monotonic()
            try:
                lease = await self._ask(self._leases().acquire(self.name, self.holder, LEASE))
            except asyncio.CancelledError:
                self._note_unknown()
                raise
            if lease is None:
                return False
            self._left = lease
            if self._clock.monotonic() >= sent + STOP_AFTER:
                return False  # the answer came too late to be of use
            self._lease, self._left, self._sent, self.taken_at = lease, None, sent, sent
            self._on_renewed()
            self._keeper = apart(self._keep(), f"dnworker lease {self.name}")
            return True

    def _note_unknown(self) -> None:
        """Note that the broker may have granted what nobody waits for: it runs out there by itself."""
        log.debug("the request for %s was interrupted; if it was granted, it ends by itself", self.name)

    async def give_back(self) -> None:
        """Let another have it at once; where the broker cannot be asked, it ends by itself.

        Nothing of the worker may run any more. From the call on it is not held: who starts must take it anew.
        """
        async with self._one_at_a_time:
            lease = self._leave()
            await self._end_keeper()
            if lease is None:
                return
            try:
                await self._ask(self._leases().give_back(lease))
                self._left = None
            except OSError as exc:
                log.info("%s could not be given back, and ends within %g s: %s", self.name, LEASE, exc)

    async def abandon(self) -> None:
        """Renew it no longer, and let it end by itself: something of the worker may run on."""
        async with self._one_at_a_time:
            self._leave()
            await self._end_keeper()

    def _leave(self) -> Lease | None:
        """Hold it no longer, at once; returns what the broker may still count as held."""
        self._left, self._lease = self._lease or self._left, None
        return self._left

    async def _end_keeper(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None and keeper is not asyncio.current_task():
            await end_tasks(keeper)

    async def _keep(self) -> None:
        """Renew the lease until it is lost."""
        wait, why = RENEW_AFTER, "the broker does not answer"
        while True:
            await self._clock.sleep(max(0.0, min(wait, self._sent + STOP_AFTER - self._clock.monotonic())))
            if (left := self._sent + STOP_AFTER - self._clock.monotonic()) <= 0:
                self._lose(f"its lease could not be renewed for {STOP_AFTER:g} s: {why}")
                return
            try:
                is_renewed = await self._renew(left)
            except OSError as exc:
                wait, why = TRY_AGAIN, str(exc) or type(exc).__name__
                continue
            except Exception as exc:  # a lease that nobody renews would end unnoticed
                log.exception("%s could not be renewed", self.name)
                wait, why = TRY_AGAIN, f"{type(exc).__name__}: {exc}"
                continue
            if not is_renewed:
                self._lose("another node has taken its lease")
                return
            wait = RENEW_AFTER

    async def _renew(self, within: float) -> bool:
        lease, sent = self._lease, self._clock.monotonic()
        if lease is None:
            return True
        renewed = await self._ask(self._leases().renew(lease, LEASE), min(within, ANSWER_WITHIN))
        if renewed is None:
            return False
        if self._lease is not lease:
            return True  # it was given back meanwhile
        self._lease, self._sent = renewed, sent
        self._on_renewed()
        return True

    def check(self) -> None:
        """Lose it if it has ended unnoticed, as while the machine slept or the loop was blocked."""
        if self._lease is not None and not self.is_held:
            if self._keeper is not None:
                self._keeper.cancel()
            self._lose(
                f"its lease was not renewed for {STOP_AFTER:g} s: the loop was blocked, or the machine slept"
            )

    def _lose(self, why: str) -> None:
        self._left, self._lease = self._lease, None
        self._on_lost(why)

    async def _ask(self, request: Coroutine[Any, Any, T], within: float = ANSWER_WITHIN) -> T:
        return await answered(self._clock, request, within)


async def answered(clock: LeaseClock, request: Coroutine[Any, Any, T], within: float = ANSWER_WITHIN) -> T:
    """Await an answer of the broker, whatever it raises.

    Raises:
        NoAnswer: it takes longer than `within` seconds; the request is cancelled then.
    """
    asking = apart(request, "dnworker lease, request")
    waiting = apart(clock.sleep(within), "dnworker lease, timer")
    try:
        await asyncio.wait({asking, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            return asking.result()
        raise NoAnswer(f"the broker did not answer within {within:.1f} s")
    finally:
        waiting.cancel()
        asking.cancel()


async def woken(event: asyncio.Event, clock: LeaseClock, seconds: float, name: str) -> None:
    """Return once an event is set, or after some seconds."""
    if event.is_set():
        return
    timer = apart(clock.sleep(seconds), f"{name}, timer")
    waiting = apart(event.wait(), f"{name}, woken")
    try:
        await asyncio.wait({timer, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
        waiting.cancel()


def apart(coro: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Start a task that belongs to no handler, whoever asks for it."""
    return asyncio.get_running_loop().create_task(coro, name=name, context=contextvars.Context())
