"""`StreamReader`: every message of a stream, once and in its order; `pull`: some of them, now.

A consumer that acknowledges nothing is asked for messages in portions. The client's own ordered consumer is
not used: it forgets what a lost connection swallowed until the next message comes, and says nothing of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from dnworker.core.errors import BrokerError
from dnworker.core.ids import new_id
from dnworker.core.task_ends import end_tasks
from dnworker.events.brokers.jetstream.api import Api, Away, nanoseconds, why

log = logging.getLogger("dnworker.broker")

PORTION = 500
PORTION_BYTES = 16_000_000
"""Messages and bytes that are asked for at once; half of them are under way before the next are."""

EXPIRES = 30.0
HEARTBEAT = 2.0
"""Seconds for which a request waits for messages, and between signs of life of one that waits."""

SILENCE = 5.0
"""Seconds without any sign of life after which the consumer counts as gone."""

CONSUMER_SECONDS = 60
"""Seconds after which the server forgets a consumer that nobody asks."""

OF_THE_REQUEST = ("MaxBytes", "Batch Completed")
"""What is in the note that a request has ended, though the consumer goes on; a server writes the second one
after all messages of a request that bounds their bytes."""

RETRY_SECONDS = 0.5
SLICE_SECONDS = 0.002
"""Seconds until the next attempt, and for which messages are handled before the loop does something else."""


class Raw(NamedTuple):
    """A message as it comes from a consumer."""

    subject: str
    seq: int
    place: int
    """Its number among those of its consumer."""
    pending: int
    """How many are behind it."""
    headers: dict[str, str]
    data: bytes


class End(NamedTuple):
    """What the server says about a request instead of a message."""

    status: int
    text: str
    left: int
    """How many messages of the request do not come."""
    place: int | None
    """The number of the newest message of the consumer, where it says that."""


def read(message: Msg) -> Raw | End:
    """Return what came of a consumer."""
    headers = message.headers or {}
    if not message.reply:
        given = {str(getattr(name, "value", name)): value for name, value in headers.items()}
        place = given.get("Nats-Last-Consumer")
        return End(
            int(given.get("Status", 0)),
            given.get("Description", "").strip(),
            int(given.get("Nats-Pending-Messages", 0)),
            None if place is None else int(place),
        )
    parts = message.reply.split(".")
    first = 2 if len(parts) < 11 else 4  # the longer form names the server's domain and account, too
    return Raw(
        message.subject,
        int(parts[first + 3]),
        int(parts[first + 4]),
        int(parts[first + 6]),
        headers,
        message.data,
    )


async def create(api: Api, stream: str, filters: list[str], start: dict[str, Any]) -> tuple[str, int]:
    """Return the name of a new consumer of some subjects, and how many messages it has to give.

    Raises:
        Away, Refused: as of `Api.ask`.
    """
    name = f"dnw{new_id()[:16]}"
    config = {
        "name": name,
        "ack_policy": "none",
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": nanoseconds(CONSUMER_SECONDS),
        "filter_subjects": filters,
        **start,
    }
    body = {"stream_name": stream, "config": config, "action": "create"}
    made = await api.ask(f"CONSUMER.CREATE.{stream}.{name}", body)
    return name, int(made.get("num_pending", 0))


def after(seq: int) -> dict[str, Any]:
    """Return where a consumer begins: with what is behind a `seq`."""
    return {"deliver_policy": "by_start_sequence", "opt_start_seq": seq + 1}


NEWEST_OF_EACH = {"deliver_policy": "last_per_subject"}
"""Where a consumer begins: with the newest message of each subject."""


async def remove(client: Client, stream: str, name: str) -> None:
    """Have the server forget a consumer soon; it does that by itself, later."""
    try:
        await client.publish(f"$JS.API.CONSUMER.DELETE.{stream}.{name}")
    except (nats.errors.Error, OSError) as exc:
        log.debug("consumer %s of %s ends by itself: %s", name, stream, why(exc))


async def end_subscription(subscription: Any) -> None:
    """End a subscription of the client, unless it has ended with the connection."""
    try:
        await subscription.unsubscribe()
    except (nats.errors.Error, OSError) as exc:
        log.debug("a subscription has ended already: %s", why(exc))


async def ask_for(client: Client, stream: str, name: str, inbox: str, request: dict[str, Any]) -> None:
    """Ask a consumer for messages.

    Raises:
        Away: the request cannot be sent.
    """
    try:
        await client.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}", msgspec.json.encode(request), reply=inbox
        )
    except (nats.errors.Error, OSError) as exc:
        raise Away(f"the server cannot be asked ({why(exc)})") from exc


ENVELOPE_BYTES = 65_536
"""Bytes that a message has beside its headers and data: subjects, and what the server adds."""


def room(client: Client, wanted: int) -> int:
    """Return bytes for a request: any message has room in it, or none would ever come."""
    return max(wanted, client.max_payload + ENVELOPE_BYTES)


NOT_HEARD_OF = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds before a new consumer is asked again of which the server that we ask has not heard yet."""


class _NotHeardOf(Away):
    """Nobody answers for a consumer, which was made just now."""


async def pull(
    api: Api, stream: str, filters: list[str], start: dict[str, Any], *, most: int, max_bytes: int
) -> tuple[list[Raw], bool]:
    """Return the next messages of some subjects, and whether the server has no more of them now.

    Raises:
        Away, Refused: they cannot be read now.
    """
    name, waiting = await create(api, stream, filters, start)
    try:
        if not waiting:
            return [], True
        request = {"batch": most, "no_wait": True, "max_bytes": room(api.client, max_bytes)}
        for seconds in NOT_HEARD_OF:
            with suppress(_NotHeardOf):
                return await _pull_from(api, stream, name, request, most)
            await asyncio.sleep(seconds)
        return await _pull_from(api, stream, name, request, most)
    finally:
        await remove(api.client, stream, name)


async def _pull_from(
    api: Api, stream: str, name: str, request: dict[str, Any], most: int
) -> tuple[list[Raw], bool]:
    """Ask a consumer once; see `pull`.

    Raises:
        Away, Refused: they cannot be read now.
    """
    client, inbox, pulled = api.client, api.client.new_inbox(), _Pulled(stream, most)
    subscription = await client.subscribe(inbox, cb=pulled.take)
    api.waiting.add(pulled.done)
    try:
        await ask_for(client, stream, name, inbox, request)
        return await pulled.result()
    finally:
        api.waiting.discard(pulled.done)
        await end_subscription(subscription)


class _Pulled:
    """What comes for one request, until that is all."""

    def __init__(self, stream: str, most: int) -> None:
        self._stream = stream
        self._most = most
        self._found: list[Raw] = []
        self._seen_at = time.monotonic()
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.done.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def take(self, message: Msg) -> None:
        """Take a message, or the note that no more come."""
        self._seen_at = time.monotonic()
        one = read(message)
        if self.done.done() or (isinstance(one, End) and one.status == 100):
            return
        if isinstance(one, End):
            self._end(one)
        elif one.place != len(self._found) + 1:
            self.done.set_exception(Away(f"a message of {self._stream} was lost on its way"))
        else:
            self._found.append(one)
            if len(self._found) == self._most:
                self.done.set_result(one.pending == 0)

    def _end(self, end: End) -> None:
        if end.status == 404:
            self.done.set_result(True)
        elif self._found and end.status == 409 and "MaxBytes" in end.text:
            self.done.set_result(False)
        else:
            said = f"{end.status} {end.text}".strip()
            kind = _NotHeardOf if end.status == 503 and not self._found else Away
            self.done.set_exception(kind(f"{self._stream} cannot be read now ({said})"))

    async def result(self) -> tuple[list[Raw], bool]:
        """Return all that came, and whether the server has no more.

        Raises:
            Away: it does not answer, or what it sent did not arrive.
        """
        while not (await asyncio.wait({self.done}, timeout=SILENCE))[0]:
            if time.monotonic() - self._seen_at > SILENCE:
                raise Away(f"{self._stream} does not answer")
        return self._found, self.done.result()


class StreamReader:
    """Gives every message of some subjects of a stream to a function, in order, until it is closed.

    Args:
        api: what the server is asked by.
        stream: its name.
        filters: the subjects.
        name: what it is called in the log.
        begin: called before each start; returns where it begins. What it raises is tried again.
        take: called with each message.
        caught_up: called when what was there at a start was given.
    """

    def __init__(
        self,
        api: Api,
        stream: str,
        filters: list[str],
        name: str,
        *,
        begin: Callable[[], Awaitable[dict[str, Any]]],
        take: Callable[[Raw], None],
        caught_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._api = api
        self._client = api.client
        self._stream = stream
        self._filters = filters
        self._name = name
        self._begin = begin
        self._take = take
        self._caught_up = caught_up
        self.failure: str | None = None
        """Why it gets nothing now."""
        # The consumer that it has now.
        self._generation = 0
        self._consumer = ""
        self._inbox = ""
        self._subscription: Any = None
        self._place = 0
        self._credit = 0
        self._is_catching_up = False
        self._seen_at = self._opened_at = 0.0
        self._broken = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None
        # Its life.
        self._is_closed = False
        self._task: asyncio.Task[None] | None = None
        self._slice_ends = 0.0

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"dnworker {self._name}")

    def restart(self) -> None:
        """Begin anew where it is, as after the connection was lost."""
        self._broken.set()

    async def close(self) -> None:
        """Give nothing more."""
        self._is_closed = True
        self._broken.set()
        await end_tasks(self._task, self._asking)
        await self._end_consumer()

    async def _run(self) -> None:
        while not self._is_closed:
            try:
                await self._open()
                self.failure = None
                await self._watch()
                if time.monotonic() - self._opened_at < RETRY_SECONDS:
                    await asyncio.sleep(RETRY_SECONDS / 5)  # not as fast as the loop goes
            except BrokerError as exc:
                self._say(str(exc))
                await asyncio.sleep(RETRY_SECONDS)
            except Exception as exc:
                self._say(f"{type(exc).__name__}: {exc}")
                log.exception("%s has failed, and begins again", self._name)
                await asyncio.sleep(RETRY_SECONDS)

    def _say(self, problem: str) -> None:
        if self.failure is None and self._client.is_connected:
            log.warning("%s waits: %s", self._name, problem)
        self.failure = problem

    async def _open(self) -> None:
        await self._end_consumer()
        start = await self._begin()
        self._generation += 1
        self._broken.clear()
        self._place = self._credit = 0
        self._inbox = self._client.new_inbox()
        generation = self._generation
        try:
            self._consumer, waiting = await create(self._api, self._stream, self._filters, start)
            self._subscription = await self._client.subscribe(self._inbox, cb=partial(self._come, generation))
        except (nats.errors.Error, OSError) as exc:
            raise Away(f"the server cannot be asked ({why(exc)})") from exc
        self._seen_at = self._opened_at = time.monotonic()
        self._is_catching_up = waiting > 0
        if not waiting:
            self._caught_up()
        await self._ask()

    async def _end_consumer(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await end_subscription(subscription)
            await remove(self._client, self._stream, self._consumer)

    async def _watch(self) -> None:
        """Return when the consumer is gone."""
        while not self._broken.is_set():
            try:
                await asyncio.wait_for(self._broken.wait(), HEARTBEAT)
            except TimeoutError:
                if time.monotonic() - self._seen_at > SILENCE and not self._is_closed:
                    raise Away(f"nothing is heard of {self._stream}") from None

    async def _ask(self) -> None:
        """Ask for the next portion."""
        self._credit += PORTION
        request = {
            "batch": PORTION,
            "max_bytes": room(self._client, PORTION_BYTES),
            "expires": nanoseconds(EXPIRES),
            "idle_heartbeat": nanoseconds(HEARTBEAT),
        }
        await ask_for(self._client, self._stream, self._consumer, self._inbox, request)

    async def _come(self, generation: int, message: Msg) -> None:
        """Take what comes of the consumer."""
        if generation != self._generation or self._is_closed or self._broken.is_set():
            return
        self._seen_at = time.monotonic()
        one = read(message)
        if isinstance(one, Raw):
            self._take_one(one)
        else:
            self._note_end(one)
        if self._credit <= PORTION // 2 and not self._broken.is_set():
            try:
                await self._ask()
            except Away:
                self._broken.set()
        if time.perf_counter() > self._slice_ends:
            await asyncio.sleep(0)
            self._slice_ends = time.perf_counter() + SLICE_SECONDS

    def _take_one(self, one: Raw) -> None:
        if one.place != self._place + 1:
            log.warning("%s missed messages on their way, and reads them again", self._name)
            self._broken.set()
            return
        self._place = one.place
        self._credit -= 1
        try:
            self._take(one)
        except Exception:  # the next ones are to come
            log.exception("%s: message %d could not be taken", self._name, one.seq)
        if self._is_catching_up and one.pending == 0:
            self._is_catching_up = False
            self._caught_up()

    def _note_end(self, end: End) -> None:
        if end.status == 100:
            if end.place is not None and end.place > self._place:
                log.warning("%s missed messages on their way, and reads them again", self._name)
                self._broken.set()
        elif end.status == 408 or any(text in end.text for text in OF_THE_REQUEST):
            self._credit -= end.left
        else:  # the consumer is gone, or goes to another server
            self._broken.set()
