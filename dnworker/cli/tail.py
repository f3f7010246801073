"""`dnworker tail`: events, or the runtime's log, as they come."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import httpx

from dnworker.cli.lasting import LOST, Lasting
from dnworker.cli.remote import add_address, with_client
from dnworker.cli.terminal import print_line
from dnworker.cli.text import printable
from dnworker.client.client import RuntimeClient
from dnworker.core.envelope import RECONNECTED, EventEnvelope
from dnworker.core.text import clip

if TYPE_CHECKING:
    from dnworker.core.models import LogRecord

LOG_POLL = 0.5
"""Seconds between two requests for a log that had nothing new."""

LONGEST_PAYLOAD = 500
"""Characters of a payload that is shown of an event."""

MISSED = 200
"""Events that came while the connection was lost and are shown afterwards, the newest of them."""

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
    events = _Events(client, options)
    shown = 0
    with _losses_said() as losses:
        async for event in client.subscribe(*options.kind):
            losses.is_said = False
            for one in await events.after(event):
                if options.session is not None and one.session_id != options.session:
                    continue
                _print_event(one, options)
                shown += 1
                if shown == options.count:
                    return


class _Losses(logging.Handler):
    """Says once of each loss of the connection what the client notes of each of its attempts."""

    is_said = False

    def emit(self, record: logging.LogRecord) -> None:
        """Take a note of the client."""
        if not self.is_said:
            self.is_said = True
            say(LOST)


@contextmanager
def _losses_said() -> Iterator[_Losses]:
    log, losses = logging.getLogger("dnworker.client"), _Losses(logging.INFO)
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
                say("another runtime, or the same one anew: what was published meanwhile is not shown")
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
