"""`JetStreamBroker`: events, and what workers have handled of them, at a server that several runtimes share.

The stream has one order of all events (`reader.py` brings it, `outbox.py` adds to it). A worker has a cursor
in the bucket (`workers.py`, `marks.py`), beside values and leases (`values.py`). Decision 0046 says why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from dnworker.core.clock import Clock, RealClock
from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import BrokerError, NotStored
from dnworker.core.invocation import published_via, published_with
from dnworker.core.lease_time import lease_clock
from dnworker.core.members import family_of
from dnworker.events.brokers.base import NOW, Accepted, BrokerCapabilities, Outlet
from dnworker.events.brokers.jetstream.backlog import Backlog
from dnworker.events.brokers.jetstream.connecting import Connected, ServerSettings, connect
from dnworker.events.brokers.jetstream.cursors import CursorStore
from dnworker.events.brokers.jetstream.events import Read
from dnworker.events.brokers.jetstream.messages import NatsMessages
from dnworker.events.brokers.jetstream.mirror import LET_GO, VALUES, Mirror
from dnworker.events.brokers.jetstream.outbox import Outbox
from dnworker.events.brokers.jetstream.reader import EventReader
from dnworker.events.brokers.jetstream.reports import JetStreamReports
from dnworker.events.brokers.jetstream.values import Bucket, Values
from dnworker.events.brokers.jetstream.workers import Workers
from dnworker.events.brokers.kept.pages import Page, Stored
from dnworker.events.brokers.messages import Messages, ReportLog
from dnworker.events.brokers.partitions import Partitions

log = logging.getLogger("dnworker.broker")

CLOSE_SECONDS = 5.0
"""Seconds for which a close waits for what was published."""

HOUSE_SECONDS = 3600.0
"""Seconds after which it is written anew who is here, so that the server does not forget them."""


class JetStreamBroker(Values, Workers):
    """Accepts an event once the server has acknowledged it, and gives each worker what it has not handled.

    Args:
        settings: the server, and how to get in.
        start: where a worker begins that is not known: `NOW`, `BEGINNING`, or after a `seq`.
    """

    name = "jetstream"
    capabilities = BrokerCapabilities(
        survives_kill=True, redelivers=True, is_shared=True, numbers_events=True
    )
    journal = None

    def __init__(self, settings: ServerSettings, *, start: int = NOW) -> None:
        super().__init__()
        self.settings = settings
        self.start = start
        """Where a worker begins that is not known."""
        self.outlet: Outlet
        self.clock: Clock = RealClock()
        # The server; there while it is open.
        self.connected: Connected
        self.store: CursorStore
        self.created = ""
        self._bucket: Bucket | None = None
        self._mirror: Mirror | None = None
        self._messages: NatsMessages | None = None
        self._reports: JetStreamReports | None = None
        self._outbox: Outbox | None = None
        self._reader: EventReader | None = None
        self._house: asyncio.TimerHandle | None = None
        self._newest = 0
        self._problem: str | None = None
        """Why it can go on no more."""

    def attach(self, outlet: Outlet, clock: Clock) -> None:
        """Deliver to `outlet`; called before all else."""
        self.outlet, self.clock = outlet, clock

    @property
    def messages(self) -> Messages | None:
        """What runtimes say to each other beside events; None while it is not open."""
        return self._messages

    @property
    def reports(self) -> ReportLog | None:
        """What runtimes report of what runs on them; None while it is not open."""
        return self._reports

    @property
    def partitions(self) -> Partitions | None:
        """How events are divided among the members of workers."""
        return self

    @property
    def delivered_seq(self) -> int:
        """The `seq` of the newest event that this runtime has got."""
        return self._newest if self._reader is None else self._reader.seq

    @property
    def latest_seq(self) -> int:
        """The `seq` of the newest event that this runtime knows."""
        return self.delivered_seq

    @property
    def failure(self) -> str | None:
        """Why it can accept nothing at the moment; None where it can."""
        if self._problem is not None or self._reader is None or self._mirror is None:
            return self._problem
        return self.connected.failure or self._reader.stream.failure or self._mirror.stream.failure

    # -- its life --------------------------------------------------------------------------------------

    async def open(self, run: str) -> None:
        """Connect, also after `close`; `run` is the id of the runtime.

        Raises:
            BrokerError: there is no such server, or it may not be used; names the way out.
        """
        self._problem = None
        self._cursors.clear()
        self._keepers.clear()
        self._shares.clear()
        self._claims.clear()  # of the time before: nobody waits for them any more
        self.connected = connected = await connect(self.settings)
        try:
            self._bucket = Bucket(connected)
            self.store = CursorStore(connected, self._bucket)
            self._backlog = Backlog(connected, self.is_let_go)
            self._mirror = Mirror(connected, lease_clock(self.clock), self._note_change, self._lose)
            self._messages = NatsMessages(connected)
            self._reports = JetStreamReports(connected)
            self._outbox = Outbox(connected, self._backlog.first)
            self._reader = EventReader(connected, self._deliver, self._lose)
            self.created = self._reader.created
            connected.on_back += [
                self._mirror.restart,
                self._reader.stream.restart,
                self._reports.reader.restart,
                self._outbox.resend,
            ]
            await self._mirror.open()
            await self._reports.open()
            self._note_let_go()
            await self._outbox.open()
            self._reader.stream.start()
        except BaseException:
            await self._end()
            raise
        self._keep_house()

    async def close(self) -> None:
        """Write what waits, and end; does nothing where it is not open."""
        if (outbox := self._outbox) is None or self._reader is None:
            return
        try:
            await self._say_farewell()
            await outbox.close(CLOSE_SECONDS if self.connected.failure is None else 0)
        finally:
            # Where that was cut short, too: publishers are told, and nothing runs on.
            outbox.abandon()
            outbox.refuse_all("the broker was closed before the server had acknowledged the event")
            for keeper in self._keepers.values():
                keeper.abandon()
            await self._end()

    async def abandon(self) -> None:
        """End at once and write nothing, as where the process is killed; for tests."""
        self._marks.stop()
        for keeper in self._keepers.values():
            keeper.abandon()
        if self._outbox is not None:
            self._outbox.abandon()
        await self._end(is_abandoned=True)

    async def _end(self, *, is_abandoned: bool = False) -> None:
        if self._house is not None:
            self._house.cancel()
        self._marks.stop()
        self._newest = self.delivered_seq
        reader, self._reader = self._reader, None
        mirror, self._mirror = self._mirror, None
        messages, self._messages = self._messages, None
        reports, self._reports = self._reports, None
        self._outbox = self._bucket = None
        if messages is not None:
            await messages.close(is_abandoned=is_abandoned)
        if reports is not None:
            await reports.close()
        if reader is not None:
            await reader.stream.close()
        if mirror is not None:
            await mirror.close()
        await self.connected.close()

    def _keep_house(self) -> None:
        """Write who is here, now and then."""
        for cursor in self._cursors.values():
            if cursor.consumer is not None:
                self.mark(cursor)
        self._house = asyncio.get_running_loop().call_later(HOUSE_SECONDS, self._keep_house)

    def _lose(self, problem: str) -> None:
        """End everything that goes by numbers of events and by leases: they are another's now."""
        self._problem = self._problem or problem
        if self._outbox is not None:
            self._outbox.refusal = problem
            self._outbox.refuse_all(problem)

    def _note_change(self, part: str, key: str) -> None:
        if part == VALUES:
            self._watches.note(key)
        elif part == LET_GO:
            self._note_let_go()

    # -- events ----------------------------------------------------------------------------------------

    def publish(
        self,
        envelope: EventEnvelope,
        size: int,
        only: str | None = None,
        is_held: bool = False,
        *,
        cause: str | None = None,
        is_idempotent: bool = False,
    ) -> asyncio.Future[Accepted]:
        """Publish an event; the future is done once it is stored and delivered, or raises `NotStored`."""
        if self._outbox is None:
            future: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
            future.set_exception(
                NotStored(
                    "the broker is closed; nothing was published; start the runtime first", code="DN807"
                )
            )
            return future
        accepted = self._outbox.publish(envelope, size, only, is_held, cause, is_idempotent)
        return self._after_claims(accepted) if self._claims else accepted

    def _after_claims(self, accepted: asyncio.Future[Accepted]) -> asyncio.Future[Accepted]:
        """Have a publisher wait until no worker that has started here can miss its event by a kill."""

        async def wait() -> Accepted:
            await self.claimed()
            return await accepted

        return asyncio.get_running_loop().create_task(wait(), name="dnworker events accepted")

    def _deliver(self, read: Read) -> None:
        """Give an event of any runtime to the outlet."""
        envelope, size, only = read.envelope, read.size, read.only
        publication = None if self._outbox is None else self._outbox.find(read.by)
        if publication is not None:
            size = publication.size
        is_held = read.is_held and publication is not None
        token = published_with.set(read.traceparent)  # not published_as(): every event pays for it
        places = published_via.set(read.via)
        try:
            was_held = self.outlet.deliver(envelope, size, only, is_held)
        except Exception:  # it is accepted, and the next ones are to be delivered
            log.exception("an event of kind %s could not be delivered", envelope.kind)
            was_held = None
        finally:
            published_with.reset(token)
            published_via.reset(places)
        if is_held or was_held:
            self._note_held(envelope, only)
        if publication is not None and self._outbox is not None:
            self._outbox.note_seen(publication, envelope)

    def _note_held(self, envelope: EventEnvelope, only: str | None) -> None:
        for worker in [*self._cursors]:
            if only in (None, family_of(worker)) and (consumer := self.consumer(worker)) is not None:
                consumer.note_held(envelope)

    async def page(
        self, kinds: dict[str | None, int], after: int, upto: int, *, most: int, max_bytes: int, worker: str
    ) -> Page:
        """Return the next events of some kinds, each since its own `seq`, after one up to another."""
        return await self._opened_backlog().page(
            kinds, after, upto, most=most, max_bytes=max_bytes, worker=worker
        )

    async def by_seq(self, numbers: Sequence[int]) -> list[Stored]:
        """Return those events of some numbers that are kept and that a worker may get, in that order."""
        return await self._opened_backlog().by_seq(numbers)

    async def replay(
        self, session_id: str | None, after_seq: int, *, limit: int = 1_000
    ) -> list[EventEnvelope]:
        """Return accepted events of a session, or of no session, after a `seq`, marked `replay`.

        Raises:
            BrokerError: the server does not answer.
        """
        return await self._opened_backlog().of_session(session_id, after_seq, limit)

    async def dropped_to(self) -> int:
        """Return the `seq` up to which events may be gone, as too old or too many.

        Raises:
            BrokerError: the server does not answer.
        """
        self._opened_backlog()
        info = await self.connected.api.info(self.connected.names.events)
        return 0 if info is None else max(0, info.first_seq - 1)

    def _opened_backlog(self) -> Backlog:
        if self._reader is None:
            raise BrokerError("the broker is closed; start the runtime first", code="DN807")
        if self._problem is not None:
            raise BrokerError(self._problem)
        return self._backlog
