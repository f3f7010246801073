"""`Mirror`: the values of the bucket as one watcher sees them, for all of this runtime."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from dnworker.core.errors import BrokerError
from dnworker.core.lease_time import LeaseClock
from dnworker.events.brokers.jetstream.api import Away
from dnworker.events.brokers.jetstream.connecting import Connected
from dnworker.events.brokers.jetstream.names import is_digest, text_of
from dnworker.events.brokers.jetstream.pulling import NEWEST_OF_EACH, Raw, StreamReader

log = logging.getLogger("dnworker.broker")

OPERATION, MARKER, KEY, SECONDS = "KV-Operation", "Nats-Marker-Reason", "Dnw-Key", "Dnw-Seconds"
"""Headers: that a value was removed, by whom it was; its key where the subject has a digest of it only; after
how many seconds it ends."""

VALUES, LEASES, WORKERS, LET_GO, CURSORS, PARTS = "v", "lease", "worker", "letgo", "cursor", "part"
"""Parts of the bucket. Cursors and what is too long for them are written often, and are not mirrored."""

BEHIND_SECONDS = 5.0
"""Seconds for which a reader waits until it sees what was written here."""

END_TOLD_SECONDS, END_LATER_SECONDS = 60.0, 0.01
"""Seconds of the values whose end is told of by a timer, and how much later that is: two clocks time it."""


@dataclass(slots=True, frozen=True)
class Seen:
    """A value, and since when this runtime knows it."""

    key: str
    value: bytes
    revision: int
    seconds: float | None
    at: float


def is_removal(headers: dict[str, str]) -> bool:
    """Return whether a message of the bucket says that a value is gone."""
    return OPERATION in headers or MARKER in headers


def seconds_of(headers: dict[str, str]) -> float | None:
    """Return after how many seconds a value ends; None where it stays, or no number is said."""
    try:
        seconds = float(headers.get(SECONDS, "nan"))
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None


class Mirror:
    """Knows what is in the bucket, a moment after it is.

    A value with a time ends here once it was known for so long: by no clock but this machine's own, which
    may be wrong by any time, and never by one that somebody sets, as in a notebook. Where the server has
    ended it before, it ends then.

    Args:
        connected: the server.
        clock: by which values end.
        changed: called with the part and the key of a value that is another one now.
        lost: called, once, where the bucket is not the one that it was: its values are gone.
    """

    def __init__(
        self,
        connected: Connected,
        clock: LeaseClock,
        changed: Callable[[str, str], None],
        lost: Callable[[str], None],
    ) -> None:
        self._connected = connected
        self._clock = clock
        self._changed = changed
        self._lost = lost
        self._is_lost = False
        self._prefix = f"{connected.names.bucket}."
        self._parts: dict[str, dict[str, Seen]] = {}
        self._anew: dict[str, set[str]] | None = None
        """While all is read again: what of it came by now. The rest is what it was before."""
        self.unreadable_leases: set[str] = set()
        """Those of which the log has said so."""
        self._reached = 0
        self._written = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._loaded: asyncio.Future[None] | None = None
        self._ends: dict[tuple[str, str], asyncio.TimerHandle] = {}
        parts = (VALUES, LEASES, WORKERS, LET_GO)
        self.stream = StreamReader(
            connected.api,
            connected.names.store,
            [f"{self._prefix}{part}.>" for part in parts],
            "values reader",
            begin=self._begin,
            take=self._take,
            caught_up=self._caught_up,
        )

    async def open(self) -> None:
        """Return when everything was read.

        Raises:
            BrokerError: it cannot be read in time.
        """
        self._loaded = asyncio.get_running_loop().create_future()
        self.stream.start()
        try:
            await asyncio.wait_for(asyncio.shield(self._loaded), 3 * BEHIND_SECONDS)
        except TimeoutError:
            raise BrokerError(f"the values cannot be read: {self.stream.failure or 'too slow'}") from None

    def restart(self) -> None:
        """Read everything again, as after the connection was lost; until then, what is known stays."""
        self._begin_anew()
        self.stream.restart()

    # -- what is there ---------------------------------------------------------------------------------

    def get(self, part: str, name: str) -> Seen | None:
        """Return a value by its token; None where it is not there, or has ended."""
        found = self._parts.get(part, {}).get(name)
        return None if found is None or self.has_ended(found) else found

    def all_of(self, part: str) -> list[Seen]:
        """Return the values of a part."""
        return [seen for seen in self._parts.get(part, {}).values() if not self.has_ended(seen)]

    def has_ended(self, seen: Seen) -> bool:
        """Return whether a value was known here for as long as it was to stay."""
        return seen.seconds is not None and self._clock.monotonic() >= seen.at + seen.seconds

    def ended(self, part: str, name: str, revision: int) -> bool:
        """Return whether this revision of a value was known here for as long as it was to stay."""
        found = self._parts.get(part, {}).get(name)
        return found is not None and found.revision == revision and self.has_ended(found)

    def note_written(self, revision: int) -> None:
        """Note that this runtime has written a value, which `caught_up` waits for."""
        self._written = max(self._written, revision)

    async def caught_up(self) -> None:
        """Return when all is seen that this runtime has written, and that was there when it came back.

        Raises:
            BrokerError: it is not, in time, or the server is away.
        """
        if self._connected.failure is not None:
            raise BrokerError(f"the values cannot be read now: {self._connected.failure}")
        if self._anew is None and self._reached >= self._written:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((self._written, future))
        try:
            await asyncio.wait_for(future, BEHIND_SECONDS)
        except TimeoutError:
            raise BrokerError(f"the values cannot be read now: {self.stream.failure or 'too slow'}") from None

    # -- what comes ------------------------------------------------------------------------------------

    async def _begin(self) -> dict[str, Any]:
        """Read all, once it is sure that the bucket is the one that it was."""
        names, where = self._connected.names, self._connected.settings.address
        info = await self._connected.api.info(names.store)
        if info is None:
            raise Away(f"the bucket {names.store} is not there: {where} has lost it, or does not have it yet")
        if info.created != self._connected.values.created and not self._is_lost:
            self._is_lost = True
            problem = (
                f"the bucket {names.store} at {where} was made anew at {info.created}: which node runs a "
                "worker, and what workers have handled, is gone; restart this node, with --from SEQ where "
                "workers are to handle events again"
            )
            log.critical("%s", problem)
            self._lost(problem)
        if self._is_lost:
            raise Away("the bucket is not the one that it was")
        self._begin_anew()
        return NEWEST_OF_EACH

    def _begin_anew(self) -> None:
        """Read all anew: what ended while nothing was read leaves no trace. What is known stays meanwhile."""
        self._anew = {}

    def _take(self, raw: Raw) -> None:
        part, _, name = raw.subject.removeprefix(self._prefix).partition(".")
        held = self._parts.setdefault(part, {})
        known = held.get(name)
        if self._anew is not None:
            self._anew.setdefault(part, set()).add(name)
        key = unquote(raw.headers.get(KEY, ""), errors="surrogatepass") or (
            name if is_digest(name) else text_of(name)
        )
        is_news = known is None or known.revision != raw.seq
        if is_removal(raw.headers):
            held.pop(name, None)
            is_news = known is not None
        elif is_news:  # else, since when it is known stays
            now = self._clock.monotonic()
            held[name] = Seen(key, raw.data, raw.seq, seconds_of(raw.headers), now)
            self._tell_end(part, name, held[name])
        self._note_reached(raw.seq)
        if is_news:
            self._changed(part, key)

    def _tell_end(self, part: str, name: str, seen: Seen) -> None:
        """Tell of the end of a value that ends soon: a server may say so a second later."""
        if (timer := self._ends.pop((part, name), None)) is not None:
            timer.cancel()
        if part != VALUES or seen.seconds is None or seen.seconds > END_TOLD_SECONDS:
            return

        def tell() -> None:
            self._ends.pop((part, name), None)
            if self._parts.get(part, {}).get(name) is seen and self.has_ended(seen):
                self._changed(part, seen.key)

        later = asyncio.get_running_loop().call_later
        self._ends[part, name] = later(seen.seconds + END_LATER_SECONDS, tell)

    async def close(self) -> None:
        """Read nothing more."""
        for timer in self._ends.values():
            timer.cancel()
        self._ends.clear()
        await self.stream.close()

    def _note_reached(self, seq: int) -> None:
        self._reached = max(self._reached, seq)
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        while self._anew is None and self._waiting and self._waiting[0][0] <= self._reached:
            _, future = self._waiting.pop(0)
            if not future.done():
                future.set_result(None)

    def _caught_up(self) -> None:
        anew, self._anew = self._anew, None
        gone = [
            (part, values.pop(name).key)
            for part, values in (self._parts.items() if anew is not None else ())
            for name in values.keys() - (anew or {}).get(part, set())
        ]
        self._tell_waiting()
        for part, key in gone:
            self._changed(part, key)
        if self._loaded is not None and not self._loaded.done():
            self._loaded.set_result(None)
