"""`dnworker events`: what happened in a running runtime, and what handlers did with it."""

from __future__ import annotations

import argparse
import asyncio
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from dnworker.cli.event_copies import (
    EXPORT,
    IMPORT,
    add_copy_arguments,
    export_events,
    import_events,
    verb_of,
)
from dnworker.cli.lasting import Lasting
from dnworker.cli.remote import add_address, with_client
from dnworker.cli.tables import print_table
from dnworker.cli.tail import say
from dnworker.cli.terminal import print_line
from dnworker.cli.text import print_json, printable
from dnworker.core.text import shorten

if TYPE_CHECKING:
    from dnworker.client.client import RuntimeClient

PAGE = 200
"""Events of one request at most."""

LOOK = 0.5
"""Seconds between two requests of `--follow`."""

LONGEST_ERROR = 160
"""Characters of an error or a note that a line shows."""

LESS = ("BY", "HANDLERS")
"""The columns that a narrow terminal lacks, the first of them first."""

TITLES = ["#", "TIME", "KIND", "BY", "HANDLERS", "WHAT"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `events`."""
    parser.add_argument(
        "kind",
        nargs="*",
        metavar="KIND | export FILE | import FILE",
        help="only these kinds; `order.*` is each that begins so; or write events to a file, or publish "
        "those of one; - is a pipe",
    )
    parser.add_argument("--session", metavar="ID", help="only this session's")
    parser.add_argument("--worker", metavar="CAPABILITY:WORKER", help="those that it handled or published")
    parser.add_argument("--failed", action="store_true", help="those that a handler failed on, or nobody got")
    parser.add_argument("--since", metavar="TIME", help="such as 15m, 2h, 3d, or a date in ISO-8601")
    parser.add_argument(
        "-n", "--limit", type=_positive, default=20, metavar="N", help="the newest N (default: %(default)s)"
    )
    parser.add_argument(
        "--all-kinds", action="store_true", help="also pieces of turns, and other kinds without news"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes, until Ctrl-C")
    add_copy_arguments(parser)
    add_address(parser)
    parser.set_defaults(command=_command)


def _command(options: argparse.Namespace) -> int:
    """Show events, or copy them to or from a file."""
    actions = {None: _events, EXPORT: export_events, IMPORT: import_events}
    return with_client(actions[verb_of(options)])(options)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


async def _events(client: RuntimeClient, options: argparse.Namespace) -> int:
    found, near = await _newest(client, options)
    if options.json and not options.follow:
        print_json({"ok": True, "events": found})
        return 0
    _print(found, options)
    if not found and not options.follow:
        print(printable(f"nothing of that happened{f'; was {near} meant?' if near else ''}"))
    if options.follow:
        lasting = Lasting(client, options, say)
        try:
            await _follow(lasting, options, found)
        finally:
            await lasting.close()
    return 0


async def _follow(lasting: Lasting, options: argparse.Namespace, found: list[dict[str, Any]]) -> None:
    """Print what comes after the events that were found; with `--failed`, also what fails late."""
    shown = {one["id"] for one in found}
    ends = min if options.failed else max
    above = ends((one["seq"] for one in found), default=0)
    latest, passed = max((one["at"] for one in found), default=""), ""
    runtime = await lasting.ask(_runtime_id)
    while True:
        await asyncio.sleep(LOOK)
        if (present := await lasting.ask(_runtime_id)) != runtime:
            say("the runtime was restarted; what the one before published last may be missing here")
            runtime, above, passed = present, 0, latest  # with a broker, it knows what was shown already
        look = partial(_since, options=options, above=above)
        came = [one for one in await lasting.ask(look) if one["id"] not in shown and one["at"] > passed]
        _print(came, options)
        shown |= {one["id"] for one in came}
        latest = max(latest, *(one["at"] for one in came)) if came else latest
        if came and not options.failed:
            above, shown = came[0]["seq"], set()


async def _runtime_id(client: RuntimeClient) -> str:
    return str((await client.connection.request("GET", "/api/runtime")).get("runtime_id"))


async def _since(client: RuntimeClient, options: argparse.Namespace, above: int) -> list[dict[str, Any]]:
    """Return all events with a higher number, the newest first."""
    found: list[dict[str, Any]] = []
    before: str | None = None
    while True:
        page = await _page(client, options, limit=PAGE, after=above, before=before)
        found += page["events"]
        before = page["next"]
        if before is None:
            return found


async def _newest(client: RuntimeClient, options: argparse.Namespace) -> tuple[list[dict[str, Any]], str]:
    """Return the newest events, the newest first, and what was probably meant where there is none."""
    found: list[dict[str, Any]] = []
    before: str | None = None
    while True:
        page = await _page(client, options, limit=min(PAGE, options.limit - len(found)), before=before)
        found += page["events"]
        before = page["next"]
        if before is None or len(found) >= options.limit:
            return found, page.get("near") or ""


async def _page(client: RuntimeClient, options: argparse.Namespace, **query: Any) -> dict[str, Any]:
    wanted = {"kind": options.kind, "session": options.session, "worker": options.worker, **query}
    wanted |= {"since": options.since, "failed": str(options.failed).lower()}
    wanted["noise"] = str(options.all_kinds).lower()
    given = {key: value for key, value in wanted.items() if value not in (None, [])}
    page: dict[str, Any] = await client.connection.request("GET", "/api/history/events", query=given)
    return page


def _print(found: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Print events, the oldest first, as a log has them."""
    if options.json:
        for one in reversed(found):
            print_json(one)
    elif found:
        rows = [row_of(one) for one in reversed(found)]
        if options.follow:
            for row, one in zip(rows, reversed(found), strict=True):
                print_line("  ".join(row).rstrip(), "red" if one["is_failed"] else "")
            sys.stdout.flush()
        else:
            print_table([TITLES, *rows], less=LESS)


def row_of(event: dict[str, Any]) -> list[str]:
    """Return the cells of an event."""
    counts = [(event["ok"] + event["warnings"], "ok"), (event["failed"], "failed")]
    counts += [(event["cancelled"], "cancelled"), (event["running"], "running")]
    ran = ", ".join(f"{count} {word}" for count, word in counts if count)
    state = ran or ("waits" if event["waits"] else "-")
    what = event["error"] or "; ".join(event["notes"])
    place = f" in {event['session_id']}" if event["session_id"] else ""
    return [
        f"#{event['seq']}",
        event["at"][:19].replace("T", " "),
        event["kind"] + place,
        event["by"] or "-",
        state,
        shorten(what.splitlines()[-1] if what else "", LONGEST_ERROR),
    ]
