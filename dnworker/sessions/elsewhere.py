"""`Elsewhere`: what this runtime knows of sessions that other nodes run; used by `shared.py`."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from dnworker.core.errors import NotFound
from dnworker.core.task_ends import end_tasks
from dnworker.events.brokers.base import Entry
from dnworker.sessions import restoring
from dnworker.sessions.kept import DELETED, SESSIONS, KeptSession
from dnworker.sessions.session import Message, Session

if TYPE_CHECKING:
    from dnworker.events.brokers.base import Broker
    from dnworker.events.bus import EventBus
    from dnworker.sessions.store import SessionStore

log = logging.getLogger("dnworker.sessions")

TRY_AGAIN = 1.0
"""Seconds after which the sessions are read again where they could not be."""

PAUSE, SHARE, LONGEST_PAUSE = 0.05, 20, 5.0
"""Seconds between two looks at all sessions, however often they change, or so many times what a look took,
but no more seconds than the last: a server may be slow once."""


class Elsewhere:
    """Keeps the store's facts of sessions that others run as these write them; deleted ones are deleted here.

    Args:
        bus: whose broker has them.
        store: gets them.
        is_ours: returns whether a session is this runtime's, or is being taken over.
    """

    def __init__(self, bus: EventBus, store: SessionStore, is_ours: Callable[[str], bool]) -> None:
        self._bus = bus
        self._store = store
        self._is_ours = is_ours
        self._revisions: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_stale = False
        self._ends: list[Callable[[], None]] = []

    @property
    def _broker(self) -> Broker:
        return self._bus.broker

    async def open(self) -> None:
        """Read all sessions, and follow them from now on."""
        self._revisions.clear()
        self._ends = [self._broker.watch(prefix, self.look_again) for prefix in (SESSIONS, DELETED)]
        await self.refresh()

    async def close(self) -> None:
        """Follow them no longer."""
        while self._ends:
            self._ends.pop()()
        task, self._task = self._task, None
        if task is not None:
            await end_tasks(task)

    def look_again(self) -> None:
        """Read what changed, soon."""
        self._is_stale = True
        if self._task is None and self._ends:
            context = contextvars.Context()
            self._task = asyncio.create_task(self._follow(), name="sessions of other nodes", context=context)

    async def _follow(self) -> None:
        try:
            while self._is_stale:
                self._is_stale = False
                began = time.monotonic()
                try:
                    await self.refresh()
                    pause = min(max(PAUSE, SHARE * (time.monotonic() - began)), LONGEST_PAUSE)
                except OSError as exc:  # the broker is away; it is tried again
                    log.info("the sessions of other nodes are not known now: %s", exc)
                    self._is_stale, pause = True, TRY_AGAIN
                await asyncio.sleep(pause)
        except Exception:
            log.exception("the sessions of other nodes cannot be read")
        finally:
            self._task = None

    async def refresh(self) -> None:
        """Read the facts of all sessions that changed.

        Raises:
            NotStored, BrokerError: the broker is away; what was known stays.
        """
        entries = {one.key.removeprefix(SESSIONS): one for one in await self._broker.entries(SESSIONS)}
        deleted = {one.key.removeprefix(DELETED): one for one in await self._broker.entries(DELETED)}
        for session_id, entry in entries.items():
            if not self._is_ours(session_id):
                self._note(session_id, entry, deleted.get(session_id))
        await self._forget_missing(entries)
        for session_id in deleted.keys() - entries.keys():
            if not self._is_ours(session_id) and not self._bus.is_deleted(session_id):
                self._forget(session_id)
                self._bus.delete_session(session_id)

    async def _forget_missing(self, listed: Collection[str]) -> None:
        """Forget sessions that are gone: those that a list lacks, which may lag, are looked for by key."""
        for session in [
            one for one in self._store.list() if not one.is_here and one.session_id not in listed
        ]:
            session_id = session.session_id
            if await self._broker.get(SESSIONS + session_id) is None and not self._is_ours(session_id):
                self._forget(session_id)

    def _note(self, session_id: str, entry: Entry, mark: Entry | None) -> None:
        """Take the record of one session; an older one than is known is none."""
        if entry.revision <= self._revisions.get(session_id, 0) and session_id in self._store:
            return
        record = restoring.decoded(entry, KeptSession)
        if record is None:
            self._revisions[session_id] = entry.revision
            return
        if mark is not None and record.since_seq <= (restoring.decoded(mark, int) or 0):
            return  # being deleted
        self._revisions[session_id] = entry.revision
        self._store.note_elsewhere(record.facts())

    def _forget(self, session_id: str) -> None:
        self._revisions.pop(session_id, None)
        self._store.let_go(session_id)

    async def find(self, session_id: str) -> Session:
        """Return a session that another node has, as it is written now; as it was, where the broker is away.

        Raises:
            NotFound: there is none.
        """
        try:
            entry = await self._broker.get(SESSIONS + session_id)
            mark = None if entry is None else await self._broker.get(DELETED + session_id)
        except OSError:  # NotStored and BrokerError are
            if session_id not in self._store:
                raise
            return self._store.get(session_id)
        if self._is_ours(session_id) and session_id in self._store:
            return self._store.get(session_id)
        if entry is None:
            self._forget(session_id)
            raise NotFound(f"no live session {session_id!r}; create it first", code="DN601")
        self._note(session_id, entry, mark)
        return self._store.get(session_id)

    async def messages(self, session_id: str) -> list[Message]:
        """Return the messages of a session that another node has.

        Raises:
            NotFound, Unavailable: there is no such session; they cannot be read now.
        """
        return await restoring.messages_of(self._broker, session_id)
