"""`dnworker trace`: what an event has caused in a running runtime, as a tree."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from dnworker.cli.remote import add_address, with_client
from dnworker.cli.terminal import fitted, is_coloured, is_terminal, width
from dnworker.cli.text import print_json, printable
from dnworker.client.connection import in_path
from dnworker.events.trace_rows import BAR_WIDTH, Row, in_colours, lines_of

if TYPE_CHECKING:
    from dnworker.client.client import RuntimeClient


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `trace`."""
    parser.add_argument(
        "event",
        nargs="?",
        default="last",
        metavar="EVENT",
        help="its id, the beginning of that, its number such as 59, `last` or `last-failed` (default: last)",
    )
    parser.add_argument("--payload", action="store_true", help="show the payloads, too")
    parser.add_argument("--mermaid", action="store_true", help="print a sequence diagram, as Mermaid has it")
    add_address(parser)
    parser.set_defaults(command=with_client(_trace))


async def _trace(client: RuntimeClient, options: argparse.Namespace) -> int:
    query = {"payload": str(options.payload).lower(), "mermaid": str(options.mermaid).lower()}
    found: dict[str, Any] = await client.connection.request(
        "GET", f"/api/history/events/{in_path(options.event.removeprefix('#'))}/trace", query=query
    )
    if options.json:
        print_json({"ok": True, **found})
    elif options.mermaid:
        print(printable(found["mermaid"]))
    else:
        print("\n".join(_lines(found)))
    return 0


def _lines(found: dict[str, Any]) -> list[str]:
    """Return the tree, the payloads, and what was left out."""
    rows = [
        Row(
            depth=one["depth"],
            category=one["category"],
            text=printable(one["text"]),
            outcome=one.get("outcome", "ok"),
            bar=None if one.get("bar") is None else (one["bar"][0], one["bar"][1]),
        )
        for one in found["rows"]
    ]
    lines = lines_of([_fitting(row) for row in rows], _painted)
    for event in found["events"]:
        if "payload" in event:
            text = json.dumps(event["payload"], indent=2, ensure_ascii=False)
            lines += _fitted(f"payload of {event['kind']} #{event['seq']}:\n{text}")
    return [*lines, *(line for text in found.get("cut", ()) for line in _fitted(f"({text})"))]


def _fitted(text: str) -> list[str]:
    return [line for one in printable(text).split("\n") for line in fitted(one)]


def _fitting(row: Row) -> Row:
    """Return a row without its bar where a terminal has no room for both."""
    if row.bar is None or not is_terminal():
        return row
    room = width() - BAR_WIDTH - 2 - 2 * row.depth - len("x ")
    return row if row.text.isascii() and len(row.text) <= room else replace(row, bar=None)


def _painted(row: Row, line: str) -> str:
    """Return the lines of a row, in colours where they are wanted."""
    lines = [piece for one in line.split("\n") for piece in fitted(one)]
    return "\n".join(in_colours(row, one) for one in lines) if is_coloured() else "\n".join(lines)
