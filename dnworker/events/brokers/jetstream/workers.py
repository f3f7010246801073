"""`Workers`: the part of the broker that knows how far workers are, here and elsewhere."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from datetime import timedelta

import msgspec
from msgspec.structs import replace

from dnworker.core.clock import Clock
from dnworker.core.errors import BrokerError, Conflict, NotFound, NotStored
from dnworker.core.ids import new_id
from dnworker.core.listeners import Listeners
from dnworker.core.members import Share, family_of
from dnworker.events.brokers.base import BacklogWatcher, CursorInfo, Outlet
from dnworker.events.brokers.jetstream.backlog import Backlog
from dnworker.events.brokers.jetstream.connecting import Connected
from dnworker.events.brokers.jetstream.consumer import SharedConsumer
from dnworker.events.brokers.jetstream.cursors import (
    FORMAT,
    KEPT_SECONDS,
    CursorStore,
    Known,
    StoredCursor,
    decode,
    pack,
)
from dnworker.events.brokers.jetstream.divided import Divided
from dnworker.events.brokers.jetstream.marks import CursorKeeper, Marks, pass_on
from dnworker.events.brokers.jetstream.mirror import CURSORS, LET_GO, WORKERS, Mirror, is_removal
from dnworker.events.brokers.jetstream.names import token
from dnworker.events.brokers.jetstream.pulling import NEWEST_OF_EACH, pull
from dnworker.events.brokers.jetstream.values import Bucket, holder_of
from dnworker.events.brokers.kept.cursors import Cursor, begin_of
from dnworker.events.brokers.kept.pages import Page, Stored
from dnworker.events.brokers.left_events import LeftEvents

log = logging.getLogger("dnworker.broker")

MOST_CURSORS = 10_000
LISTED_BYTES = 256_000_000
"""Cursors, and bytes of them, that are read at once."""

CLAIM_SECONDS = 5.0
"""Seconds for which publishers wait until the server knows of workers that start."""

FAREWELL_SECONDS = 5.0
"""Seconds in which it must be written how far workers are, when the broker is closed."""


class Workers(Divided):
    """Cursors of workers: those that this runtime has, and what is known of the others."""

    clock: Clock
    outlet: Outlet
    start: int
    connected: Connected
    store: CursorStore
    created: str
    _backlog: Backlog
    _bucket: Bucket | None
    _mirror: Mirror | None

    def __init__(self) -> None:
        super().__init__()
        self.left: Listeners[[LeftEvents]] = Listeners()
        self._cursors: dict[str, Cursor] = {}
        self._keepers: dict[str, CursorKeeper] = {}
        self._marks = Marks(self._keeper_of)
        self._claims: set[asyncio.Future[None]] = set()
        self._let_go: set[int] = set()
        self._notes: set[asyncio.Task[None]] = set()
        self._shares: dict[str, Share] = {}
        """Of workers that have members."""

    @property
    def delivered_seq(self) -> int:
        """The `seq` of the newest event that this runtime has got."""
        raise NotImplementedError

    @property
    def latest_seq(self) -> int:
        """The `seq` of the newest event that this runtime knows."""
        raise NotImplementedError

    async def page(
        self, kinds: dict[str | None, int], after: int, upto: int, *, most: int, max_bytes: int, worker: str
    ) -> Page:
        """Return the next events of some kinds, each since its own `seq`, after one up to another."""
        raise NotImplementedError

    async def by_seq(self, numbers: Sequence[int]) -> list[Stored]:
        """Return those events of some numbers that are kept and that a worker may get, in that order."""
        raise NotImplementedError

    async def dropped_to(self) -> int:
        """Return the `seq` up to which events may be gone."""
        raise NotImplementedError

    # -- consumers -------------------------------------------------------------------------------------

    def subscribe(
        self,
        worker: str,
        kinds: Collection[str] | None,
        *,
        start: int | None = None,
        watcher: BacklogWatcher | None = None,
    ) -> SharedConsumer:
        """Return the events of a worker that it has not handled, and those that are published from now on.

        The consumer of another runtime, if there is one, gets nothing more once this one begins.

        Raises:
            Conflict: a consumer of the worker is open here.
        """
        cursor = self._cursors.get(worker)
        if cursor is not None and cursor.consumer is not None:
            raise Conflict(f"{worker} has its events already; close its consumer first", code="DN713")
        since = self._begin_of_member(worker)
        if since is None:
            since = self.seq_of(self.start if start is None else start)
        wanted: dict[str | None, int] = {None: since} if kinds is None else dict.fromkeys(kinds, since)
        if cursor is None:
            cursor = self._add(Cursor(worker, wanted, since, self.clock.now().isoformat()))
        else:
            cursor.listen(wanted, self.latest_seq)
        consumer = SharedConsumer(self, cursor, watcher)
        cursor.consumer = cursor.last = consumer
        self.outlet.remember(consumer)
        self._note_claim(self._keepers[worker].claim())
        return consumer

    def give(self, member: str, share: Share) -> None:
        """Have the next consumer of a member get the events of a share only."""
        if share == self._shares.get(member, Share()):
            return
        self._shares[member] = share
        if (keeper := self._keepers.get(member)) is not None and keeper.cursor.consumer is None:
            self.forget(keeper)  # its cursor is that of another turn

    def _begin_of_member(self, worker: str) -> int | None:
        """Return where kinds begin of a member that has never run; None for any other."""
        share = self._shares.get(worker)
        return None if share is None or self._known(worker) is not None else share.start

    def _note_claim(self, claim: asyncio.Future[None]) -> None:
        self._claims.add(claim)
        claim.add_done_callback(self._claims.discard)

    async def claimed(self) -> None:
        """Return when the workers that have started here are known to the server, or after a few seconds.

        What is accepted after that comes to them, whatever is killed.
        """
        if self._claims:
            await asyncio.wait({*self._claims}, timeout=CLAIM_SECONDS)

    def _add(self, cursor: Cursor) -> Cursor:
        cursor.share = self._shares.get(cursor.worker, cursor.share)
        self._cursors[cursor.worker] = cursor
        self._keepers[cursor.worker] = CursorKeeper(self, cursor)
        return cursor

    def seq_of(self, start: int) -> int:
        """Return the `seq` after which a worker begins.

        Raises:
            Invalid: there is no such event yet.
        """
        return begin_of(start, self.delivered_seq)

    def expect(self, worker: str) -> int:
        """Note that a worker starts that names its kinds later; returns the `seq` since which they begin."""
        cursor, since = self._cursors.get(worker), self.seq_of(self.start)
        if (begin := self._begin_of_member(worker)) is not None:
            since = begin
        if cursor is not None:
            return since if cursor.kinds else cursor.handled_to
        if (known := self._known(worker)) is not None:
            return since if known.kinds else min(known.start, self.delivered_seq)
        self._add(Cursor(worker, {}, since, self.clock.now().isoformat()))
        self._note_claim(self._keepers[worker].claim())
        return since

    def listened(self, worker: str) -> Collection[str]:
        """Return the kinds that a worker has named and still listens to, wherever it is."""
        if (cursor := self._cursors.get(worker)) is not None:
            return [kind for kind in cursor.kinds if kind is not None]
        known = self._known(worker)
        return () if known is None else [kind for kind in known.kinds if kind is not None]

    def knows(self, worker: str) -> bool:
        """Return whether a worker has a cursor, wherever it is."""
        return worker in self._cursors or self._known(worker) is not None

    def consumer(self, worker: str) -> SharedConsumer | None:
        """Return the open consumer of a worker."""
        cursor = self._cursors.get(worker)
        opened = None if cursor is None else cursor.consumer
        return opened if isinstance(opened, SharedConsumer) else None

    def count_ends(self, worker: str, *, is_wanted: bool = True) -> None:
        """Do nothing: the ends of all workers' handlers are counted."""

    # -- what is written of them -----------------------------------------------------------------------

    def _keeper_of(self, cursor: Cursor) -> CursorKeeper | None:
        return self._keepers.get(cursor.worker) if self._cursors.get(cursor.worker) is cursor else None

    def mark(self, cursor: Cursor) -> None:
        """Write a cursor soon; not that of a consumer whose worker another runtime has."""
        if self._keeper_of(cursor) is not None:
            self._marks.mark(cursor)

    def write(self, *cursors: Cursor) -> asyncio.Future[None]:
        """Write cursors now; returns when they are written, or fails where they never will be."""
        keepers = [keeper for cursor in cursors if (keeper := self._keeper_of(cursor)) is not None]
        if len(keepers) == 1:
            return keepers[0].write()
        every = asyncio.gather(*(keeper.write() for keeper in keepers))
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        every.add_done_callback(lambda done: pass_on(done, future))
        return future

    async def note_kinds(self, cursor: Cursor) -> None:
        """Let all runtimes know which kinds a worker listens to.

        Raises:
            NotStored: the server does not answer.
        """
        value = msgspec.msgpack.encode(Known([*cursor.kinds], 0 if cursor.kinds else cursor.handled_to))
        seen = None if self._mirror is None else self._mirror.get(WORKERS, token(cursor.worker))
        if self._bucket is not None and (seen is None or seen.value != value):
            await self._bucket.write(WORKERS, cursor.worker, value, seconds=KEPT_SECONDS)

    def _note(self, part: str, key: str, value: bytes, seconds: float) -> None:
        async def write(bucket: Bucket) -> None:
            try:
                await bucket.write(part, key, value, seconds=seconds)
            except NotStored as exc:
                log.warning("other nodes do not hear of %s: %s", key, exc)

        if self._bucket is not None:
            task = asyncio.get_running_loop().create_task(write(self._bucket), name="dnworker broker note")
            self._notes.add(task)
            task.add_done_callback(self._notes.discard)

    def _known(self, worker: str) -> Known | None:
        seen = None if self._mirror is None else self._mirror.get(WORKERS, token(worker))
        return None if seen is None else msgspec.msgpack.decode(seen.value, type=Known)

    def forget(self, keeper: CursorKeeper) -> None:
        """Have the cursor of a worker no more: another runtime has it."""
        worker = keeper.cursor.worker
        if self._keepers.get(worker) is keeper:
            del self._keepers[worker], self._cursors[worker]
            keeper.cursor.last = None

    async def settled(self, worker: str, seconds: float) -> bool:
        """Return whether it is kept how far a worker is; waits for that, at most so many seconds."""
        self._marks.flush()
        keeper = self._keepers.get(worker)
        return keeper is None or await keeper.settled(seconds)

    async def _say_farewell(self) -> None:
        """Close the consumers of this runtime, and write how far they are."""
        for cursor in [*self._cursors.values()]:
            if cursor.consumer is not None:
                cursor.consumer.close()
        self._marks.flush()
        keepers = [*self._keepers.values()]
        settled = await asyncio.gather(*(keeper.settled(FAREWELL_SECONDS) for keeper in keepers))
        if late := [
            keeper.cursor.worker for keeper, is_done in zip(keepers, settled, strict=True) if not is_done
        ]:
            log.error("it could not be written how far %s are: they get some events again", ", ".join(late))
        for keeper in keepers:
            keeper.abandon()
        if self._notes:
            await asyncio.wait(self._notes, timeout=1)

    # -- events that were held back --------------------------------------------------------------------

    def let_go(self, held: Collection[int]) -> None:
        """Give no worker these events, by `seq`, on any runtime; the log says where that fails."""
        if not held:
            return
        self._let_go.update(held)
        for cursor in self._cursors.values():
            if isinstance(cursor.consumer, SharedConsumer):
                cursor.consumer.let_go(held)
            else:
                for seq in held:
                    cursor.outstanding.pop(seq, None)
        self._note(LET_GO, new_id(), msgspec.msgpack.encode(sorted(held)), self._age + 24 * 3600)
        self.write(*self._cursors.values())

    @property
    def _age(self) -> float:
        age: timedelta = self.connected.settings.max_age
        return age.total_seconds()

    def is_let_go(self, seq: int) -> bool:
        """Return whether no worker is to get an event."""
        return seq in self._let_go

    def _note_let_go(self) -> None:
        """Note what other runtimes have let go."""
        if self._mirror is not None:
            for seen in self._mirror.all_of(LET_GO):
                try:
                    self._let_go.update(msgspec.msgpack.decode(seen.value, type=list[int]))
                except msgspec.MsgspecError as exc:  # a stranger's
                    log.error("what was let go by %s cannot be read, and is left out: %s", seen.key, exc)

    # -- all that are known ----------------------------------------------------------------------------

    async def cursors(self) -> list[CursorInfo]:
        """Return how far each worker is, also of those that are gone.

        Raises:
            BrokerError: the server does not answer.
        """
        found = []
        for worker, stored in sorted((await self._all_stored()).items()):
            cursor, current = self._cursors.get(worker), self.as_divided(stored)
            if current is None:
                continue  # a member that its worker has no more
            stored = current
            if cursor is not None and cursor.consumer is not None:
                cursor.consumer.note_position()
            else:
                cursor = Cursor(worker, {}, 0, "")
                stored.put_into(cursor)
            waiting = await self._backlog.count(cursor, self._let_go)
            waiting = await self.count_own(cursor, waiting, self.delivered_seq)
            is_elsewhere = cursor.consumer is None and self._holder(worker) is not None
            info = cursor.info()
            found.append(replace(info, pending=info.pending + waiting, is_here=info.is_here or is_elsewhere))
        return found

    async def _all_stored(self) -> dict[str, StoredCursor]:
        await asyncio.gather(*(keeper.settled(FAREWELL_SECONDS) for keeper in self._keepers.values()))
        names = self.connected.names
        subjects = [f"{names.bucket}.{CURSORS}.>"]
        raws, is_end = await pull(
            self.connected.api,
            names.store,
            subjects,
            NEWEST_OF_EACH,
            most=MOST_CURSORS,
            max_bytes=LISTED_BYTES,
        )
        if not is_end:
            log.warning("more than %d workers are known; the others are not listed", len(raws))
        found: dict[str, StoredCursor] = {}
        for raw in raws:
            if is_removal(raw.headers):
                continue
            stored = decode(raw.data, raw.subject)
            if stored.parts:
                whole, _ = await self.store.read(stored.worker)
                stored = whole or stored
            found[stored.worker] = stored
        return found

    def _holder(self, worker: str) -> str | None:
        return None if self._mirror is None else holder_of(self._mirror, f"hold.{worker}")

    async def reset(self, worker: str, start: int) -> None:
        """Let a worker that is nowhere begin at `start`.

        Raises:
            NotFound, Conflict: the broker does not know it; a consumer of it is open, here or elsewhere.
            Invalid: there is no such event yet.
            NotStored: it cannot be written.
        """
        stored, revision = await self._gone(worker)
        cursor = Cursor(worker, {}, 0, stored.seen_at)
        stored.put_into(cursor)
        cursor.reset(self.seq_of(start))
        anew = StoredCursor(
            FORMAT,
            worker,
            self.created,
            new_id(),
            stored.node,
            False,
            [*cursor.kinds.items()],
            cursor.handled_to,
            cursor.taken_to,
            False,
            stored.seen_at,
            outstanding=pack(cursor.outstanding),
            turn=stored.turn,
        )  # without former kinds
        if await self.store.write(anew, revision) is None:
            raise Conflict(f"{worker} was started meanwhile; stop it first", code="DN713")

    async def drop(self, worker: str) -> None:
        """Forget a worker that is nowhere.

        Raises:
            NotFound, Conflict, NotStored: as of `reset`.
        """
        stored, revision = await self._gone(worker)
        if stored.turn:
            raise Conflict(
                f"{worker} is a member of {family_of(worker)}, and would begin anew where that was divided; "
                f"start it once with --replicas {family_of(worker)}=1 first",
                code="DN810",
            )
        if not await self.store.remove(worker, revision):
            raise Conflict(f"{worker} was started meanwhile; stop it first", code="DN713")
        if self._bucket is not None:
            await self._bucket.write(WORKERS, worker, b"", is_removal=True)

    async def _gone(self, worker: str) -> tuple[StoredCursor, int]:
        """Return the cursor of a worker that runs nowhere; this runtime forgets what it knew of it."""
        if self.consumer(worker) is not None:
            raise Conflict(f"{worker} is running; stop it first", code="DN713")
        try:
            if self._mirror is not None:
                await self._mirror.caught_up()
        except BrokerError as exc:
            raise NotStored(str(exc)) from exc
        if (holder := self._holder(worker)) is not None:
            raise Conflict(f"{worker} is running, held by {holder}; stop it first", code="DN713")
        keeper = self._keepers.get(worker)
        if not await self.settled(worker, FAREWELL_SECONDS):
            raise NotStored(
                f"how far {worker} is is not written yet: {self.connected.failure or 'try again'}"
            )
        try:
            stored, revision = await self.store.read(worker)
        except BrokerError as exc:
            raise NotStored(str(exc)) from exc
        if stored is None:
            known = ", ".join(sorted(await self._all_stored())) or "none"
            raise NotFound(f"no worker {worker} is known; those that are: {known}", code="DN301")
        if keeper is not None:
            self.forget(keeper)
        return self.as_divided(stored) or stored, revision
