"""`NatsMessages`: what runtimes say to each other over the server, without its keeping any of it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import nats.errors
from nats.aio.msg import Msg

from dnworker.core.task_ends import end_tasks
from dnworker.events.brokers.jetstream.api import why
from dnworker.events.brokers.jetstream.connecting import Connected
from dnworker.events.brokers.messages import Unreachable

log = logging.getLogger("dnworker.broker")

WAITING = 10_000
WAITING_BYTES = 16_000_000
"""Messages and bytes that wait to be sent; further ones are dropped, and the log says so."""

ANSWERING = 1_000
"""Requests that are answered side by side; further ones get no answer."""

FAILED = "Dnw-Failed"
"""Header of an answer that is none: what serves the subject has failed."""


class NatsMessages:
    """Messages between the runtimes of one namespace.

    Args:
        connected: the server.
    """

    def __init__(self, connected: Connected) -> None:
        self._connected = connected
        self._client = connected.client
        self._root = connected.names.root
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._waiting_bytes = 0
        self._dropped = 0
        self._sending: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._answering = 0
        self._is_closed = False

    def tell(self, subject: str, data: bytes) -> None:
        """Send a message to all who listen, at most once; it is lost where the server is away."""
        is_full = len(self._waiting) >= WAITING or self._waiting_bytes + len(data) > WAITING_BYTES
        if self._is_closed or not self._client.is_connected or is_full or len(data) > self._connected.largest:
            self._note_dropped(subject, len(data))
            return
        self._waiting.append((subject, data))
        self._waiting_bytes += len(data)
        if self._sending is None:
            self._sending = self._spawn(self._send(), "dnworker messages")

    def _note_dropped(self, subject: str, size: int) -> None:
        self._dropped += 1
        if self._client.is_connected and not self._is_closed and self._dropped & (self._dropped - 1) == 0:
            log.warning(
                "a message to %s of %d bytes was not sent, and %d in all: too many wait, or it is too long",
                subject,
                size,
                self._dropped,
            )

    async def _send(self) -> None:
        try:
            while self._waiting:
                subject, data = self._waiting.popleft()
                self._waiting_bytes -= len(data)
                await self._client.publish(f"{self._root}.msg.{subject}", data)
        except (nats.errors.Error, OSError) as exc:
            log.debug("messages were lost: %s", why(exc))
        finally:
            self._sending = None

    def listen(self, subject: str, on_message: Callable[[str, bytes], None]) -> Callable[[], None]:
        """Call `on_message(subject, data)` with every message from now on; returns what ends it."""
        prefix = f"{self._root}.msg."

        async def take(message: Msg) -> None:
            try:
                on_message(message.subject.removeprefix(prefix), message.data)
            except Exception:
                log.exception("what listens to %s has failed", subject)

        return self._subscribe(f"{prefix}{subject}", take)

    def serve(self, subject: str, answer: Callable[[bytes], Awaitable[bytes]]) -> Callable[[], None]:
        """Answer the requests of a subject, each in a task of its own; returns what ends it."""

        async def take(message: Msg) -> None:
            if self._answering >= ANSWERING:
                log.warning("a request to %s was not answered: %d are being answered", subject, ANSWERING)
                return
            self._answering += 1
            self._spawn(self._answer(subject, answer, message), f"dnworker answer {subject}")

        return self._subscribe(f"{self._root}.req.{subject}", take)

    async def _answer(self, subject: str, answer: Callable[[bytes], Awaitable[bytes]], message: Msg) -> None:
        headers: dict[str, str] | None = None
        try:
            try:
                data = await answer(message.data)
            except Exception:
                log.exception("a request to %s could not be answered", subject)
                data, headers = b"", {FAILED: "1"}
            if len(data) > self._connected.largest - 100:
                log.error("the answer to %s has %d bytes, more than the server takes", subject, len(data))
                data, headers = b"", {FAILED: "1"}
            await self._client.publish(message.reply, data, headers=headers)
        except (nats.errors.Error, OSError) as exc:
            log.warning("the answer to %s was lost: %s", subject, why(exc))
        finally:
            self._answering -= 1

    async def request(self, subject: str, data: bytes, seconds: float) -> bytes:
        """Return the answer of the runtime that serves a subject.

        Raises:
            Unreachable: nobody serves it, or no answer comes within `seconds`.
        """
        if self._is_closed or not self._client.is_connected:
            raise Unreachable(f"{subject}: {self._connected.failure or 'the broker is closed'}")
        try:
            answer = await self._client.request(f"{self._root}.req.{subject}", data, timeout=seconds)
        except nats.errors.NoRespondersError:
            raise Unreachable(f"nobody serves {subject}") from None
        except TimeoutError:
            raise Unreachable(f"no answer to {subject} within {seconds:g} s") from None
        except (nats.errors.Error, OSError) as exc:
            raise Unreachable(f"{subject} cannot be asked: {why(exc)}") from None
        if answer.headers and FAILED in answer.headers:
            raise Unreachable(f"what serves {subject} has failed; the log of that node says why")
        return bytes(answer.data)

    def _subscribe(self, subject: str, take: Callable[[Msg], Awaitable[None]]) -> Callable[[], None]:
        """Begin a subscription, before anything that is sent from now on; return what ends it."""
        beginning = self._spawn(self._client.subscribe(subject, cb=take), f"dnworker listens to {subject}")

        def end() -> None:
            if not self._is_closed:
                self._spawn(_end(beginning), f"dnworker listens no more to {subject}")

        return end

    def _spawn(self, work: Any, name: str) -> asyncio.Task[Any]:
        # What comes from others is not caused by the handler that happened to begin to listen to it: nats-py
        # reads in the context of `subscribe`, and answers run in that of their reading.
        context = contextvars.Context()
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work, name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._note_ended)
        return task

    def _note_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None and not self._is_closed:
            log.error("%s has failed: %s", task.get_name(), exc)

    async def close(self, *, is_abandoned: bool = False) -> None:
        """Send what waits, and end."""
        sending = self._sending
        if sending is not None and not is_abandoned:
            await asyncio.wait({sending}, timeout=1)
        self._is_closed = True
        await end_tasks(*self._tasks)


async def _end(beginning: asyncio.Task[Any]) -> None:
    try:
        await (await beginning).unsubscribe()
    except (nats.errors.Error, OSError) as exc:
        log.debug("a subscription has ended already: %s", why(exc))
