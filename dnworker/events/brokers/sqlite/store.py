"""`Store`: leases, keys and values in a broker's file; times are seconds since 1970 of the broker's clock."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from dnworker.core.clock import Clock
from dnworker.events.brokers.base import Entry, Lease
from dnworker.events.brokers.sqlite.reading import FileReader
from dnworker.events.brokers.watches import Watches

T = TypeVar("T")


class Store:
    """The part of a broker that has nothing to do with events: what it returns is on disk."""

    clock: Clock
    reader: FileReader

    def __init__(self) -> None:
        super().__init__()
        self._watches = Watches()

    async def do(self, act: Callable[..., T]) -> T:
        """Return what a change of the file returns, once it is on disk."""
        raise NotImplementedError

    async def acquire(self, name: str, holder: str, seconds: float) -> Lease | None:
        """Take a lease; None while another has it."""
        return await self.do(partial(_acquire, name=name, holder=holder, now=self._now(), seconds=seconds))

    async def renew(self, lease: Lease, seconds: float) -> Lease | None:
        """Hold it longer; None where it has ended and another has it."""
        return await self.do(partial(_renew, lease=lease, now=self._now(), seconds=seconds))

    async def settled(self, worker: str, seconds: float) -> bool:
        """Return whether it is kept how far a worker is; waits for that, at most so many seconds."""
        return True

    async def give_back(self, lease: Lease) -> None:
        """End it now; one that another has is left alone."""
        await self.do(partial(_give_back, lease=lease))

    async def get(self, key: str) -> Entry | None:
        """Return a value."""
        return await self.reader.run(partial(_get, key=key, now=self._now()))

    async def put(
        self, key: str, value: bytes, *, revision: int | None = None, seconds: float | None = None
    ) -> Entry | None:
        """Write a value; with a `revision` only over that one, 0 for none. None where it is another."""
        now = self._now()
        until = None if seconds is None else now + seconds
        put = partial(_put, key=key, value=value, now=now, revision=revision, until=until)
        written = await self.do(put)
        if written is not None:
            self._watches.note(key)
        return written

    async def delete(self, key: str) -> None:
        """Remove a value."""
        await self.do(partial(_delete, key=key))
        self._watches.note(key)

    async def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin so, in order."""
        return await self.reader.run(partial(_keys, prefix=prefix, now=self._now()))

    async def entries(self, prefix: str) -> list[Entry]:
        """Return all values whose keys begin so, by their keys."""
        return await self.reader.run(partial(_entries, prefix=prefix, now=self._now()))

    def watch(self, prefix: str, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` soon after values change whose keys begin so; returns the function that ends it."""
        return self._watches.add(prefix, changed)

    def _now(self) -> float:
        return self.clock.now().timestamp()


_LIVE = "(until IS NULL OR until > ?)"


def _get(connection: sqlite3.Connection, key: str, now: float) -> Entry | None:
    """Return a value that has not expired."""
    row = connection.execute(
        f"SELECT value, revision FROM kv WHERE key = ? AND {_LIVE}",  # noqa: S608  our own
        (key, now),
    ).fetchone()
    return None if row is None else Entry(key=key, value=row[0], revision=row[1])


def _put(
    connection: sqlite3.Connection,
    key: str,
    value: bytes,
    now: float,
    revision: int | None,
    until: float | None,
) -> Entry | None:
    """Write a value; None where the present one has another revision."""
    if revision is not None:
        present = _get(connection, key, now)
        if revision != (0 if present is None else present.revision):
            return None
    written = connection.execute(
        "INSERT OR REPLACE INTO kv (key, value, until) VALUES (?, ?, ?)", (key, value, until)
    )
    return Entry(key=key, value=value, revision=written.lastrowid or 0)


def _delete(connection: sqlite3.Connection, key: str) -> None:
    """Remove a value."""
    connection.execute("DELETE FROM kv WHERE key = ?", (key,))


def _keys(connection: sqlite3.Connection, prefix: str, now: float) -> list[str]:
    """Return the keys of values that have not expired, in order."""
    query = f"SELECT key FROM kv WHERE substr(key, 1, ?) = ? AND {_LIVE} ORDER BY key"  # noqa: S608  our own
    return [key for (key,) in connection.execute(query, (len(prefix), prefix, now))]


def _entries(connection: sqlite3.Connection, prefix: str, now: float) -> list[Entry]:
    """Return the values that have not expired, by their keys."""
    query = f"SELECT key, value, revision FROM kv WHERE substr(key, 1, ?) = ? AND {_LIVE} ORDER BY key"  # noqa: S608
    rows = connection.execute(query, (len(prefix), prefix, now))
    return [Entry(key=key, value=value, revision=revision) for key, value, revision in rows]


def expire(connection: sqlite3.Connection, now: float) -> None:
    """Remove the values that have expired."""
    connection.execute("DELETE FROM kv WHERE until <= ?", (now,))


def _acquire(
    connection: sqlite3.Connection, name: str, holder: str, now: float, seconds: float
) -> Lease | None:
    """Take a lease that nobody has; who has it, has it longer."""
    row = connection.execute("SELECT holder, fence, until FROM leases WHERE name = ?", (name,)).fetchone()
    owner, fence, until = row or (None, 0, 0.0)
    is_held = owner is not None and until > now
    if is_held and owner != holder:
        return None
    return _write(connection, name, holder, fence if is_held else fence + 1, now + seconds)


def _renew(connection: sqlite3.Connection, lease: Lease, now: float, seconds: float) -> Lease | None:
    """Hold a lease longer that no other has taken since."""
    if not _is_of(connection, lease):
        return None
    return _write(connection, lease.name, lease.holder, lease.fence, now + seconds)


def _give_back(connection: sqlite3.Connection, lease: Lease) -> None:
    """End a lease that no other has taken since; its number is not given again."""
    if _is_of(connection, lease):
        connection.execute("UPDATE leases SET holder = NULL WHERE name = ?", (lease.name,))


def _is_of(connection: sqlite3.Connection, lease: Lease) -> bool:
    query = "SELECT 1 FROM leases WHERE name = ? AND holder = ? AND fence = ?"
    return connection.execute(query, (lease.name, lease.holder, lease.fence)).fetchone() is not None


def _write(connection: sqlite3.Connection, name: str, holder: str, fence: int, until: float) -> Lease:
    connection.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?)", (name, holder, fence, until))
    return Lease(name=name, holder=holder, fence=fence, until=until)
