"""`SessionLeases`: the sessions that this runtime runs, by their leases, which it renews and drops in time.

A lease counts from when its request was sent, so it ends here before it ends at the broker.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from dnworker.core.errors import DnworkerError
from dnworker.core.lease_time import (
    ANSWER_WITHIN,
    LEASE,
    RENEW_AFTER,
    STOP_AFTER,
    TRY_AGAIN,
    LeaseClock,
)
from dnworker.sessions.peers import lease_name

if TYPE_CHECKING:
    from dnworker.events.brokers.base import Broker, Lease
    from dnworker.events.bus import EventBus

log = logging.getLogger("dnworker.sessions")

AT_ONCE = 64
"""Leases that are renewed at the same time."""


class Held(msgspec.Struct, eq=False):
    """One session of this runtime."""

    session_id: str
    lease: Lease
    sent: float
    """When the last request was sent that was granted."""
    used: float
    """When something was last done with it."""
    users: int = 0
    """How much is done with it now."""
    ends: list[Callable[[], None]] = msgspec.field(default_factory=list)
    """Called once it is held no longer."""


class SessionLeases:
    """Takes, renews and gives back leases.

    Args:
        bus: whose broker gives them.
        clock: times them.
        holder: who holds them.
        on_lost: called with the id of a session whose lease is lost.
    """

    def __init__(
        self, bus: EventBus, clock: LeaseClock, holder: str, on_lost: Callable[[str], object]
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._holder = holder
        self._on_lost = on_lost
        self._held: dict[str, Held] = {}
        self._at_once = asyncio.Semaphore(AT_ONCE)

    @property
    def _broker(self) -> Broker:
        return self._bus.broker

    def get(self, session_id: str) -> Held | None:
        """Return a session that this runtime has, and may run now."""
        held = self._held.get(session_id)
        return held if held is not None and self.is_good(held) else None

    def all(self) -> list[Held]:
        """Return all sessions that it has."""
        return [*self._held.values()]

    def is_good(self, held: Held) -> bool:
        """Return whether a lease has not run out."""
        return self._clock.monotonic() < held.sent + STOP_AFTER

    async def take(self, session_id: str) -> Held | None:
        """Take the lease of a session, which is had from `add` on; None if another has it.

        Raises:
            NotStored, BrokerError: the broker is away.
        """
        sent = self._clock.monotonic()
        lease = await self._broker.acquire(lease_name(session_id), self._holder, LEASE)
        return None if lease is None else Held(session_id, lease, sent, sent)

    def add(self, held: Held) -> None:
        """Have a session from now on."""
        self._held[held.session_id] = held

    def drop(self, session_id: str) -> Held | None:
        """Have a session no longer; its lease runs out, unless it is given back."""
        held = self._held.pop(session_id, None)
        for end in held.ends if held is not None else ():
            end()
        return held

    async def give_back(self, held: Held) -> None:
        """Let another take a lease now; where the broker is away, it runs out."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await self._broker.give_back(held.lease)
        except (OSError, DnworkerError) as exc:
            log.info("the lease of session %s is not given back, and runs out: %s", held.session_id, exc)

    async def keep(self) -> None:
        """Renew all, again and again."""
        is_well = True
        while True:
            await self._clock.sleep(RENEW_AFTER if is_well else TRY_AGAIN)
            try:
                is_well = all(await asyncio.gather(*(self._renew(held) for held in self.all())))
            except Exception:
                is_well = False
                log.exception("the leases of sessions cannot be renewed")

    async def drop_late(self) -> None:
        """Lose each lease that runs out, also while the broker does not answer."""
        while True:
            await self._clock.sleep(TRY_AGAIN)
            for held in self.all():
                if not self.is_good(held):
                    try:
                        self._lose(held, f"it could not be renewed for {STOP_AFTER:g} s")
                    except Exception:
                        log.exception("session %s is not left in order", held.session_id)

    async def _renew(self, held: Held) -> bool:
        async with self._at_once:
            sent = self._clock.monotonic()
            try:
                async with asyncio.timeout(ANSWER_WITHIN):
                    renewed = await self._broker.renew(held.lease, LEASE)
            except (OSError, DnworkerError) as exc:  # TimeoutError is an OSError
                log.debug("the lease of session %s is not renewed: %s", held.session_id, exc)
                return False
        if renewed is not None:
            held.lease, held.sent = renewed, sent
        elif self._held.get(held.session_id) is held:
            self._lose(held, "another node has it")
        return True

    def _lose(self, held: Held, why: str) -> None:
        log.warning("session %s runs here no longer: %s", held.session_id, why)
        self.drop(held.session_id)
        self._on_lost(held.session_id)
