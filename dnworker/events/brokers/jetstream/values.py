"""`Values`: keys, values and leases in the bucket; what it writes is compared by the server."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from urllib.parse import quote

import msgspec

from dnworker.core.clock import Clock
from dnworker.core.errors import NotStored
from dnworker.events.brokers.base import Entry, Lease
from dnworker.events.brokers.jetstream.api import WRONG_SEQUENCE, Away, Message, Refused
from dnworker.events.brokers.jetstream.connecting import Connected
from dnworker.events.brokers.jetstream.events import EXPECTED_SEQUENCE, bytes_of
from dnworker.events.brokers.jetstream.mirror import (
    KEY,
    LEASES,
    OPERATION,
    SECONDS,
    VALUES,
    Mirror,
    is_removal,
)
from dnworker.events.brokers.jetstream.names import is_digest, token
from dnworker.events.brokers.watches import Watches

log = logging.getLogger("dnworker.broker")

ATTEMPTS = 20
"""How often a write is tried that others come before."""

REMOVED_SECONDS = 60
"""Seconds for which a note stays that a value was removed."""


class _Held(msgspec.Struct, frozen=True):
    """A lease as it is written; the fence of a new one is the revision that it gets."""

    holder: str
    fence: int = 0


UNREADABLE = _Held("a node that writes leases in another way")
UNREADABLE_TOLD = 1_000
"""Leases that cannot be read, of which the log says so."""


def _held(mirror: Mirror, lease: str, value: bytes) -> _Held:
    """Return who has a lease; what cannot be read is a lease of somebody else."""
    try:
        return msgspec.msgpack.decode(value, type=_Held)
    except (ValueError, RecursionError):
        said = mirror.unreadable_leases
        if lease not in said and len(said) < UNREADABLE_TOLD:
            said.add(lease)
            log.warning("the lease %s cannot be read, and counts as held: %r", lease[:80], value[:40])
        return UNREADABLE


class Bucket:
    """The stream behind the bucket: one value a subject, written over a known revision.

    Args:
        connected: the server.
    """

    def __init__(self, connected: Connected) -> None:
        self._connected = connected
        self._names = connected.names
        self._api = connected.api

    async def last(self, part: str, key: str) -> Message | None:
        """Return the newest message of a key, from the leader; it may say that the value is gone.

        Raises:
            Away, Refused: it cannot be read.
        """
        return await self._api.message(self._names.store, last_by_subj=self._names.key(part, key))

    async def write(
        self,
        part: str,
        key: str,
        value: bytes,
        *,
        revision: int | None = None,
        seconds: float | None = None,
        is_removal: bool = False,
    ) -> int | None:
        """Write a value, and return its revision; None where the present one is not `revision`.

        Raises:
            NotStored: it is not written, or no answer says that it is.
        """
        headers: dict[str, str] = {}
        if revision is not None:
            headers[EXPECTED_SEQUENCE] = str(revision)
        if is_digest(token(key)):
            headers[KEY] = quote(key, errors="surrogatepass")
        if is_removal:
            headers[OPERATION], seconds = "DEL", REMOVED_SECONDS
        if seconds is not None:
            headers["Nats-TTL"] = f"{max(1, math.ceil(seconds))}s"
            headers[SECONDS] = str(seconds)
        if len(value) + bytes_of(headers) > self._connected.largest:
            raise NotStored(
                f"the value of {key[:80]!r} has {len(value):,} bytes; {self._connected.settings.address} "
                f"takes {self._connected.largest:,} (max_payload); keep it in a file, and its name here",
                code="DN712",
            )
        try:
            answer = await self._api.request(self._names.key(part, key), value, headers or None)
        except Refused as exc:
            if exc.number in WRONG_SEQUENCE:
                return None
            raise NotStored(f"{self._connected.settings.address} does not keep {key[:80]!r}: {exc}") from exc
        except Away as exc:
            raise NotStored(f"{self._connected.failure or exc}; {key[:80]!r} may not be written") from exc
        return int(answer["seq"])


class Values:
    """The part of a broker that has nothing to do with events."""

    clock: Clock

    def __init__(self) -> None:
        super().__init__()
        self._watches = Watches()
        self._leases: dict[str, tuple[int, int]] = {}
        """The fence and the newest revision of leases that this runtime has."""
        self._bucket: Bucket | None = None
        self._mirror: Mirror | None = None

    # -- keys and values -------------------------------------------------------------------------------

    async def get(self, key: str) -> Entry | None:
        """Return a value, as the server has it at this moment.

        Raises:
            BrokerError: the server does not answer.
        """
        found = await self._present(VALUES, key)
        return None if found is None else Entry(key=key, value=found.data, revision=found.seq)

    async def put(
        self, key: str, value: bytes, *, revision: int | None = None, seconds: float | None = None
    ) -> Entry | None:
        """Write a value; with a `revision` only over that one, 0 for none. None where it is another.

        Raises:
            NotStored: it is not written, or no answer says that it is.
        """
        bucket, mirror = self._opened()
        expected = revision
        for _ in range(ATTEMPTS):
            written = await bucket.write(VALUES, key, value, revision=expected, seconds=seconds)
            if written is not None:
                mirror.note_written(written)
                return Entry(key=key, value=value, revision=written)
            if revision != 0 or (last := await bucket.last(VALUES, key)) is None:
                if revision != 0:
                    return None
                expected = 0  # the note that it was removed has ended meanwhile
            elif self._is_there(VALUES, key, last):
                return None
            else:
                expected = last.seq
        return None

    async def delete(self, key: str) -> None:
        """Remove a value.

        Raises:
            NotStored: it is not removed, or no answer says that it is.
        """
        bucket, mirror = self._opened()
        if (await bucket.last(VALUES, key)) is None:
            return
        written = await bucket.write(VALUES, key, b"", is_removal=True)
        mirror.note_written(written or 0)

    async def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin so, in order; those that others write may come a moment later."""
        return [entry.key for entry in await self.entries(prefix)]

    async def entries(self, prefix: str) -> list[Entry]:
        """Return all values whose keys begin so, by their keys; what others write may come a moment later."""
        _, mirror = self._opened()
        await mirror.caught_up()
        found = [seen for seen in mirror.all_of(VALUES) if seen.key.startswith(prefix)]
        return [
            Entry(key=seen.key, value=seen.value, revision=seen.revision)
            for seen in sorted(found, key=lambda seen: seen.key)
        ]

    def watch(self, prefix: str, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` soon after values change whose keys begin so, whoever writes them."""
        return self._watches.add(prefix, changed)

    def _opened(self) -> tuple[Bucket, Mirror]:
        if self._bucket is None or self._mirror is None:
            raise NotStored("the broker is closed; start the runtime first", code="DN807")
        return self._bucket, self._mirror

    async def _present(self, part: str, key: str) -> Message | None:
        bucket, _ = self._opened()
        found = await bucket.last(part, key)
        return found if found is not None and self._is_there(part, key, found) else None

    def _is_there(self, part: str, key: str, last: Message) -> bool:
        """Return whether the newest message of a key is a value that has not ended."""
        _, mirror = self._opened()
        return not is_removal(last.headers) and not mirror.ended(part, token(key), last.seq)

    # -- leases ----------------------------------------------------------------------------------------

    async def acquire(self, name: str, holder: str, seconds: float) -> Lease | None:
        """Take a lease; None while another has it.

        Its time counts from the moment at which it is asked for, for its holder; for others, from the one at
        which they see it. The server ends it, too.

        Raises:
            NotStored, BrokerError: the server does not answer; it may be taken, and ends by itself then.
        """
        bucket, mirror = self._opened()
        for _ in range(ATTEMPTS):
            last = await bucket.last(LEASES, name)
            held = None
            if last is not None and self._is_there(LEASES, name, last):
                held = _held(mirror, name, last.data)
                if held.holder != holder:
                    return None
            fence = 0 if held is None or last is None else held.fence or last.seq
            lease = await self._write_lease(name, holder, fence, 0 if last is None else last.seq, seconds)
            if lease is not None:
                return lease
        return None

    async def renew(self, lease: Lease, seconds: float) -> Lease | None:
        """Hold a lease longer; None where it has ended and another has it, or may have had it.

        Raises:
            NotStored, BrokerError: the server does not answer.
        """
        bucket, mirror = self._opened()
        fence, revision = self._leases.get(lease.name, (0, 0))
        if fence != lease.fence:
            revision = 0
        for _ in range(ATTEMPTS):
            if revision:
                renewed = await self._write_lease(lease.name, lease.holder, lease.fence, revision, seconds)
                if renewed is not None:
                    return renewed
            last = await bucket.last(LEASES, lease.name)
            if last is None or is_removal(last.headers):
                return None
            held = _held(mirror, lease.name, last.data)
            if held.holder != lease.holder or (held.fence or last.seq) != lease.fence:
                return None
            revision = last.seq
        return None

    async def give_back(self, lease: Lease) -> None:
        """End a lease now; one that another has is left alone.

        Raises:
            NotStored, BrokerError: the server does not answer; it ends by itself.
        """
        bucket, mirror = self._opened()
        last = await bucket.last(LEASES, lease.name)
        self._leases.pop(lease.name, None)
        if last is None or is_removal(last.headers):
            return
        held = _held(mirror, lease.name, last.data)
        if held.holder == lease.holder and (held.fence or last.seq) == lease.fence:
            await bucket.write(LEASES, lease.name, b"", revision=last.seq, is_removal=True)

    async def _write_lease(
        self, name: str, holder: str, fence: int, revision: int, seconds: float
    ) -> Lease | None:
        bucket, mirror = self._opened()
        until = self.clock.now().timestamp() + seconds
        value = msgspec.msgpack.encode(_Held(holder, fence))
        written = await bucket.write(LEASES, name, value, revision=revision, seconds=seconds)
        if written is None:
            return None
        mirror.note_written(written)
        self._leases[name] = fence or written, written
        return Lease(name=name, holder=holder, fence=fence or written, until=until)


def holder_of(mirror: Mirror, lease: str) -> str | None:
    """Return who has a lease, as far as this runtime sees; None where nobody has it."""
    seen = mirror.get(LEASES, token(lease))
    return None if seen is None else _held(mirror, lease, seen.value).holder
