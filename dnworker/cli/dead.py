"""`dnworker dead`: the dead letters of a running runtime: what workers could not handle, and gave up."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from dnworker.cli.choosing import by_dead_letter
from dnworker.cli.remote import add_address, with_client
from dnworker.cli.tables import print_table
from dnworker.cli.terminal import is_terminal, print_line
from dnworker.cli.text import print_json, printable
from dnworker.client.connection import in_path
from dnworker.core.errors import RuntimeUnavailable, UsageError, code_of
from dnworker.engine.dead_letters import Summary, heading

if TYPE_CHECKING:
    from dnworker.client.client import RuntimeClient


TITLES = ["#", "ID", "KIND", "WORKER", "HANDLERS", "WHY", "TRIES", "ERROR"]

_HINT = "such as 12 for #12, for # begins a comment in a shell"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `dead`."""
    parser.add_argument("action", choices=("list", "show", "retry", "drop"), help="what to do")
    parser.add_argument("id", nargs="?", metavar="ID", help="the event's id, its first digits, or its SEQ")
    parser.add_argument("--all", action="store_true", help="with retry and drop: every dead letter")
    parser.add_argument("--worker", metavar="CAPABILITY:WORKER", help="those of one worker alone")
    add_address(parser)
    parser.set_defaults(command=dead)


def dead(options: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    action, named = options.action, options.id is not None
    if action == "list" and (named or options.all):
        raise UsageError("dead list takes no ID; `dnworker dead show ID` shows one", code="DN319")
    if action == "show" and (options.all or not named):
        raise UsageError(
            f"dead show: name one dead letter by its ID, {_HINT}; `dnworker dead list` shows them",
            code="DN319",
        )
    if action in ("retry", "drop") and named == options.all:
        raise UsageError(
            f"dead {action}: name one dead letter by its ID, {_HINT}; or take every one by --all",
            code="DN319",
        )
    try:
        return with_client(_dead, by_dead_letter())(options)
    except RuntimeUnavailable as exc:
        raise UsageError(
            f"{exc}; `dnworker serve --durable FILE` shows those that a file keeps",
            code=code_of(exc) or "DN903",
        ) from exc


async def _dead(client: RuntimeClient, options: argparse.Namespace) -> int:
    match options.action:
        case "list":
            return _show_all(await _list(client, options), options)
        case "show":
            return await _show(client, options)
        case "retry":
            return await _retry(client, options)
    path, every = ("", {"all": True}) if options.all else (f"/{in_path(options.id)}", {})
    query = _query(options) | every
    answer = await client.connection.request("DELETE", f"/api/dead-letters{path}", query=query)
    return _tell(options, f"{_count(answer['dropped'])} dropped", answer)


async def _list(client: RuntimeClient, options: argparse.Namespace) -> dict[str, Any]:
    answer: dict[str, Any] = await client.connection.request(
        "GET", "/api/dead-letters", query=_query(options)
    )
    return answer


async def _all(client: RuntimeClient, options: argparse.Namespace) -> list[Summary]:
    return _letters(await _list(client, options))


def _letters(answer: dict[str, Any]) -> list[Summary]:
    return msgspec.convert(answer["dead_letters"], list[Summary])


async def _show(client: RuntimeClient, options: argparse.Namespace) -> int:
    path = f"/api/dead-letters/{in_path(options.id)}"
    letter = await client.connection.request("GET", path, query=_query(options))
    if options.json:
        print_json({"ok": True, **letter})
        return 0
    event = letter["event"]
    print_line(f"{event['kind']}  #{event['seq']}  {event['event_id']}  for {letter['worker']}")
    print_line(f"payload: {msgspec.json.encode(event['payload']).decode()}")
    for one in letter["handlers"]:
        tries = f"{one['attempts']} attempt{'s' if one['attempts'] != 1 else ''}"
        print_line(f"{one['handler']} failed, {letter['why']} after {tries}, last at {one['failed_at']}")
        print_line("\n".join(f"  {line}" for line in one["traceback"]))
    return 0


async def _retry(client: RuntimeClient, options: argparse.Namespace) -> int:
    """Have one delivered again, or all; those that cannot be are said, and stay."""
    if not options.all:
        path = f"/api/dead-letters/{in_path(options.id)}/retry"
        answer = await client.connection.request("POST", path, query=_query(options))
        return _tell(options, f"delivered again as #{answer['seq']}, id {answer['event_id']}", answer)
    done, failed = list[dict[str, Any]](), list[str]()
    for one in reversed(await _all(client, options)):
        path = f"/api/dead-letters/{one.id}/retry"
        try:
            done.append(await client.connection.request("POST", path, query={"worker": one.worker}))
        except httpx.HTTPStatusError as exc:
            failed.append(f"{one.id}: {exc}")
    text = "\n".join([f"{_count(len(done))} delivered again", *failed])
    _tell(options, text, {"retried": done, "failed": failed}, is_ok=not failed)
    return 1 if failed else 0


def _query(options: argparse.Namespace) -> dict[str, Any]:
    return {} if options.worker is None else {"worker": options.worker}


def _count(number: int) -> str:
    return f"{number:,} dead letter{' is' if number == 1 else 's are'}"


def _tell(options: argparse.Namespace, text: str, answer: dict[str, Any], *, is_ok: bool = True) -> int:
    if options.json:
        print_json({"ok": is_ok, **answer})
    else:
        print_line(text)
    return 0


def _show_all(answer: dict[str, Any], options: argparse.Namespace) -> int:
    if options.json:
        print_json({"ok": True, **answer})
        return 0
    found = _letters(answer)
    if not found:
        print("there is no dead letter" + (f" of {options.worker}" if options.worker else ""))
    if found and is_terminal():
        print_table([TITLES, *map(_row, found)], less=("ID", "TRIES", "WHY", "HANDLERS"))
    else:
        for one in found:
            print(printable(heading(one)))
    for worker, why in answer.get("not_retried", {}).items():
        print_line(f"{worker}: {why}")
    return 0


def _row(one: Summary) -> list[str]:
    handlers = ", ".join(one.handlers)
    return [f"#{one.seq}", one.id[:8], one.kind, one.worker, handlers, one.why, str(one.attempts), one.error]
