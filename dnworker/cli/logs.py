"""`dnworker logs`: the lines that workers of a running runtime have written."""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from dnworker.cli.lasting import Lasting
from dnworker.cli.remote import add_address, with_client
from dnworker.cli.tail import STYLES, say
from dnworker.cli.terminal import print_line
from dnworker.cli.text import print_json
from dnworker.core.errors import UsageError
from dnworker.core.moments import parse_moment
from dnworker.core.text import closest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dnworker.client.client import RuntimeClient

LOOK = 0.5
"""Seconds between two requests of `--follow`."""

LEVELS = ("trace", "debug", "info", "warning", "error", "critical")
NEWEST = 100
"""Lines that are shown where nobody says how many."""

MOST = 1_000
"""Lines of one request at most."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `logs`."""
    parser.add_argument("worker", nargs="*", metavar="CAPABILITY:WORKER", help="only these workers'")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes, until Ctrl-C")
    parser.add_argument(
        "-n",
        "--limit",
        type=_count,
        metavar="N",
        help=f"the newest N (default: {NEWEST}; with --since: all)",
    )
    parser.add_argument("--since", metavar="TIME", help="such as 10m, 2h, 3d, or a date in ISO-8601")
    parser.add_argument("--level", choices=LEVELS, default="trace", help="only lines of this level or above")
    parser.add_argument("--grep", default="", metavar="TEXT", help="only lines with this text, in any case")
    parser.add_argument("--of", metavar="ID", help="only lines of this run, or of the runs of this event")
    add_address(parser)
    parser.set_defaults(command=with_client(_logs))


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MOST:
        raise argparse.ArgumentTypeError(f"{text} is out of range; use 1 to {MOST:,}")
    return number


async def _logs(client: RuntimeClient, options: argparse.Namespace) -> int:
    await _check(client, options.worker)
    is_whole = options.since is not None and options.limit is None
    page = await _page(client, options, **({"after": 0} if is_whole else {}))
    if is_whole and page["missed"] and _is_before(options.since, page["oldest"]):
        say(f"the log reaches back to {_time(page['oldest'])} UTC only")
    _print(page["entries"], options)
    while is_whole and page["entries"]:
        page = await _page(client, options, **_from(page))
        _print(page["entries"], options)
    if options.follow:
        lasting = Lasting(client, options, say)
        try:
            await _follow(lasting, options, _from(page))
        finally:
            await lasting.close()
    return 0


async def _follow(lasting: Lasting, options: argparse.Namespace, place: dict[str, Any]) -> None:
    """Print each line after a place once, also over a lost connection; what is missing is said."""
    while True:
        await asyncio.sleep(LOOK)
        page = await lasting.ask(partial(_page, options=options, **place))
        if page["reset"]:
            say("the runtime was restarted; what the one before wrote last may be missing here")
            page = await lasting.ask(
                partial(_page, options=options, after=0, instance_id=page["instance_id"])
            )
        if page["missed"]:
            lines = f"{page['missed']:,} line{'s' * (page['missed'] != 1)}"
            say(f"the log was cut here: {lines} of all workers were dropped before they were read")
        _print(page["entries"], options)
        place = _from(page)


def _from(page: dict[str, Any]) -> dict[str, Any]:
    """Return where the next page begins."""
    return {"after": page["next_cursor"], "instance_id": page["instance_id"]}


def _is_before(since: str, oldest: str | None) -> bool:
    """Return whether lines were asked for that are older than the oldest one."""
    return oldest is not None and parse_moment(since, datetime.now(UTC)) < datetime.fromisoformat(oldest)


def _time(moment: str) -> str:
    return moment[:19].replace("T", " ")


async def _check(client: RuntimeClient, wanted: Iterable[str]) -> None:
    """Refuse names of workers that are not there, with what was probably meant.

    Raises:
        UsageError: there is no such worker.
    """
    if not wanted:
        return
    answer = await client.connection.request("GET", "/api/history/workers")
    known = [one["worker"] for one in answer["workers"]]
    for name in wanted:
        if name not in known and not answer["more"]:
            near = closest(name, known)
            hint = f"; {near}?" if near else "; `dnworker ps` shows those that are"
            raise UsageError(f"there is no worker {name}{hint}", code="DN301")


async def _page(client: RuntimeClient, options: argparse.Namespace, **query: Any) -> dict[str, Any]:
    wanted = {"worker": options.worker, "level": options.level, "text": options.grep, **query}
    wanted |= {"invocation": options.of, "since": options.since}
    wanted["limit"] = MOST if query else options.limit or NEWEST
    given = {key: value for key, value in wanted.items() if value not in (None, [], "")}
    page: dict[str, Any] = await client.connection.request("GET", "/api/history/lines", query=given)
    return page


def _print(entries: list[dict[str, Any]], options: argparse.Namespace) -> None:
    for one in entries:
        if options.json:
            print_json(one)
            continue
        level = "" if one["level"] == "INFO" else f" {one['level']}"
        print_line(
            f"{_time(one['timestamp'])}{level} {one['source']}: {one['message']}",
            STYLES.get(one["level"], ""),
        )
    sys.stdout.flush()
