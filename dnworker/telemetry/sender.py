"""`Sender` posts the requests of one signal, and counts what became of them; runs on the exporter's thread.

A collector may be dead, slow or hostile: a request has one limit of time for all of it, its answer one of
bytes, and it is sent again a few times only.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import os
import random
import socket
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from dnworker.telemetry.requests import Batch
from dnworker.telemetry.settings import Endpoint, shown_url
from dnworker.telemetry.state import SignalState

log = logging.getLogger("dnworker.telemetry")

ANSWER_BYTES = 65_536
"""Bytes of an answer that are read."""

TRIES = 5
LONGEST_WAIT = 30.0
"""How often a request is sent, and seconds between two tries at most, whatever the collector asks for."""

PARTS = 64
"""Requests that one batch is sent in at most, where it is too large for the collector as a whole."""

_AGAIN = frozenset((429, 502, 503, 504))
_HEADERS = {"content-type": "application/x-protobuf", "user-agent": "dnworker"}


class _Failed(Exception):
    """A request that was not taken.

    Args:
        text: why, in words.
        again: whether it may be taken later.
        after: seconds that the collector asks to wait.
        is_too_large: whether a smaller request may be taken.
    """

    def __init__(
        self, text: str, *, again: bool, after: float | None = None, is_too_large: bool = False
    ) -> None:
        super().__init__(text)
        self.again, self.after, self.is_too_large = again, after, is_too_large


class Sender:
    """Sends one signal.

    Args:
        signal: `traces`, `metrics` or `logs`.
        endpoint: where it goes.
        rejected: reads of an answer how many items were not taken, and why.
    """

    def __init__(
        self, signal: str, endpoint: Endpoint, rejected: Callable[[str, bytes], tuple[int, str]]
    ) -> None:
        self.state = SignalState(signal, shown_url(endpoint.url))
        self._endpoint, self._rejected = endpoint, rejected
        self._client: httpx.AsyncClient | None = None
        self.ending = asyncio.Event()
        """Set when a stop waits: what is under way then is tried once more, and at once."""

    async def send(self, batch: Batch) -> None:
        """Send a batch, again and in parts where that may help; items that are not taken are counted."""
        waiting, parts, taken = [batch.items], 0, 0
        refused: _Failed | None = None
        try:
            while waiting:
                parts, items = parts + 1, waiting[-1]
                try:
                    await self._send(self._written(batch, items), len(items))
                    taken += len(items)
                except _Failed as exc:
                    if not exc.is_too_large:
                        return  # with what waits: it fares no better now
                    if len(items) > 1 and parts + len(waiting) < PARTS:
                        half = len(items) // 2
                        waiting[-1:] = [items[half:], items[:half]]
                        continue
                    refused, self.state.dropped = exc, self.state.dropped + len(items)
                waiting.pop()
        finally:
            self.state.dropped += sum(map(len, waiting))
            if refused is not None:
                self._note_too_large(refused, is_all=not taken)

    def _written(self, batch: Batch, items: Sequence[Any]) -> bytes:
        """Return the request of some items.

        Raises:
            _Failed: one of them cannot be written; the others may be.
        """
        try:
            return batch.write(items)
        except Exception as exc:
            if len(items) == 1:
                log.exception("one of %s cannot be written", self.state.signal)
            raise _Failed(
                f"it cannot be written: {type(exc).__name__}", again=False, is_too_large=True
            ) from exc

    async def _send(self, body: bytes, items: int) -> None:
        """Send one request.

        Raises:
            _Failed: it was not taken, however often it was sent.
        """
        if self._endpoint.gzip:
            body = gzip.compress(body, 5)
        for number in range(1, TRIES + 1):
            try:
                answer = await self._post(body)
            except _Failed as exc:
                if not exc.is_too_large:
                    self._note_failure(exc)
                if not exc.again or number == TRIES or self.ending.is_set():
                    raise
                wait = min(LONGEST_WAIT, 2.0 ** (number - 1) * (0.75 + random.random() / 2))  # noqa: S311
                await self._pause(wait if exc.after is None else min(exc.after, LONGEST_WAIT))
            else:
                lost, why = self._rejected(self.state.signal, answer)
                self._note_success(items, min(lost, items), why)
                return

    async def _pause(self, seconds: float) -> None:
        """Wait, but not when a stop does."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.ending.wait()

    async def _post(self, body: bytes) -> bytes:
        """Post once, and return the begin of the answer."""
        try:
            async with asyncio.timeout(self._endpoint.timeout):
                return await self._answer(body)
        except TimeoutError:
            await self.close()
            raise _Failed(f"no answer within {self._endpoint.timeout:g} s", again=True) from None
        except (httpx.HTTPError, httpx.StreamError, OSError) as exc:
            raise _Failed(_why(exc), again=not isinstance(_root(exc), ssl.SSLError)) from exc

    async def _answer(self, body: bytes) -> bytes:
        headers = _HEADERS | dict(self._endpoint.headers)
        if self._endpoint.gzip:
            headers["content-encoding"] = "gzip"
        client = self._ready()
        async with client.stream("POST", self._endpoint.url, content=body, headers=headers) as response:
            if response.status_code // 100 != 2:
                again = response.status_code in _AGAIN
                after = _seconds(response.headers.get("retry-after", "")) if again else None
                is_too_large = response.status_code == 413
                more = ", the request is too large for it" if is_too_large else ""
                text = f"the collector answers {response.status_code}{more}"
                raise _Failed(text, again=again, after=after, is_too_large=is_too_large)
            found = b""
            async for part in response.aiter_raw(ANSWER_BYTES):
                found += part
                if len(found) >= ANSWER_BYTES:
                    break  # it was taken, and what it says on is nobody's
            return found[:ANSWER_BYTES]

    def _ready(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                verify=_tls(self._endpoint),
                timeout=self._endpoint.timeout,
                trust_env=not self._endpoint.is_loopback,  # a proxy must not see what stays on this machine
                follow_redirects=False,  # it would take the headers, which are secret, to another place
            )
        return self._client

    async def close(self) -> None:
        """Close what is open."""
        client, self._client = self._client, None
        if client is not None:
            try:
                async with asyncio.timeout(1):
                    await client.aclose()
            except (TimeoutError, httpx.HTTPError, OSError) as exc:
                log.debug("a connection to %s could not be closed: %s", self.state.endpoint, exc)

    def _note_failure(self, exc: _Failed) -> None:
        if self.state.failing_since is None:
            self.state.failing_since = datetime.now(UTC)
            log.warning(
                "%s cannot be sent to %s: %s; what is not sent is counted, and tried on (DN951)",
                self.state.signal,
                self.state.endpoint,
                exc,
            )
        self.state.failure = str(exc)

    def _note_too_large(self, exc: _Failed, *, is_all: bool) -> None:
        """Say what is lost of a batch that was sent in parts: once, or that nothing is taken at all."""
        if is_all:
            self._note_failure(exc)
        elif not self.state.too_large_told:
            self.state.too_large_told = True
            text = "%s: some are dropped and counted, for %s does not take them: %s (DN951)"
            log.warning(text, self.state.signal, self.state.endpoint, exc)

    def _note_success(self, items: int, lost: int, why: str) -> None:
        self.state.sent += items - lost
        self.state.dropped += lost
        if lost and not self.state.rejected_told:
            self.state.rejected_told = True
            log.warning(
                "%s of %d items were not taken by %s: %s (DN951)",
                self.state.signal,
                lost,
                self.state.endpoint,
                ascii(why),
            )
        if self.state.failing_since is not None:
            self.state.failing_since, self.state.failure = None, None
            log.warning("%s are sent to %s again", self.state.signal, self.state.endpoint)


def _tls(endpoint: Endpoint) -> ssl.SSLContext | bool:
    if not endpoint.url.startswith("https:"):
        return False  # the machine's authorities take long to read, and are not wanted
    context = ssl.create_default_context(cafile=endpoint.certificate)
    if endpoint.client_certificate is not None:
        context.load_cert_chain(endpoint.client_certificate, endpoint.client_key)
    return context


def _root(exc: BaseException) -> BaseException:
    while (before := exc.__cause__ or exc.__context__) is not None:
        exc = before
    return exc


def _why(exc: Exception) -> str:
    """Return why a request failed, in words that have no secret: of the error's class and its cause."""
    root = _root(exc)
    if isinstance(root, ssl.SSLError):
        return f"TLS fails: {getattr(root, 'verify_message', '') or root.reason or 'no handshake'}"
    if isinstance(root, OSError) and root.errno:
        is_of_name = isinstance(root, socket.gaierror)  # its numbers are its own
        return (str(root.strerror) if is_of_name else os.strerror(root.errno)).lower()
    return f"{type(exc).__name__}"


def _seconds(text: str) -> float | None:
    """Return the seconds of a `Retry-After` header, which may be a date."""
    text = text.strip()[:64]
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
