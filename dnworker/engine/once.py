"""`OnceKeys`: lets one handler at a time into the body of `client.once(key)`, until one has ended well."""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec

from dnworker.core.clock import Clock
from dnworker.core.errors import Conflict, NotFound
from dnworker.core.keys import check_key
from dnworker.engine.recent_keys import RecentKeys
from dnworker.events.bus import EventBus

CLAIMS_KEPT = 10_000
"""Bodies of one worker that may be under way over HTTP."""

ABANDONED_SECONDS = 600.0
"""Seconds after which a body counts as abandoned, of a client whose end nobody here can see."""


class _Claim(msgspec.Struct, eq=False):
    """One handler's right to be in a body."""

    id: str
    worker: str
    key: str
    holder: str | None
    ended: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    timer: asyncio.TimerHandle | None = None


class OnceKeys:
    """The keys of `client.once`: each is free, or one handler is in its body, or it is done for a day.

    Only what is done is kept in the broker: who was in a body when the runtime was killed is gone with it,
    and the next delivery runs the body again.
    """

    def __init__(self, bus: EventBus, clock: Clock) -> None:
        self._done = RecentKeys(bus, clock, "once")
        self._claims: dict[str, _Claim] = {}
        self._by_key: dict[tuple[str, str], _Claim] = {}
        self._remote: Counter[str] = Counter()

    async def begin(
        self, worker: str, key: str, claim_id: str, *, holder: str | None = None, may_vanish: bool = False
    ) -> bool:
        """Return whether the caller is to run the body, once nobody else is in it; `end` must follow then.

        Args:
            worker: whose key it is.
            key: it.
            claim_id: names this attempt.
            holder: the token of the process that asks: `let_go` ends what it holds. None in this process.
            may_vanish: whether nobody would hear of the caller's end: its right ends after 10 minutes.

        Raises:
            Invalid, Conflict: the key is none, or the attempt is known; the worker is in too many bodies.
        """
        name = worker, check_key(key)
        while (other := self._by_key.get(name)) is not None:
            await other.ended.wait()
        if claim_id in self._claims:
            raise Conflict(
                f"claim {claim_id!r} is under way already; each needs an id of its own", code="DN218"
            )
        if holder is not None and self._remote[worker] >= CLAIMS_KEPT:
            raise Conflict(
                f"{worker or 'the operator'} is in {CLAIMS_KEPT:,} bodies of once(...); end some",
                code="DN218",
            )
        claim = self._take(_Claim(claim_id, worker, key, holder))
        if may_vanish:
            claim.timer = asyncio.get_running_loop().call_later(ABANDONED_SECONDS, self._free, claim)
        try:
            is_first = await self._done.get(worker, key) is None
        except BaseException:
            self._free(claim)
            raise
        if not is_first:
            self._free(claim)
        return is_first

    async def end(self, worker: str, claim_id: str, *, done: bool) -> None:
        """Leave the body: with `done` nobody enters it for a day, else the next may.

        Raises:
            NotFound: the worker has no such right, or no longer.
            BrokerError, NotStored: it could not be noted that it is done; the next may enter.
        """
        claim = self._claims.get(claim_id)
        if claim is None or claim.worker != worker:
            raise NotFound(
                "this body of once(...) is not under way any more; another may have run it", code="DN218"
            )
        try:
            if done:
                await self._done.put(worker, claim.key, b"")
        finally:
            self._free(claim)

    def let_go(self, holder: str) -> None:
        """Let others enter the bodies that a process was in, which is gone."""
        for claim in [*self._claims.values()]:
            if claim.holder == holder:
                self._free(claim)

    def _take(self, claim: _Claim) -> _Claim:
        self._claims[claim.id] = self._by_key[claim.worker, claim.key] = claim
        self._remote[claim.worker] += claim.holder is not None
        return claim

    def _free(self, claim: _Claim) -> None:
        if claim.ended.is_set():
            return
        claim.ended.set()
        if claim.timer is not None:
            claim.timer.cancel()
        del self._claims[claim.id], self._by_key[claim.worker, claim.key]
        self._remote[claim.worker] -= claim.holder is not None
