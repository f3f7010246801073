"""`CursorKeeper`: one worker's cursor on this runtime; claims it, writes it, and notices who took it over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NoReturn, Protocol

from dnworker.core.clock import Clock
from dnworker.core.errors import BrokerError, NotStored
from dnworker.core.ids import new_id
from dnworker.events.brokers.jetstream.api import Away
from dnworker.events.brokers.jetstream.connecting import Connected
from dnworker.events.brokers.jetstream.consumer import SharedConsumer
from dnworker.events.brokers.jetstream.cursors import FORMAT, CursorStore, StoredCursor, pack
from dnworker.events.brokers.kept.cursors import Cursor

log = logging.getLogger("dnworker.broker")

RETRY_SECONDS = 0.5
"""Seconds until a cursor is written again that could not be."""

AWAY_SECONDS = 1.0
"""Seconds for which it is waited for that where the server is known to be away: a stop is to be short."""


class Around(Protocol):
    """What a keeper needs of its broker."""

    clock: Clock
    store: CursorStore
    connected: Connected
    created: str
    """When the stream was made that is read."""

    async def note_kinds(self, cursor: Cursor) -> None:
        """Let all runtimes know which kinds a worker listens to."""

    async def begin_of(self, cursor: Cursor, stored: StoredCursor | None) -> StoredCursor | None:
        """Return from where a cursor goes on: what was written, or where the worker was divided anew.

        Raises:
            NotStored: it was divided anew since this runtime was told how.
        """

    def forget(self, keeper: CursorKeeper) -> None:
        """Have the cursor of a worker no more: another runtime has it."""


class CursorKeeper:
    """Writes a cursor over the revision that it knows, one write at a time.

    Args:
        around: the broker.
        cursor: the cursor; what another runtime has written of it is put into it when it is claimed.
    """

    def __init__(self, around: Around, cursor: Cursor) -> None:
        self.cursor = cursor
        self.is_lost = False
        """Whether another runtime has it."""
        self._around = around
        self._claim = new_id()
        self._revision = 0
        self._is_known = False
        """Whether nobody has written it since this runtime did, as far as this knows."""
        self._is_claimed = False
        self._waiting: list[asyncio.Future[None]] = []
        self._writing: list[asyncio.Future[None]] = []
        """Those that wait for the write that is under way."""
        self._task: asyncio.Task[None] | None = None

    def claim(self) -> asyncio.Future[None]:
        """Have the cursor be this runtime's from now on: for a consumer that is new, or to be known."""
        self._is_claimed = False
        return self.write()

    def write(self) -> asyncio.Future[None]:
        """Write the cursor; returns when that is done, or fails with `NotStored` if it never will be."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        if self.is_lost:
            future.set_exception(NotStored(self._why_lost("another node"), code="DN816"))
            return future
        self._waiting.append(future)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(
                self._run(), name=f"dnworker cursor of {self.cursor.worker}"
            )
        return future

    async def settled(self, seconds: float) -> bool:
        """Return whether everything is written, after so many seconds at most."""
        if self._task is None:
            return True
        if self._around.connected.failure is not None:
            seconds = min(seconds, AWAY_SECONDS)
        done, _ = await asyncio.wait({self._task}, timeout=seconds)
        return bool(done) and not self._waiting and not self._writing

    def abandon(self) -> None:
        """Write nothing more; what waits for it fails."""
        if self._task is not None:
            self._task.cancel()
        self._end(
            NotStored(f"the broker is closed; how far {self.cursor.worker} is was not written", code="DN807")
        )

    # -- the one write at a time -----------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            said = False
            while self._waiting:
                self._writing, self._waiting = self._waiting, []
                try:
                    await (self._write() if self._is_claimed else self._take())
                except (BrokerError, NotStored) as exc:
                    if self.is_lost:
                        self._end(NotStored(str(exc)))
                        return
                    said = self._say(exc, said)
                else:
                    said = False
                    for future in self._writing:
                        if not future.done():
                            future.set_result(None)
                    self._writing = []
                    continue
                self._waiting, self._writing = self._writing + self._waiting, []
                await asyncio.sleep(RETRY_SECONDS)
        except Exception:
            log.exception("how far %s is cannot be written", self.cursor.worker)
            self._end(NotStored(f"how far {self.cursor.worker} is cannot be written"))
        finally:
            self._task = None

    def _say(self, exc: Exception, said: bool) -> bool:
        if not said and self._around.connected.failure is None:
            log.warning("how far %s is is not written yet: %s", self.cursor.worker, exc)
        return True

    def _end(self, exc: NotStored) -> None:
        waiting = self._writing + self._waiting
        self._writing, self._waiting = [], []
        consumer = self.cursor.consumer
        for future in [*waiting, *([consumer.claimed] if isinstance(consumer, SharedConsumer) else [])]:
            if not future.done():
                future.set_exception(exc)

    # -- to claim it -----------------------------------------------------------------------------------

    async def _take(self) -> None:
        """Claim the cursor; nothing is given to the worker before."""
        while True:
            if not self._is_known:
                self._revision = await self._adopt()
            consumer = self.cursor.consumer
            if isinstance(consumer, SharedConsumer) and not consumer.claimed.done():
                consumer.begin()
            await self._around.note_kinds(self.cursor)
            written = await self._around.store.write(self._document(), self._revision)
            if written is not None:
                break
            self._is_known = False  # somebody was faster; who claims last has it
        self._revision, self._is_known, self._is_claimed = written, True, True
        if self.cursor.consumer is not consumer:
            self._is_claimed = False  # for another consumer, which came meanwhile
            self.write()
        elif isinstance(consumer, SharedConsumer) and not consumer.claimed.done():
            consumer.claimed.set_result(None)

    async def _adopt(self) -> int:
        """Have the cursor be what was written last, with the kinds of now; return its revision."""
        stored, revision = await self._around.store.read(self.cursor.worker)
        info = await self._around.connected.api.info(self._around.connected.names.events)
        if info is None or info.created != self._around.created:
            raise Away("the stream of events is not the one that it was")
        try:
            stored = await self._around.begin_of(self.cursor, stored)
        except NotStored as exc:
            self._stop(str(exc))
        if stored is None:
            return revision
        wanted = self.cursor.kinds
        stored.put_into(self.cursor)
        self._check_against(stored, info.last_seq)
        if self.cursor.is_live and stored.claim != self._claim:
            # All that was accepted by now may have been given, by a runtime that did not say farewell.
            self.cursor.taken_to = max(self.cursor.taken_to, info.last_seq)
            self.cursor.is_live = False
        if wanted or self.cursor.consumer is not None:  # else it names its kinds later
            self.cursor.listen(wanted, info.last_seq)
        return revision

    def _check_against(self, stored: StoredCursor, last_seq: int) -> None:
        """See that the cursor is of the events that are there."""
        cursor = self.cursor
        if stored.stream != self._around.created:
            log.error(
                "%s was at event %d of a stream that is gone; it begins with the first of the new one",
                cursor.worker,
                cursor.handled_to,
            )
            cursor.reset(0)
            cursor.is_live = False
        elif cursor.handled_to > last_seq:
            log.error(
                "%s had handled events up to %d, and the server has none behind %d: it has lost its newest; "
                "the worker goes on there",
                cursor.worker,
                cursor.handled_to,
                last_seq,
            )
            cursor.reset(last_seq)
            cursor.is_live = False

    # -- to write it -----------------------------------------------------------------------------------

    async def _write(self) -> None:
        written = await self._around.store.write(self._document(), self._revision)
        if written is not None:
            self._revision = written
            await self._around.note_kinds(self.cursor)
            return
        stored, revision = await self._around.store.read(self.cursor.worker)
        if stored is not None and stored.claim == self._claim:
            self._revision = revision  # the answer to a write of our own was lost
            raise Away("its revision was another")
        self._lose("nobody" if stored is None else stored.node)

    def _lose(self, node: str) -> NoReturn:
        """Stop: what this runtime knows of the worker is not what counts any more."""
        self._stop(self._why_lost(node))

    def _stop(self, problem: str) -> NoReturn:
        self.is_lost = True
        log.error("%s", problem)
        self._around.forget(self)
        if self.cursor.consumer is not None:
            self.cursor.consumer.close()
        raise NotStored(problem, code="DN816")

    def _why_lost(self, node: str) -> str:
        worker = self.cursor.worker
        if node == "nobody":
            return f"how far {worker} is was removed; this node gives it no more events: restart it"
        return (
            f"{worker} was taken over by {node}; this node gives it no more events, and notes nothing of it"
        )

    def _document(self) -> StoredCursor:
        cursor = self.cursor
        if cursor.consumer is not None:
            cursor.consumer.note_position()
            cursor.seen_at = self._around.clock.now().isoformat()
        return StoredCursor(
            FORMAT,
            cursor.worker,
            self._around.created,
            self._claim,
            self._around.connected.settings.node,
            cursor.consumer is not None,
            [*cursor.kinds.items()],
            cursor.handled_to,
            cursor.taken_to,
            cursor.is_live,
            cursor.seen_at,
            outstanding=pack(cursor.outstanding),
            turn=cursor.share.turn,
            former=cursor.former or None,
        )


class Marks:
    """Writes cursors soon after they change: several changes are one write.

    Args:
        keeper_of: returns the keeper of a cursor; None where this runtime has it no more.
    """

    def __init__(self, keeper_of: Callable[[Cursor], CursorKeeper | None]) -> None:
        self._keeper_of = keeper_of
        self._marked: dict[str, Cursor] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._in_flight = self._count = 0

    def mark(self, cursor: Cursor) -> None:
        """Write a cursor soon."""
        self._marked[cursor.worker] = cursor
        if self._timer is None:
            delay = MARK_SECONDS * (1 + self._in_flight / MARKED_EVENTS)
            delay = max(delay, min(self._count / WRITES_A_SECOND, LONGEST_SECONDS))
            self._timer = asyncio.get_running_loop().call_later(delay, self.flush)

    def flush(self) -> None:
        """Begin to write what is marked."""
        self.stop()
        marked, self._marked = self._marked, {}
        for cursor in marked.values():
            if (keeper := self._keeper_of(cursor)) is not None:
                keeper.write()
        self._in_flight = sum(len(cursor.outstanding) for cursor in marked.values())
        self._count = len(marked)

    def stop(self) -> None:
        """Write nothing that is marked, until something is marked again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


MARK_SECONDS = 0.05
MARKED_EVENTS = 1_000
"""Seconds after which it is written what workers have handled, and events in flight that make it that much
later again: each takes the loop's time."""

WRITES_A_SECOND, LONGEST_SECONDS = 500, 1.0
"""Cursors that are written in a second where many workers are busy, and seconds that they wait for that at
most: each is a request to the server, and costs more than an event."""


def pass_on(done: asyncio.Future[list[None]], future: asyncio.Future[None]) -> None:
    """Resolve a future as another has ended, which is many in one."""
    problem = None if done.cancelled() else done.exception()
    if future.done():
        return
    if problem is not None:
        future.set_exception(problem)
        future.exception()  # most of them nobody waits for
    else:
        future.set_result(None)
