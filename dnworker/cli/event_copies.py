"""`dnworker events export` and `dnworker events import`: events of a running runtime, to and from files."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from dnworker.cli.tail import say
from dnworker.cli.text import print_json, printable
from dnworker.client.http import HttpConnection
from dnworker.client.pulling import PULL_EVENTS, Pull, PullQuery, masked_events
from dnworker.core.envelope import EventEnvelope, check_kind, is_reserved, pack
from dnworker.core.errors import CODE_HEADER, ApiError, RuntimeUnavailable, UsageError, code_of
from dnworker.core.payload_masks import PayloadMasks
from dnworker.core.text import shorten
from dnworker.events.cloud_events import SOURCE
from dnworker.events.event_files import events_of, new_file, new_output, read_events

if TYPE_CHECKING:
    from dnworker.client.client import RuntimeClient

EXPORT, IMPORT = "export", "import"
PIPE = "-"

KINDS_NAMED = 3
"""Kinds that a message names at most."""


def add_copy_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `events export` and `events import` beside those of `events`."""
    parser.add_argument("--kind", action="append", dest="kinds", default=[], help="as KIND, also with export")
    parser.add_argument("--last", type=int, metavar="N", help="export: the newest N (default: all)")
    parser.add_argument(
        "--mask", default="", metavar="RULES", help="export: fields to hide, such as email,items.*.card"
    )
    parser.add_argument(
        "--cloudevents", action="store_true", help="export: a batch of CloudEvents 1.0, not JSON Lines"
    )
    parser.add_argument("--outside", action="store_true", help="export: without what handlers have published")
    parser.add_argument(
        "--skip-reserved", action="store_true", help="import: leave kinds out that only a runtime publishes"
    )


def verb_of(options: argparse.Namespace) -> str | None:
    """Return `export` or `import` where the first word is that; the file goes to `options.file`.

    Raises:
        UsageError: no file is named, or several; or an option is of another verb.
    """
    first = options.kind[0] if options.kind else None
    verb = next((one for one in (EXPORT, IMPORT) if one == first), None)
    own = {EXPORT: ("last", "mask", "cloudevents", "outside"), IMPORT: ("skip_reserved",)}
    for name in (name for one, names in own.items() if one != verb for name in names):
        if getattr(options, name):
            whose = EXPORT if name in own[EXPORT] else IMPORT
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} is for `dnworker events {whose} FILE`", code="DN101")
    if verb is None:
        options.kind += options.kinds
        return None
    if len(options.kind) != 2:
        raise UsageError(
            f"dnworker events {verb} takes one FILE, or - for a pipe; events of a kind of that name are "
            f"shown by: dnworker events --kind {verb}",
            code="DN101",
        )
    if options.worker or options.failed or options.follow:
        flag = "worker" if options.worker else "failed" if options.failed else "follow"
        raise UsageError(f"--{flag} does not go with {verb}; leave it out", code="DN101")
    options.file = options.kind[1]
    return verb


# -- export ----------------------------------------------------------------------------------------------


async def export_events(client: RuntimeClient, options: argparse.Namespace) -> int:
    """Write recorded events of a runtime to a file, whole or not at all.

    Raises:
        UsageError: they cannot be read or written, or a mask hides nothing.
    """
    query = PullQuery(options.last, tuple(options.kinds), options.since, options.session, options.all_kinds)
    query.check("DN224")
    query = query if options.last is not None else query._replace(last=PULL_EVENTS)
    connection = client.connection
    if not isinstance(connection, HttpConnection):
        raise UsageError("events are exported of a runtime at a URL; give --url", code="DN906")
    masks = PayloadMasks(options.mask, [connection.token] if connection.token else [])
    pull = Pull(connection, query)
    how: dict[str, Any] = {"cloud": options.cloudevents, "source": SOURCE}
    is_pipe = options.file == PIPE
    target = new_output(sys.stdout.buffer, **how) if is_pipe else new_file(Path(options.file), **how)
    try:
        with target as writer:
            async for one in masked_events(pull, masks):
                if not (options.outside and one.is_caused):
                    writer.write(one.event)
    except RuntimeUnavailable as exc:
        raise UsageError(str(exc), code=code_of(exc) or "DN224") from exc
    _report_export(pull, masks, writer.count, options)
    return 0


def _report_export(pull: Pull, masks: PayloadMasks, count: int, options: argparse.Namespace) -> None:
    notes = [f"{masks.masked:,} values are masked"] if masks.masked else []
    if pull.dropped:
        notes.append(f"{pull.dropped:,} were left out: the runtime has not kept their payloads")
    if pull.is_reference:
        notes.append("it is no runtime of dnworker: it keeps the newest 500 events of each session only")
    elif pull.has_gap:
        notes.append("the runtime has not kept all of them")
    answer = {"events": count, "masked": masks.masked, "left_out": pull.dropped, "has_gap": pull.has_gap}
    if options.file == PIPE:
        for note in notes:
            say(note)
    elif options.json:
        print_json({"ok": True, "file": options.file, **answer})
    else:
        print(printable("; ".join([f"{options.file} has {_events(count).rpartition(' ')[0]}", *notes])))


# -- import ----------------------------------------------------------------------------------------------


async def import_events(client: RuntimeClient, options: argparse.Namespace) -> int:
    """Publish the events of a file, in their order; one that was published within a day is not again.

    Raises:
        UsageError: the file cannot be read, something in it cannot be published, or the runtime refuses it.
    """
    events = await asyncio.to_thread(_read, options.file)
    reserved = Counter(event.kind for event in events if is_reserved(event.kind))
    if reserved and not options.skip_reserved:
        named = ", ".join(shorten(kind, 40) for kind, _ in reserved.most_common(KINDS_NAMED))
        more = ", ..." if len(reserved) > KINDS_NAMED else ""
        raise UsageError(
            f"{reserved.total():,} of {len(events):,} events have kinds that only a runtime publishes "
            f"({named}{more}); nothing was published; --skip-reserved leaves them out",
            code="DN225",
        )
    chosen = [event for event in events if not is_reserved(event.kind)]
    _check(chosen, options.file)
    published = await _publish(client, chosen)
    again = len(chosen) - published
    if options.json:
        counts = {"published": published, "duplicates": again, "skipped": reserved.total()}
        print_json({"ok": True, **counts})
        return 0
    notes = [f"{again:,} were published before"] if again else []
    notes += [f"{reserved.total():,} of reserved kinds were left out"] if reserved else []
    print(printable("; ".join([f"{_events(published)} published", *notes])))
    return 0


def _events(count: int) -> str:
    """Return a number of events with its verb."""
    return "1 event is" if count == 1 else f"{count:,} events are"


def _read(name: str) -> list[EventEnvelope]:
    if name == PIPE:
        return [*events_of(sys.stdin.buffer, "standard input")]
    return read_events(Path(name))


def _check(events: Sequence[EventEnvelope], file: str) -> None:
    """Check that all events can be published, before the first one is.

    Raises:
        UsageError: one cannot; names it by its place.
    """
    for number, event in enumerate(events, start=1):
        try:
            check_kind(event.kind)
            pack(event.payload)
        except ApiError as exc:
            raise UsageError(
                f"{file}, event {number}: {exc}; nothing was published", code=code_of(exc) or "DN225"
            ) from None


async def _publish(client: RuntimeClient, events: Sequence[EventEnvelope]) -> int:
    """Publish events one after the other; returns how many were not there yet.

    Raises:
        UsageError: the runtime refuses one, or goes away; says how many it has.
    """
    published = 0
    for number, event in enumerate(events):
        try:
            answer = await client.publish(
                event.kind, event.payload, session_id=event.session_id, dedupe=f"import {event.event_id}"
            )
        except httpx.HTTPStatusError as exc:
            raise UsageError(
                f"after {number:,} of {len(events):,} events: {exc}",
                code=exc.response.headers.get(CODE_HEADER),
            ) from exc
        except (httpx.TransportError, RuntimeUnavailable) as exc:
            what = str(exc) or type(exc).__name__
            raise UsageError(
                f"after {number:,} of {len(events):,} events the runtime went away ({what}); import again: "
                "what it has is not published twice",
                code="DN225",
            ) from exc
        published += not answer.get("duplicate")
    return published
