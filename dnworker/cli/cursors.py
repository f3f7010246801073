"""`dnworker cursors`: how far workers are with the events of a durable runtime, also of one that is down."""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dnworker.cli.choosing import by_workers
from dnworker.cli.durable_options import DEFAULT_FILE, parse_start
from dnworker.cli.remote import add_address, with_client
from dnworker.cli.tables import print_table
from dnworker.cli.terminal import is_terminal, print_line
from dnworker.cli.text import print_json, printable
from dnworker.client.connection import in_path
from dnworker.core.errors import RuntimeUnavailable, UsageError, code_of
from dnworker.events.brokers.base import CursorInfo

if TYPE_CHECKING:
    from dnworker.client.client import RuntimeClient

TITLES = ["WORKER", "HANDLED TO", "WAITING", "WHERE"]

KINDS_NAMED = 3

_FOR_EVER = timedelta(days=36_500)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `cursors`."""
    parser.add_argument("action", choices=("list", "reset", "drop"), help="what to do")
    parser.add_argument("worker", nargs="?", metavar="CAPABILITY:WORKER", help="which; for list: all")
    parser.add_argument(
        "--to",
        default=None,
        metavar="now|beginning|SEQ",
        help="with reset: where it begins; now lets go what waits",
    )
    parser.add_argument(
        "--file",
        type=Path,
        metavar="FILE",
        help="of a durable runtime that is down",
    )
    add_address(parser)
    parser.set_defaults(command=cursors)


def cursors(options: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    if options.action != "list" and options.worker is None:
        raise UsageError(
            f"cursors {options.action}: name the worker, such as demo:bridge; list shows all", code="DN708"
        )
    if options.action == "reset" and options.to is None:
        raise UsageError(
            f"cursors reset {options.worker}: say where it begins, --to now|beginning|SEQ; "
            "now lets go all that waits for it",
            code="DN708",
        )
    if options.to is not None and options.action != "reset":
        raise UsageError(f"--to {options.to} is for reset", code="DN708")
    if options.file is not None:
        for option, given in (("--url", options.url), ("--token-file", options.token_file)):
            if given is not None:
                raise UsageError(
                    f"--file {options.file} is of a runtime that is down, and {option} {given} of one that "
                    f"runs: leave out {option}, or --file",
                    code="DN708",
                )
        return asyncio.run(_in_file(options))
    try:
        return with_client(_in_runtime, by_workers())(options)
    except RuntimeUnavailable as exc:
        raise UsageError(
            f"{exc}; of a runtime that is down: --file {DEFAULT_FILE}", code=code_of(exc) or "DN903"
        ) from exc


async def _in_runtime(client: RuntimeClient, options: argparse.Namespace) -> int:
    """Do it by a running runtime."""
    request = client.connection.request
    answer = await request("GET", "/api/cursors")
    found = msgspec.convert(answer["cursors"], list[CursorInfo])
    if options.action == "list":
        return _show(found, answer["broker"], answer["file"], options)
    path = f"/api/cursors/{in_path(options.worker)}"
    if options.action == "reset":
        await request("POST", f"{path}/reset", body={"start": _start(options)})
    else:
        await request("DELETE", path)
    return _tell(found, options)


async def _in_file(options: argparse.Namespace) -> int:
    """Do it in the file of a runtime that is down."""
    from dnworker.events.brokers.sqlite.broker import SqliteBroker
    from dnworker.events.brokers.sqlite.reading import cursors_of
    from dnworker.events.bus import EventBus
    from dnworker.events.journal_lock import owner_of

    file: Path = options.file
    if file.is_dir():
        raise UsageError(
            f"--file {file}: this is a directory; name a file in it, such as {file / 'events.db'}",
            code="DN708",
        )
    if not file.is_file():
        raise UsageError(
            f"--file {file}: there is no such file; that of `serve --durable` is {DEFAULT_FILE} by default",
            code="DN708",
        )
    if (owner := owner_of(file)) is not None:
        raise UsageError(
            f"--file {file}: process {owner} has it open; leave out --file, and ask that runtime",
            code="DN706",
        )
    found = cursors_of(file)
    if options.action == "list":
        return _show(found, SqliteBroker.name, str(file), options)
    broker = SqliteBroker(file, max_age=_FOR_EVER, max_bytes=sys.maxsize)  # a change drops no event
    EventBus(broker=broker)
    await broker.open("cursors")
    try:
        if options.action == "reset":
            await broker.reset(options.worker, _start(options))
        else:
            await broker.drop(options.worker)
    finally:
        await broker.close()
    return _tell(found, options)


def _start(options: argparse.Namespace) -> int:
    return parse_start(options.to, "--to")


def _tell(before: list[CursorInfo], options: argparse.Namespace) -> int:
    waited = sum(one.pending + sum(one.former.values()) for one in before if one.worker == options.worker)
    events = f"{waited:,} event{'s' * (waited != 1)} that waited for it"
    if options.action == "reset":
        is_skipped = waited and options.to == "now"
        done = f"begins at {options.to}" + (f", without {events}" if is_skipped else "")
    else:
        done = "is forgotten" + (f", with {events}" if waited else "")
    if options.json:
        print_json({"ok": True, "worker": options.worker, "waited": waited})
    else:
        print(printable(f"{options.worker} {done}"))
    return 0


def _show(found: list[CursorInfo], broker: str, file: str | None, options: argparse.Namespace) -> int:
    shown = [one for one in found if options.worker in (None, one.worker)]
    if options.json:
        print_json({"ok": True, "broker": broker, "file": file, "cursors": msgspec.to_builtins(shown)})
        return 0
    if file is None:
        print_line(
            "events are kept in memory, and no worker has a cursor; `serve --durable` keeps them in a file"
        )
        return 0
    print_line(f"events are kept in {file}")
    if not shown:
        print_line("no worker has a cursor" if options.worker is None else f"{options.worker} has no cursor")
    elif is_terminal():
        print_table([TITLES, *map(_row, shown)], less=("WHERE",))
    else:
        print("\n".join(printable(_line(one)) for one in shown))
    return 0


def _row(one: CursorInfo) -> list[str]:
    where = "here" if one.is_here else f"last here {one.seen_at}"
    waiting = f"{one.pending:,}{_former(one)}"
    return [one.worker, str(one.handled_to), waiting, where]


def _former(one: CursorInfo) -> str:
    """Return what waits of kinds that the worker names no more."""
    if not one.former:
        return ""
    kinds = [f"{count:,} of {kind}" for kind, count in [*one.former.items()][:KINDS_NAMED]]
    more = ["..."] * (len(one.former) > KINDS_NAMED)
    return f", and {', '.join(kinds + more)}, named no more"


def _line(one: CursorInfo) -> str:
    waiting = f"{one.pending:,} wait" if one.pending else "nothing waits"
    where = "here" if one.is_here else f"last here {one.seen_at}"
    return f"{one.worker}  handled up to {one.handled_to}, {waiting}{_former(one)}; {where}"
