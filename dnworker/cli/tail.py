"""`dnworker tail`: events, or the runtime's log, as they come."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import httpx

from dnworker.cli.lasting import AGAIN, LOST, PATIENCE, Lasting, another, is_there
from dnworker.cli.remote import add_address, with_client
from dnworker.cli.terminal import print_line
from dnworker.cli.text import printable
from dnworker.client.client import RuntimeClient
from dnworker.core.envelope import RECONNECTED, EventEnvelope
from dnworker.core.errors import RuntimeUnavailable, UsageError
from dnworker.core.text import clip

if TYPE_CHECKING:
    from dnworker.core.models import LogRecord

LOG_POLL = 0.5
"""Seconds between two requests for a log that had nothing new."""

LONGEST_PAYLOAD = 500
"""Characters of a payload that is shown of an event."""

MISSED = 200
"""Events that came while the connection was lost and are shown afterwards, the newest of them."""

ANOTHER = "the runtime was restarted; what was published meanwhile is not shown"

STYLES = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red", "DEBUG": "dim", "TRACE": "dim"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `tail`."""
    parser.add_argument("kind", nargs="*", help="only these kinds")
    parser.add_argument("--session", metavar="ID", help="only this session's")
    parser.add_argument("--logs", action="store_true", help="show the log instead of the events")
    parser.add_argument("--count", type=_positive, metavar="N", help="end after this many")
    add_address(parser)
    parser.set_defaults(command=with_client(_tail))


def _positive(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")


async def _tail(client: RuntimeClient, options: argparse.Namespace) -> int:
    await (_tail_logs if options.logs else _tail_events)(client, options)
    return 0


async def _tail_events(client: RuntimeClient, options: argparse.Namespace) -> None:
    lasting = Lasting(client, options, say)
    events = _Events(client, options)
    try:
        while not await _from_one(lasting.client, events, options):
            await lasting.find()
            events.go_on_at(lasting.client)
    finally:
        await lasting.close()


async def _from_one(client: RuntimeClient, events: _Events, options: argparse.Namespace) -> bool:
    """Print what comes from one runtime; returns whether that was enough, else another runtime is there."""
    with _losses_said() as losses:
        printing = asyncio.create_task(_print_all(client, events, options, losses))
        waiting = asyncio.create_task(_wait_for_another(client, options, losses))
        try:
            await asyncio.wait({printing, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
            return printing.done() and printing.result()
        finally:
            printing.cancel()
            waiting.cancel()
            await asyncio.wait({printing, waiting})


async def _print_all(
    client: RuntimeClient, events: _Events, options: argparse.Namespace, losses: _Losses
) -> bool:
    """Print events until there are enough; returns False where the runtime does not know the token any more.

    Raises:
        RuntimeUnavailable: it did not know it from the beginning, or is not there.
    """
    try:
        async for event in client.subscribe(*options.kind):
            losses.lost.clear()
            for one in await events.after(event):
                if options.session is None or one.session_id == options.session:
                    _print_event(one, options)
                    events.shown += 1
                if events.shown == options.count:
                    return True
    except RuntimeUnavailable:
        if not losses.lost.is_set():
            raise
    return False


async def _wait_for_another(client: RuntimeClient, options: argparse.Namespace, losses: _Losses) -> None:
    """Return when the connection is lost, and a runtime answers at another address."""
    while True:
        await losses.lost.wait()
        await asyncio.sleep(AGAIN)
        with suppress(UsageError, httpx.HTTPError, TimeoutError):  # `Lasting` says why none is found
            other = another(options, client.server_url)
            try:
                async with asyncio.timeout(PATIENCE):
                    await is_there(other)
            finally:
                await other.close()
            if other.server_url != client.server_url:
                return


class _Losses(logging.Handler):
    """Says once of each loss of the connection what the client notes of each of its attempts."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lost = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a note of the client."""
        if not self.lost.is_set():
            self.lost.set()
            say(LOST)


@contextmanager
def _losses_said() -> Iterator[_Losses]:
    log, losses = logging.getLogger("dnworker.client"), _Losses()
    before = log.level
    log.addHandler(losses)
    log.setLevel(logging.INFO)
    try:
        yield losses
    finally:
        log.removeHandler(losses)
        log.setLevel(before)


class _Events:
    """Finds the events that came while the connection was lost, and has each event once."""

    def __init__(self, client: RuntimeClient, options: argparse.Namespace) -> None:
        self._client = client
        self._options = options
        self._runtime: str | None = None
        self._latest = 0
        self._had: set[str] = set()
        self.shown = 0

    def go_on_at(self, client: RuntimeClient) -> None:
        """Take another runtime: what was published meanwhile cannot be asked of it."""
        self._client, self._runtime, self._latest, self._had = client, None, 0, set()
        say(ANOTHER)

    async def after(self, event: EventEnvelope) -> list[EventEnvelope]:
        """Return what is to be shown when an event has come."""
        if event.kind == RECONNECTED and not event.seq:
            return [event, *await self._missed()]
        if self._runtime is None:
            self._runtime = await self._runtime_id()
        self._latest = event.seq
        if event.event_id in self._had:
            self._had.discard(event.event_id)
            return []
        return [event]

    async def _missed(self) -> list[EventEnvelope]:
        """Return the events since the last one that was shown, the oldest first; what is missing is said."""
        try:
            before, self._runtime = self._runtime, await self._runtime_id()
            if self._runtime != before or before is None:
                self._latest = 0
                say(ANOTHER)
                return []
            query = {"after": self._latest, "limit": MISSED, "noise": "true"}
            query |= {"kind": self._options.kind} if self._options.kind else {}
            page = await self._client.connection.request("GET", "/api/history/events", query=query)
            if page["next"] is not None:
                say(f"more than {MISSED} events came meanwhile; the newest of them follow")
            found = [await self._event(one["id"]) for one in reversed(page["events"])]
        except httpx.HTTPError as exc:
            say(f"what was published meanwhile is not shown: {exc or type(exc).__name__}")
            return []
        self._had = {one.event_id for one in found}
        return found

    async def _event(self, event_id: str) -> EventEnvelope:
        path = f"/api/history/events/{event_id}/trace"
        answer = await self._client.connection.request("GET", path, query={"payload": "true", "limit": 1})
        one = answer["events"][0]
        return EventEnvelope(
            event_id=one["id"],
            seq=one["seq"],
            kind=one["kind"],
            payload=one.get("payload") or {},
            session_id=one["session_id"],
            timestamp=datetime.fromisoformat(one["at"]),
        )

    async def _runtime_id(self) -> str:
        answer = await self._client.connection.request("GET", "/api/runtime")
        return str(answer.get("runtime_id"))


async def _tail_logs(client: RuntimeClient, options: argparse.Namespace) -> None:
    lasting = Lasting(client, options, say)
    try:
        await _follow_log(lasting, options)
    finally:
        await lasting.close()


async def _follow_log(lasting: Lasting, options: argparse.Namespace) -> None:
    after: int | None = None
    instance: str | None = None
    shown = 0
    while True:
        page = await lasting.ask(
            partial(RuntimeClient.query_logs, after=after, instance_id=instance, limit=200)
        )
        if page.reset:
            say("the runtime was restarted; what the one before wrote last may be missing here")
            after, instance = 0, page.instance_id
            continue
        if page.gap:
            say("the log was cut here: records were dropped before they were read")
        for record in page.entries:
            _print_record(record, options)
            shown += 1
            if shown == options.count:
                return
        after, instance = page.next_cursor, page.instance_id
        if not page.entries:
            await asyncio.sleep(LOG_POLL)


def say(text: str) -> None:
    """Say on standard error what is no event and no record."""
    print(printable(f"({text})"), file=sys.stderr, flush=True)


def _print_record(record: LogRecord, options: argparse.Namespace) -> None:
    if options.json:
        import msgspec

        print(msgspec.json.encode(record).decode(), flush=True)
        return
    line = f"{record.timestamp[11:23]} {record.level:<8} {record.source}: {record.message}"
    print_line(line, STYLES.get(record.level, ""))
    sys.stdout.flush()


def _print_event(event: EventEnvelope, options: argparse.Namespace) -> None:
    if options.json:
        from dnworker.core.envelope import encode

        print(encode(event).decode(), flush=True)
        return
    scope = f" [{event.session_id}]" if event.session_id else ""
    payload = clip(json.dumps(event.payload, ensure_ascii=False), LONGEST_PAYLOAD)
    print_line(f"{event.timestamp:%H:%M:%S} #{event.seq} {event.kind}{scope} {payload}")
    sys.stdout.flush()
