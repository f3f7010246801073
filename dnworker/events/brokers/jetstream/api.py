"""`Api`: what is asked of JetStream by request and answer, and what its refusals mean."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import nats.errors
from nats.aio.client import Client

from dnworker.core.errors import BrokerError

ANSWER_SECONDS = 5.0
"""Seconds after which a request that has no answer is given up."""

ASK_AGAIN = 0.1
"""Seconds after which what nobody took is sent again."""

INTERFACE = "$JS.API."
"""How the subjects of JetStream's own interface begin; the others are those of streams."""

NO_STREAM = 10059
NO_MESSAGE = 10037
NAME_IN_USE = 10058
ID_IN_PROCESS = 10158
WRONG_SEQUENCE = frozenset({10071, 10164})
"""Numbers of JetStream's errors that mean something here."""


class Away(BrokerError):
    """The server does not answer; what was asked of it may have been done, or not."""


class Refused(BrokerError):
    """The server refuses; `number` is that of its error, `status` that of its kind, as in HTTP."""

    def __init__(self, text: str, status: int = 0, number: int = 0) -> None:
        self.status = status
        self.number = number
        super().__init__(text)


class Message(NamedTuple):
    """A message of a stream."""

    subject: str
    seq: int
    headers: dict[str, str]
    data: bytes


class StreamInfo(NamedTuple):
    """What a stream is now, as its leader says."""

    created: str
    """When it was made, which no other stream of its name has."""
    first_seq: int
    last_seq: int
    replicas: int
    config: dict[str, Any]


class Api:
    """Asks JetStream on one connection.

    Args:
        client: the connection.
        seconds: after which an answer is late.
    """

    def __init__(self, client: Client, seconds: float = ANSWER_SECONDS) -> None:
        self.client = client
        self._seconds = seconds
        self.waiting: set[asyncio.Future[Any]] = set()
        """What waits for an answer on this connection."""

    def note_lost(self) -> None:
        """Have nobody wait for answers that a lost connection has swallowed."""
        for future in [*self.waiting]:
            if not future.done():
                future.set_exception(Away("the connection was lost"))

    async def request(
        self, subject: str, data: bytes = b"", headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Return an answer; what no stream takes, as before it has a leader, is sent again for as long.

        Raises:
            Away: there is none.
            Refused: the server says no.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self._seconds
        while True:
            try:
                return read_answer(await self._send(subject, data, headers, max(0.1, end - loop.time())))
            except nats.errors.NoRespondersError as exc:
                if subject.startswith(INTERFACE) or loop.time() + ASK_AGAIN >= end:
                    raise Away("JetStream does not answer: it is off, starts, or has no leader now") from exc
            await asyncio.sleep(ASK_AGAIN)

    async def _send(self, subject: str, data: bytes, headers: dict[str, str] | None, seconds: float) -> bytes:
        """Send a request once, and return what answers it.

        Raises:
            Away: nothing does in time.
            NoRespondersError: nobody took it: nothing was done.
        """
        if not self.client.is_connected:
            raise Away("the server is away")
        asking = asyncio.get_running_loop().create_task(
            self.client.request(subject, data, timeout=seconds, headers=headers), name="dnworker asks"
        )
        lost: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting.add(lost)
        try:
            await asyncio.wait({asking, lost}, return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                lost.result()
            return asking.result().data
        except nats.errors.NoRespondersError:
            raise
        except (nats.errors.Error, OSError, TimeoutError) as exc:
            raise Away(f"the server does not answer ({why(exc)})") from exc
        finally:
            self.waiting.discard(lost)
            asking.cancel()
            asking.add_done_callback(_is_of_no_use)  # the client may swallow that, and fail later

    async def ask(self, what: str, body: object = None) -> dict[str, Any]:
        """Return the answer to a request of JetStream's interface; raises as `request` does."""
        return await self.request(f"{INTERFACE}{what}", b"" if body is None else msgspec.json.encode(body))

    async def info(self, stream: str) -> StreamInfo | None:
        """Return what a stream is now; None where there is none."""
        try:
            found = await self.ask(f"STREAM.INFO.{stream}")
        except Refused as exc:
            if exc.number == NO_STREAM:
                return None
            raise
        return stream_info(found)

    async def message(self, stream: str, **which: object) -> Message | None:
        """Return a message, from the stream's leader; None where there is none.

        Args:
            which: `seq`, `last_by_subj`, or `seq` and `next_by_subj`.
        """
        try:
            found = (await self.ask(f"STREAM.MSG.GET.{stream}", which))["message"]
        except Refused as exc:
            if exc.number == NO_MESSAGE:
                return None
            raise
        headers = read_headers(base64.b64decode(found.get("hdrs", "")))
        return Message(found["subject"], found["seq"], headers, base64.b64decode(found.get("data", "")))


def _is_of_no_use(asking: asyncio.Task[Any]) -> None:
    """Take note of how a request has ended that nobody waits for."""
    if not asking.cancelled():
        asking.exception()


def stream_info(found: dict[str, Any]) -> StreamInfo:
    """Return what an answer says of a stream."""
    state, config = found["state"], found["config"]
    return StreamInfo(
        found["created"], state["first_seq"], state["last_seq"], config.get("num_replicas", 1), config
    )


def read_answer(data: bytes) -> dict[str, Any]:
    """Return what an answer says.

    Raises:
        Refused: it says no.
        Away: it is no answer of JetStream's.
    """
    try:
        answer = msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.DecodeError as exc:
        raise Away(f"what the server answers cannot be read ({exc})") from exc
    error = answer.get("error")
    if error is not None:
        text = str(error.get("description", "an error without a text"))
        raise Refused(text, int(error.get("code", 0)), int(error.get("err_code", 0)))
    return answer


def read_headers(raw: bytes) -> dict[str, str]:
    """Return the headers of a message that came within an answer."""
    lines = raw.decode("utf-8", "replace").split("\r\n")[1:]
    return {name: value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}


def why(exc: BaseException) -> str:
    """Return what an error of the client says, in a few words."""
    return str(exc).removeprefix("nats: ") or type(exc).__name__


def nanoseconds(seconds: float) -> int:
    """Return a time as JetStream takes it."""
    return round(seconds * 1_000_000_000)


def utc_now() -> str:
    """Return the time of day, for what a person reads."""
    return datetime.now(UTC).strftime("%H:%M:%S UTC")
