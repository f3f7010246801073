"""`dnworker ps`: the workers of a running runtime, in which state they are, and what they have done."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

from dnworker.cli.lasting import Lasting
from dnworker.cli.remote import add_address, is_named, with_client
from dnworker.cli.tables import table_lines
from dnworker.cli.terminal import Screen, can_redraw, fitted, is_terminal
from dnworker.cli.text import print_json, printable
from dnworker.core.errors import DnworkerError, with_code
from dnworker.core.topology import SILENT
from dnworker.engine.running import Running, running

if TYPE_CHECKING:
    from dnworker.client.client import RuntimeClient

EVERY = 2.0
"""Seconds between two looks with `--watch`."""

LESS = ("RUNS AS", "SINCE", "HANDLED", "WAITING", "FAILED")
"""The columns that a narrow terminal lacks, the first of them first."""

NARROW = ("WORKER", "STATE", "RUNS AS", "WHY")
"""The columns of what is piped, unless more are asked for: programs may read them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `ps`."""
    parser.add_argument("--watch", action="store_true", help="go on, and show what changes, until Ctrl-C")
    parser.add_argument(
        "--wide",
        action="store_true",
        help="also where piped: since when, and how many events were handled, failed and wait",
    )
    add_address(parser)
    parser.set_defaults(command=_command)


def _command(options: argparse.Namespace) -> int:
    if not options.watch and not is_named(options) and len(here := running()) > 1:
        return _each(options, here)
    code = with_client(_watch if options.watch else _ps)(options)
    if code == 130 and options.watch:
        print("dnworker: interrupted", file=sys.stderr)
    return code


def _each(options: argparse.Namespace, here: list[Running]) -> int:
    """Show the workers of each runtime of this machine, below a line that says what it is."""
    answers, code = [], 0
    for one in here:
        asked = argparse.Namespace(**vars(options) | {"url": one.url})

        async def look(client: RuntimeClient, options: argparse.Namespace, one: Running = one) -> int:
            found = await _look(client)
            answers.append(_as_json(found) | _what(one))
            if not options.json:
                print("\n".join([printable(one.described), *_lines(found, options), ""]), flush=True)
            return 0

        try:
            code = max(code, with_client(look)(asked))
        except DnworkerError as exc:  # one that does not answer takes nothing from the others
            code = 1
            answers.append({"ok": False, "url": one.url, "error": with_code(exc)} | _what(one))
            if not options.json:
                print(printable(f"{one.described}: {with_code(exc)}\n"), flush=True)
        if code == 130:
            return code
    if options.json:
        print_json({"ok": code == 0, "runtimes": answers})
    return code


def _what(one: Running) -> dict[str, Any]:
    return {"is_notebook": one.is_notebook, "notebook": one.notebook, "directory": one.working_dir}


class _Found(NamedTuple):
    """What a runtime says of its workers."""

    url: str
    rows: list[dict[str, Any]]
    broken: list[dict[str, Any]]
    """Capabilities that could not be loaded."""
    counts: dict[str, dict[str, Any]]
    """By worker; empty where the runtime does not count."""


async def _look(client: RuntimeClient) -> _Found:
    info = await client.fetch_runtime_info()
    rows = []
    for capability in info.capabilities:
        for component in capability.components:
            if component.kind == "worker":
                try:
                    rows.append(await client.fetch_worker_detail(capability.name, component.name))
                except httpx.HTTPStatusError as exc:
                    if exc.response.status_code != httpx.codes.NOT_FOUND:
                        raise  # else it was taken away meanwhile
    broken = [
        {"capability": capability.name, "error": component.error}
        for capability in info.capabilities
        for component in capability.components
        if component.kind == "capability"
    ]
    return _Found(client.server_url, rows, broken, await _counts(client))


async def _counts(client: RuntimeClient) -> dict[str, dict[str, Any]]:
    try:
        answer = await client.connection.request("GET", "/api/history/workers")
    except httpx.HTTPStatusError as exc:
        if exc.response.status_code != httpx.codes.NOT_FOUND:
            raise
        return {}  # the reference has no such endpoint
    return {one["worker"]: one for one in answer["workers"]}


async def _ps(client: RuntimeClient, options: argparse.Namespace) -> int:
    found = await _look(client)
    known = next((one for one in running() if found.url in (one.url, *one.addresses)), None)
    if options.json:
        print_json(_as_json(found) | ({} if known is None else _what(known)))
    else:
        if known is not None and known.is_notebook and is_terminal():
            print(printable(known.described))
        print("\n".join(_lines(found, options)), flush=True)
    return 0


def _print_json(found: _Found) -> None:
    print_json(_as_json(found))


def _as_json(found: _Found) -> dict[str, Any]:
    return {"ok": True, "url": found.url, "workers": found.rows, "failed": found.broken}


async def _watch(client: RuntimeClient, options: argparse.Namespace) -> int:
    screen = Screen()
    lines: list[str] = []
    shown: object = None

    def say(text: str) -> None:
        if can_redraw() and not options.json:
            screen.show([*lines, *fitted(printable(f"({text})"))])
        else:
            print(printable(f"({text})"), file=sys.stderr, flush=True)

    lasting = Lasting(client, options, say)
    try:
        while True:
            found = await lasting.ask(_look)
            if not options.json:
                screen.show(lines := _lines(found, options))
            elif (state := [_steady(row) for row in found.rows]) != shown:
                shown = state
                _print_json(found)
            await asyncio.sleep(EVERY)
    finally:
        await lasting.close()


def _steady(row: dict[str, Any]) -> dict[str, Any]:
    """Return a worker's row without what changes though nothing has happened."""
    return {key: value for key, value in row.items() if key in ("qualified_name", "state", "error", "when")}


def _lines(found: _Found, options: argparse.Namespace) -> list[str]:
    """Return the table, and what could not be loaded."""
    has_all = options.wide or is_terminal()
    cells: dict[str, Callable[[dict[str, Any]], str]] = {
        "WORKER": lambda row: str(row["qualified_name"]),
        "STATE": lambda row: str(row["state"]),
        "RUNS AS": _runs_as,
        "SINCE": lambda row: _since(_count(row, "since")),
        "HANDLED": lambda row: _number(_count(row, "handled")),
        "FAILED": lambda row: _number(_count(row, "failed")),
        "WAITING": lambda row: _number(_count(row, "waiting")),
        "WHY": _why,
    }

    def _count(row: dict[str, Any], name: str) -> Any:
        return found.counts.get(row["qualified_name"], {}).get(name)

    titles = [title for title in cells if title in NARROW or (has_all and found.counts)]
    table = [titles, *([cells[title](row) for title in titles] for row in found.rows)]
    lines = table_lines(table, less=LESS)
    for one in found.broken:
        text = printable(f"{one['capability']} could not be loaded: {one['error']}")
        lines += [line for each in text.split("\n") for line in fitted(each)]
    return lines


def _runs_as(row: dict[str, Any]) -> str:
    process = row.get("process")
    return f"process {process['pid'] or '-'}" if process else "in-process"


def _why(row: dict[str, Any]) -> str:
    """Return why a worker does not run, or does not report, in one line."""
    why = row["error"] or (f"needs {', '.join(row['when'])}" if row["state"] == "gated_off" else "")
    why = why or row.get("standby") or ""
    if not why and row.get("reporting") == "none":
        why = f"{SILENT}: {row['why_not_reporting']}"
    lines = (why or "").strip().splitlines() or [""]
    return lines[0] if len(lines) == 1 else f"{lines[0]}: {lines[-1]}"  # its last line


def _number(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def _since(moment: str | None) -> str:
    """Return since when: for people how long, for programs the time."""
    if moment is None:
        return "-"
    when = datetime.fromisoformat(moment)
    if not is_terminal():
        return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    seconds = max(0, int((datetime.now(UTC) - when).total_seconds()))  # another machine's clock may be ahead
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
