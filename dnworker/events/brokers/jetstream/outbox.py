"""`Outbox`: what this runtime publishes, until the server has it and it has come back in its order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import nats.errors
from msgspec.structs import replace
from nats.aio.msg import Msg

from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import BrokerError, NotStored, TooLarge
from dnworker.core.ids import new_id
from dnworker.core.task_ends import end_tasks
from dnworker.events.brokers.base import Accepted
from dnworker.events.brokers.jetstream.api import (
    ID_IN_PROCESS,
    WRONG_SEQUENCE,
    Away,
    Refused,
    read_answer,
    why,
)
from dnworker.events.brokers.jetstream.connecting import Connected
from dnworker.events.brokers.jetstream.events import (
    EXPECTED_SEQUENCE,
    EXPECTED_SUBJECT,
    MESSAGE_ID,
    Read,
    bytes_of,
    write_event,
)
from dnworker.events.brokers.jetstream.names import token

log = logging.getLogger("dnworker.broker")

PUBLISH_SECONDS = 30.0
"""Seconds for which an event is tried to be published; the server knows its id for longer."""

ANSWER_SECONDS = 5.0
RETRY_SECONDS = 0.5
"""Seconds after which an event without an answer is sent again, and between looks at that."""

WAITING_BYTES = 64_000_000
"""Bytes of events that wait for the server before further ones are refused."""

UNDER_WAY = 2_000
UNDER_WAY_BYTES = 16_000_000
"""Events and bytes that are sent before the first of them is acknowledged."""

FULL = frozenset({10023, 10047, 10077})
"""Errors of a server without room: waiting for it is of no use."""


@dataclass(slots=True, eq=False)
class Publication:
    """An event that is to be published."""

    envelope: EventEnvelope
    size: int
    subject: str
    data: bytes
    headers: dict[str, str]
    name: str
    """Its name among all publications of all runtimes."""
    future: asyncio.Future[Accepted]
    ends_at: float
    is_idempotent: bool
    sent_at: float = 0.0
    seq: int = 0
    """Its number, once it is acknowledged."""
    is_ended: bool = False
    seen: EventEnvelope | None = None
    """The event, once this runtime has delivered it."""
    problem: str = ""
    """Why it was not accepted at the last attempt."""


class Outbox:
    """Sends events in the order in which they are published, again where no answer comes.

    An event is accepted when the server has acknowledged it, and the reader has brought it.

    Args:
        connected: the server.
        first: returns the event of an id that is there already.
    """

    def __init__(self, connected: Connected, first: Callable[[str], Awaitable[Read | None]]) -> None:
        self._connected = connected
        self._client = connected.client
        self._first = first
        self._run_name = new_id()[:12]
        self._count = 0
        self._waiting: deque[Publication] = deque()
        self._sent: dict[str, Publication] = {}
        self._given_up: dict[str, None] = {}
        self._bytes = 0
        self._sent_bytes = 0
        self._inbox = connected.client.new_inbox()
        self._is_to_resend = False
        self._troubled: set[str] = set()
        """Those sent that are to be sent again: nothing new passes them."""
        self._is_closed = False
        self._work = asyncio.Event()
        self._is_look_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._lookups: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self.refusal: str | None = None
        """Why nothing is accepted for good."""

    async def open(self) -> None:
        """Begin to send."""
        await self._client.subscribe(f"{self._inbox}.*", cb=self._take_answer)
        self._task = asyncio.get_running_loop().create_task(self._run(), name="dnworker events outbox")
        self._tick()

    async def close(self, seconds: float) -> None:
        """Send what waits, for at most so many seconds, and refuse the rest."""
        ends_at = time.monotonic() + seconds
        while self._has_work() and time.monotonic() < ends_at:  # noqa: ASYNC110  answers come on the loop
            await asyncio.sleep(0.005)
        self._stop_ticking()
        if self._task is not None:
            self._work.set()
            await end_tasks(self._task, *self._lookups)
            self._task = None
        self.refuse_all("the broker was closed before the server had acknowledged the event")

    def _has_work(self) -> bool:
        return bool(self._waiting or self._sent) and self.refusal is None

    def abandon(self) -> None:
        """End at once, as where the process is killed."""
        self._stop_ticking()
        for task in (self._task, *self._lookups):
            if task is not None:
                task.cancel()
        self._task = None

    def _stop_ticking(self) -> None:
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()

    # -- from publishers -------------------------------------------------------------------------------

    def publish(
        self,
        envelope: EventEnvelope,
        size: int,
        only: str | None,
        is_held: bool,
        cause: str | None,
        is_idempotent: bool,
    ) -> asyncio.Future[Accepted]:
        """Publish an event; the future raises `NotStored` where it is not accepted."""
        future: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        if (problem := self._why_refused()) is not None:
            future.set_exception(NotStored(problem))
            return future
        self._count += 1
        name = f"{self._run_name}.{self._count}"
        data, headers = write_event(envelope, name, only, is_held, cause)
        names, event_id = self._connected.names, envelope.event_id
        subject = names.event(event_id if is_idempotent else None, only, envelope.session_id, envelope.kind)
        headers[MESSAGE_ID] = token(event_id)
        if is_idempotent:
            headers |= {EXPECTED_SEQUENCE: "0", EXPECTED_SUBJECT: names.of_id(event_id)}
        if (length := len(data) + bytes_of(headers)) > self._connected.largest:
            future.set_exception(
                TooLarge(
                    f"an event of kind {envelope.kind[:80]!r} has {length:,} bytes; "
                    f"{self._connected.settings.address} takes {self._connected.largest:,} (max_payload); "
                    "publish less at once, such as the name of a file",
                    code="DN206",
                )
            )
            return future
        ends_at = time.monotonic() + PUBLISH_SECONDS
        made = Publication(envelope, size, subject, data, headers, name, future, ends_at, is_idempotent)
        self._bytes += size
        self._waiting.append(made)
        self._work.set()
        return future

    def _why_refused(self) -> str | None:
        if self.refusal is not None:
            return self.refusal
        if self._task is None:
            return "the broker is closed; nothing was published; start the runtime first"
        if self._bytes > WAITING_BYTES:
            return (
                f"{self._connected.settings.address} is too slow or away: {self._bytes // 1_000_000:,} MB "
                "wait for it; nothing was published; wait for what you publish, or publish less"
            )
        return None

    def refuse_all(self, problem: str) -> None:
        """Refuse what waits, as where the stream is gone."""
        for one in [*self._sent.values(), *self._waiting]:
            self._fail(one, problem)
        self._waiting.clear()

    # -- to the server ---------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Have a look at the times be due, now and then: a timeout of each wait costs more than a wait."""
        if not self._is_closed:
            self._is_look_due = True
            self._work.set()
            self._timer = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._tick)

    async def _run(self) -> None:
        while not self._is_closed:  # that it was cancelled may have been swallowed below
            try:
                if not self._can_send():
                    self._work.clear()
                    await self._work.wait()
                if self._is_look_due:
                    self._is_look_due = False
                    self._look_at_times()
                await self._send()
            except (nats.errors.Error, OSError) as exc:
                log.debug("events wait for the server: %s", why(exc))
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                log.exception("publishing has failed, and goes on")
                await asyncio.sleep(RETRY_SECONDS)

    def _can_send(self) -> bool:
        return self._client.is_connected and (
            self._is_to_resend
            or (
                bool(self._waiting)
                and not self._troubled
                and len(self._sent) < UNDER_WAY
                and self._sent_bytes < UNDER_WAY_BYTES
            )
        )

    async def _send(self) -> None:
        if self._is_to_resend and self._client.is_connected:
            self._is_to_resend = False
            for one in [*self._sent.values()]:  # in their order, which the server keeps
                if not one.seq and not one.is_ended and self._client.is_connected:
                    await self._send_one(one)
        while self._waiting and self._can_send() and not self._is_to_resend:
            one = self._waiting.popleft()
            if one.is_ended:
                continue
            self._sent[one.name] = one
            self._sent_bytes += one.size
            await self._send_one(one)

    async def _send_one(self, one: Publication) -> None:
        one.sent_at = time.monotonic()
        await self._client.publish(
            one.subject, one.data, reply=f"{self._inbox}.{one.name.rpartition('.')[2]}", headers=one.headers
        )

    def resend(self) -> None:
        """Send again what is not acknowledged, as after the connection was lost."""
        self._is_to_resend = True
        self._is_look_due = True  # what is too late is not sent again: the server may know its id no more
        self._work.set()

    def _look_at_times(self) -> None:
        now = time.monotonic()
        for one in [*self._sent.values(), *self._waiting]:
            if now > one.ends_at and one.seq:
                log.error("event %d is kept, and was not read again for %.0f s", one.seq, PUBLISH_SECONDS)
                one.seen = replace(one.envelope, seq=one.seq)
                self._end_if_done(one)
            elif now > one.ends_at:
                reason = one.problem or self._connected.failure or "no acknowledgement came"
                self._fail(
                    one,
                    f"an event of kind {one.envelope.kind[:80]!r} was not stored within "
                    f"{PUBLISH_SECONDS:.0f} s: {reason}; it may be kept all the same, "
                    "where only the answer was lost",
                )
            elif one.name in self._sent and not one.seq:
                if now > one.sent_at + ANSWER_SECONDS:
                    self._note_trouble(one, "no acknowledgement came")
                self._is_to_resend |= one.name in self._troubled
        while self._waiting and self._waiting[0].is_ended:
            self._waiting.popleft()

    def _note_trouble(self, one: Publication, problem: str) -> None:
        """Have a publication sent again soon, and nothing new before it is acknowledged."""
        if not one.is_ended:
            one.problem = problem
            self._troubled.add(one.name)

    # -- from the server -------------------------------------------------------------------------------

    async def _take_answer(self, message: Msg) -> None:
        one = self._sent.get(f"{self._run_name}.{message.subject.rpartition('.')[2]}")
        if one is None or one.seq:
            return
        try:
            if not message.data:
                raise Away("JetStream does not answer: it is off, starts, or has no leader now")
            answer = read_answer(message.data)
        except Refused as exc:
            self._refused(one, exc)
            return
        except Away as exc:
            self._note_trouble(one, str(exc))
            return
        if one.is_idempotent and answer.get("duplicate"):
            self._look_up(one)
            return
        self._acknowledge(one, int(answer["seq"]))

    def _acknowledge(self, one: Publication, seq: int) -> None:
        one.seq = seq
        if self._troubled:
            self._troubled.discard(one.name)
            self._work.set()
        self._end_if_done(one)

    def _refused(self, one: Publication, exc: Refused) -> None:
        if one.is_idempotent and exc.number in WRONG_SEQUENCE:
            self._look_up(one)
        elif exc.number == ID_IN_PROCESS or (exc.status == 503 and exc.number not in FULL):
            self._note_trouble(one, str(exc))
        else:
            self._fail(
                one,
                f"{self._connected.settings.address} does not keep an event of kind "
                f"{one.envelope.kind[:80]!r}: {exc}; see to the server's disk and limits",
            )

    def _look_up(self, one: Publication) -> None:
        task = asyncio.get_running_loop().create_task(
            self._find_first(one), name="dnworker events first of an id"
        )
        self._lookups.add(task)
        task.add_done_callback(self._lookups.discard)

    async def _find_first(self, one: Publication) -> None:
        """End a publication whose id is there already: it may be its own, of an attempt before."""
        try:
            first = await self._first(one.envelope.event_id)
        except BrokerError as exc:
            self._note_trouble(one, str(exc))
            return
        if first is None:  # it is being written at this moment, or is gone
            self._note_trouble(one, "its id is known, and its event is not there")
        elif first.by == one.name:
            self._acknowledge(one, first.envelope.seq)
        elif not one.is_ended:
            self._end(one)
            if not one.future.done():
                one.future.set_result(Accepted(first.envelope, is_new=False))

    # -- from the reader -------------------------------------------------------------------------------

    def find(self, name: str) -> Publication | None:
        """Return the publication that an event is."""
        if name in self._given_up:
            del self._given_up[name]
            log.warning("an event that was said not to be stored is there after all: its answer was lost")
        return self._sent.get(name)

    def note_seen(self, one: Publication, envelope: EventEnvelope) -> None:
        """Note that a publication was delivered here, under its number."""
        one.seen = envelope
        self._end_if_done(one)

    def _end_if_done(self, one: Publication) -> None:
        if one.seq and one.seen is not None:
            self._end(one)
            if not one.future.done():
                one.future.set_result(Accepted(one.seen, is_new=True))

    def _end(self, one: Publication) -> None:
        if one.is_ended:
            return
        one.is_ended = True
        self._bytes -= one.size
        self._troubled.discard(one.name)
        if self._sent.pop(one.name, None) is not None:
            self._sent_bytes -= one.size
        if self._waiting:
            self._work.set()

    def _fail(self, one: Publication, problem: str) -> None:
        was_sent = one.name in self._sent
        if one.is_ended:
            return
        self._end(one)
        if was_sent:
            self._given_up[one.name] = None
            if len(self._given_up) > UNDER_WAY:
                del self._given_up[next(iter(self._given_up))]
        if not one.future.done():
            one.future.set_exception(NotStored(problem))
