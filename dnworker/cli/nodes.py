"""`dnworker nodes`: the nodes that share a broker, what each of them holds, and who took what over."""

from __future__ import annotations

import argparse
import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.cli.lasting import Lasting
from dnworker.cli.remote import add_address, with_client
from dnworker.cli.tables import table_lines
from dnworker.cli.tail import say
from dnworker.cli.terminal import Screen, fitted
from dnworker.cli.text import print_json, printable
from dnworker.engine.node_records import HeldWorker, Move, NodeRow, members_here
from dnworker.engine.versions import SHOWN_DIGITS

if TYPE_CHECKING:
    from dnworker.client.client import RuntimeClient

POLL = 1.0
"""Seconds between two looks with `--watch`."""

STEPS_SHOWN = 10
WORKERS_SHOWN = 1_000

LESS = ("LABELS", "HOST", "VERSION", "PENDING", "LAG", "WAITING", "WORKERS")
LESS_OF_WORKERS = ("FENCE", "PENDING", "WAITING", "HANDLED", "FAILED")
"""The columns that a narrow terminal lacks, the first of them first."""

MOVES = {"joined": "{node} joined", "left": "{node} left", "gone": "{node} is gone", "back": "{node} is back"}
"""The steps of nodes in words."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `nodes`."""
    parser.add_argument("--watch", action="store_true", help="go on, and show what changes, until Ctrl-C")
    add_address(parser)
    parser.set_defaults(command=with_client(_nodes))


async def _nodes(client: RuntimeClient, options: argparse.Namespace) -> int:
    if not options.watch:
        answer = await _look(client)
        if options.json:
            print_json({"ok": True, **answer})
        else:
            print(_text(answer), flush=True)
        return 0
    lasting = Lasting(client, options, say)
    try:
        await _watch(lasting, options)
    finally:
        await lasting.close()
    return 0


async def _look(client: RuntimeClient) -> dict[str, Any]:
    answer: dict[str, Any] = await client.connection.request("GET", "/api/nodes")
    return answer


async def _watch(lasting: Lasting, options: argparse.Namespace) -> None:
    """Show each change, until cancelled."""
    screen = Screen()
    shown: dict[str, Any] | None = None
    while True:
        answer = await lasting.ask(_look)
        if not options.json:
            screen.show(_text(answer).split("\n"))
        elif (found := _without_ages(answer)) != shown:
            shown = found
            print_json({"ok": True, **answer})
        await asyncio.sleep(POLL)


def _without_ages(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without what is another at each look, though nothing has happened."""
    passing = ("heard_sec", "lag_ms")
    nodes = [{key: value for key, value in one.items() if key not in passing} for one in answer["nodes"]]
    return answer | {"nodes": nodes}


def _text(answer: dict[str, Any]) -> str:
    """Return what a terminal shows; lines of nodes, of workers, and of the timeline."""
    if not answer["is_shared"]:
        return _line(
            f"this runtime keeps its events by itself (broker {answer['broker']}) and is no node; "
            "`dnworker serve --broker nats://HOST --namespace NAME` shares them"
        )
    rows = msgspec.convert(answer["nodes"], list[NodeRow])
    moves = msgspec.convert(answer["timeline"], list[Move])
    blocks = [_nodes_text(rows, answer["more"]), *_problems(rows, answer["failure"]), _workers_text(rows)]
    blocks.append(_versions_text(rows))
    if moves:
        shown = moves[-STEPS_SHOWN:]
        blocks.append("\n".join(_line(f"{_clock(move.at)}  {_step(move)}") for move in reversed(shown)))
    return "\n\n".join(block for block in blocks if block)


def _line(text: str) -> str:
    """Return foreign text in the width of the terminal."""
    return "\n".join(line for one in printable(text).split("\n") for line in fitted(one))


def _nodes_text(rows: list[NodeRow], more: int) -> str:
    table = [["NODE", "STATE", "VERSION", "LABELS", "WORKERS", "WAITING", "PENDING", "LAG", "HOST"]]
    for row in rows:
        is_gone = row.state == "gone"
        numbers = [f"{row.held:,}", f"{row.backlog:,}", f"{row.pending:,}"]
        lag = "" if row.lag_ms is None else f"{row.lag_ms:g} ms"
        table.append(
            [
                f"{row.name} (here)" if row.is_here else row.name,
                _state(row),
                row.version,
                ",".join(row.labels) or "-",
                *(["-"] * 3 if is_gone else numbers),
                "-" if is_gone else lag or "-",
                f"{row.host}, process {row.pid}",
            ]
        )
    lines = table_lines(table, less=LESS)
    return "\n".join([*lines, *([_line(f"and {more:,} more")] if more else [])])


def _state(row: NodeRow) -> str:
    if row.state == "silent":
        return f"silent for {row.heard_sec or 0:.0f} s"
    if row.state == "up":
        return "up"
    if row.has_left and row.gone_at is not None:
        return f"left at {_clock(row.gone_at)}"
    if row.gone_at is not None:
        return f"gone since {_clock(row.gone_at)}"
    return f"gone, last seen {_clock(row.seen_at or row.since)}"


def _problems(rows: list[NodeRow], failure: str | None) -> list[str]:
    """Return what is wrong, one block of lines."""
    found = [] if failure is None else [f"the broker cannot be reached from here: {failure}"]
    for row in rows:
        if row.failure and not row.is_here:
            found.append(f"{row.name} could not reach the broker: {row.failure}")
        if row.clock_off_sec is not None:
            way = "ahead of" if row.clock_off_sec > 0 else "behind"
            found.append(f"the clock of {row.name} is {abs(row.clock_off_sec):.0f} s {way} the one here")
    return ["\n".join(map(_line, found))] if found else []


def _workers_text(rows: list[NodeRow]) -> str:
    held: list[tuple[HeldWorker, NodeRow]] = [
        (one, row) for row in rows if row.state != "gone" for one in row.workers
    ]
    held.sort(key=lambda pair: (pair[0].worker, pair[1].name))
    table = [["WORKER", "NODE", "STATE", "FENCE", "WAITING", "PENDING", "HANDLED", "FAILED"]]
    for one, row in held[:WORKERS_SHOWN]:
        fence = "-" if one.fence is None else str(one.fence)
        numbers = [f"{n:,}" for n in (one.backlog, one.pending, one.handled, one.failed)]
        table.append([_member(one, row), row.name, one.state, fence, *numbers])
    more = sum(row.held for row in rows if row.state != "gone") - len(table) + 1
    if len(table) == 1 and not more:
        return _line("no node holds a worker")
    lines = table_lines(table, less=LESS_OF_WORKERS)
    return "\n".join([*lines, *([f"and {more:,} more"] if more > 0 else [])])


def _member(one: HeldWorker, row: NodeRow) -> str:
    """Return the name of a worker; of a member, also how many of its worker's members its node has."""
    here = members_here(one, row.workers)
    return one.worker if here is None else f"{one.worker} ({here})"


def _versions_text(rows: list[NodeRow]) -> str:
    """Return the versions of capabilities; one line for all nodes that have the same."""
    found: dict[tuple[str, str, str, bool], list[str]] = {}
    for row in rows:
        for one in row.capabilities if row.state != "gone" else []:
            key = one.name, one.version, one.digest[:SHOWN_DIGITS], one.is_old
            found.setdefault(key, []).append(row.name)
    if not found:
        return ""
    table = [["CAPABILITY", "VERSION", "DIGEST", "NODES"]]
    for (name, version, digest, is_old), nodes in sorted(found.items())[:WORKERS_SHOWN]:
        table.append([name, f"{version} (old)" if is_old else version, digest, ", ".join(nodes)])
    return "\n".join(table_lines(table, less=("DIGEST",)))


def _step(move: Move) -> str:
    if move.worker is None:
        return MOVES[move.kind].format(node=move.node)
    fence = "" if move.fence is None else f", fence {move.fence}"
    if move.before is None:
        return f"{move.worker} started on {move.node}{fence}"
    how = "failed over" if move.kind == "failover" else "was handed over"
    return f"{move.worker} {how} from {move.before} to {move.node}{fence}"


def _clock(moment: float) -> str:
    """Return a time of day; with its date where that is not today's."""
    try:
        when = datetime.fromtimestamp(moment)
    except (ValueError, OverflowError, OSError):  # another node wrote it
        return "an impossible time"
    today = datetime.now().date()
    return when.strftime("%H:%M:%S" if when.date() == today else "%Y-%m-%d %H:%M:%S")
