"""`dnworker logs`: the lines that workers of a running runtime have written."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING, Any

import httpx

from dnworker.cli.remote import add_address, make_client, with_client
from dnworker.cli.text import print_json, printable
from dnworker.client.client import RuntimeClient
from dnworker.core.errors import UsageError
from dnworker.core.text import closest

if TYPE_CHECKING:
    from collections.abc import Iterable

LOOK = 0.5
"""Seconds between two requests of `--follow`."""

AGAIN = 1.0
"""Seconds between two attempts to reach a runtime that has gone."""

LEVELS = ("trace", "debug", "info", "warning", "error", "critical")
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
        default=100,
        metavar="N",
        help="the newest N (default: %(default)s)",
    )
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
    page = await _page(client, options)
    _print(page["entries"], options)
    while options.follow:
        await asyncio.sleep(LOOK)
        try:
            page = await _page(client, options, after=page["next_cursor"], instance_id=page["instance_id"])
        except httpx.TransportError:
            _say("the runtime is gone; waiting for it")
            async with await _back(options) as again:
                _say(f"a runtime answers again at {again.server_url}")
                return await _logs(again, options)
        if page["gap"] or page["reset"]:
            _say("the log was cut here")
        _print(page["entries"], options)
    return 0


async def _back(options: argparse.Namespace) -> RuntimeClient:
    """Return a client of the runtime once it answers again; its token may be another one."""
    while True:
        await asyncio.sleep(AGAIN)
        try:
            client = make_client(options)
            await client.connection.request("GET", "/api/runtime")
        except (UsageError, httpx.HTTPError):
            continue
        return client


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
    wanted |= {"invocation": options.of, "limit": MOST if query else options.limit}
    given = {key: value for key, value in wanted.items() if value not in (None, [], "")}
    page: dict[str, Any] = await client.connection.request("GET", "/api/history/lines", query=given)
    return page


def _print(entries: list[dict[str, Any]], options: argparse.Namespace) -> None:
    for one in entries:
        if options.json:
            print_json(one)
            continue
        level = "" if one["level"] == "INFO" else f" {one['level']}"
        print(
            printable(f"{one['timestamp'][:19].replace('T', ' ')}{level} {one['source']}: {one['message']}")
        )
    sys.stdout.flush()


def _say(text: str) -> None:
    print(printable(f"({text})"), file=sys.stderr, flush=True)
