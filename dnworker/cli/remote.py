"""The commands that use a running runtime: `ps`, `restart`, `fire`, `panel`, `tail`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import sys
import webbrowser
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx

from dnworker.cli.running import running
from dnworker.cli.tables import print_table
from dnworker.cli.text import print_json, printable
from dnworker.client.address import resolve_url, socket_of
from dnworker.client.client import RuntimeClient
from dnworker.client.tls import client_context
from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import CODE_HEADER, Invalid, UsageError
from dnworker.core.models import LogRecord
from dnworker.core.redirects import redirect_file
from dnworker.core.text import clip
from dnworker.core.topology import SILENT

LOG_POLL = 0.5
"""Seconds between two requests for a log that had nothing new."""

LONGEST_PAYLOAD = 500
"""Characters of a payload that `tail` shows of an event."""

Action = Callable[[RuntimeClient, argparse.Namespace], Coroutine[Any, Any, int]]


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Declare the commands."""
    there = argparse.ArgumentParser(add_help=False)
    add_address(there)

    ps = commands.add_parser("ps", parents=[common, there], help="show the workers of a runtime")
    ps.set_defaults(command=with_client(_ps))

    restart = commands.add_parser("restart", parents=[common, there], help="start workers again that stopped")
    restart.add_argument("worker", nargs="+", metavar="CAPABILITY:WORKER")
    restart.add_argument("--force", action="store_true", help="also those that are running")
    restart.set_defaults(command=_checked_restart)

    fire = commands.add_parser("fire", parents=[common, there], help="publish an event")
    fire.add_argument("kind")
    fire.add_argument("field", nargs="*", metavar="KEY=VALUE", help="of the payload; values are JSON or text")
    fire.add_argument("--payload", metavar="JSON", help="the whole payload; - reads it from stdin")
    fire.add_argument("--session", metavar="ID", help="publish to this session")
    fire.set_defaults(command=_checked_fire)

    panel = commands.add_parser("panel", parents=[common, there], help="open the panel in a browser")
    panel.add_argument("--no-browser", action="store_true", help="print the address, good for 30 s")
    panel.set_defaults(command=with_client(_panel))

    tail = commands.add_parser("tail", parents=[common, there], help="show events, or the log, as they come")
    tail.add_argument("kind", nargs="*", help="only these kinds")
    tail.add_argument("--session", metavar="ID", help="only this session's")
    tail.add_argument("--logs", action="store_true", help="show the log instead of the events")
    tail.add_argument("--count", type=_positive, metavar="N", help="end after this many")
    tail.set_defaults(command=with_client(_tail))


def add_address(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that say which runtime is meant."""
    parser.add_argument(
        "--url",
        help="of the runtime, or unix:PATH (default: DREADNODE_RUNTIME_URL, or the one that runs here)",
    )
    parser.add_argument("--token-file", type=Path, help="of its bearer token")
    add_tls_arguments(parser)


def add_tls_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments for the certificates of a runtime at an https URL."""
    parser.add_argument(
        "--ca",
        type=Path,
        metavar="FILE",
        help="of an https URL: the authorities that count, PEM (default: DNWORKER_CA, or the system's)",
    )
    parser.add_argument(
        "--client-cert",
        type=Path,
        metavar="FILE",
        help="the certificate to show there (default: DNWORKER_CLIENT_CERT)",
    )
    parser.add_argument(
        "--client-key",
        type=Path,
        metavar="FILE",
        help="its key (default: DNWORKER_CLIENT_KEY, or in the same file)",
    )


def tls_of(url: str, options: argparse.Namespace) -> ssl.SSLContext | None:
    """Return how a command checks the certificate of a runtime; None where its URL has none.

    Raises:
        UsageError: a file cannot be used, or is given for a URL without TLS.
    """
    if url.startswith("https:"):
        return client_context(options.ca, options.client_cert, options.client_key)
    for option in ("ca", "client_cert", "client_key"):
        if getattr(options, option) is not None:
            name = option.replace("_", "-")
            raise UsageError(f"--{name} is for an https URL, and this is {url}; give --url", code="DN938")
    return None


def _positive(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")


def with_client(action: Action) -> Callable[[argparse.Namespace], int]:
    """Return a command that does something with the client of the runtime that is meant."""

    def command(options: argparse.Namespace) -> int:
        try:
            return asyncio.run(_run(action, options))
        except KeyboardInterrupt:
            return 130
        except httpx.HTTPStatusError as exc:
            raise UsageError(str(exc), code=exc.response.headers.get(CODE_HEADER)) from exc
        except httpx.TransportError as exc:
            raise UsageError(
                f"the runtime does not answer: {exc or type(exc).__name__}", code="DN903"
            ) from exc

    return command


async def _run(action: Action, options: argparse.Namespace) -> int:
    async with make_client(options) as client:
        return await action(client, options)


def make_client(options: argparse.Namespace) -> RuntimeClient:
    """Return a client of the runtime that is meant.

    Raises:
        UsageError: as of `find_runtime` and `tls_of`.
    """
    url, token = find_runtime(options.url, options.token_file)
    return RuntimeClient(url, auth_token=token, tls=tls_of(url, options))


def find_runtime(url: str | None, token_file: Path | None) -> tuple[str, str | None]:
    """Return where the runtime is and its token, None for that of the environment.

    Raises:
        UsageError: several run here and none was named, what was named is no address, or the token's file
            cannot be read.
    """
    found = running()
    named = url or os.environ.get("DREADNODE_RUNTIME_URL")
    try:
        wanted = resolve_url(url) if named or not found else None
    except Invalid as exc:
        raise UsageError(str(exc).replace("server_url", "--url"), code="DN906") from exc
    here = [one for one in found if wanted is None or wanted in (one.url, *one.addresses)]
    if wanted is None and len(here) > 1:
        listed = "; ".join(f"{one.url} (in {one.working_dir})" for one in here)
        raise UsageError(f"several runtimes run here; name one with --url: {listed}", code="DN906")
    file = token_file or (Path(here[0].token_file) if here and here[0].token_file else None)
    if file is None:
        return wanted or here[0].url, None
    try:
        return wanted or here[0].url, file.read_text(encoding="utf-8").strip()
    except OSError as exc:
        raise UsageError(f"token file {file} cannot be read: {exc.strerror}", code="DN907") from exc


# -- the commands --------------------------------------------------------------------------------------


async def _panel(client: RuntimeClient, options: argparse.Namespace) -> int:
    """Open the page with a ticket in its fragment, which no server and no log gets to see."""
    url = _url_for_browser(client.server_url)
    answer = await client.connection.request("POST", "/api/ws/ticket")
    address = f"{url}/panel#ticket={answer['ticket']}"
    opened = not options.no_browser and await asyncio.to_thread(
        webbrowser.open, redirect_file(address).as_uri()
    )
    if options.json:
        print_json({"ok": True, "url": address, "opened": opened})
    elif opened:
        print(f"the panel of {client.server_url} is open in the browser")
    else:
        print(address)
    return 0


def _url_for_browser(url: str) -> str:
    """Return where a browser finds the runtime; beside its unix socket it has a port of loopback.

    Raises:
        UsageError: it is only known by a socket.
    """
    path = socket_of(url)
    if path is None:
        return url
    for one in running():
        if url in one.addresses and one.url:
            return one.url
    name = path.replace("\0", "ABSTRACT-CONNECT:", 1) if path.startswith("\0") else f"UNIX-CONNECT:{path}"
    raise UsageError(
        f"a browser opens no {url}: give the --url of the proxy before it, or of a port that leads there: "
        f"socat TCP-LISTEN:8788,bind=127.0.0.1,fork {name}",
        code="DN939",
    )


async def _ps(client: RuntimeClient, options: argparse.Namespace) -> int:
    info = await client.fetch_runtime_info()
    rows = [
        await client.fetch_worker_detail(capability.name, component.name)
        for capability in info.capabilities
        for component in capability.components
        if component.kind == "worker"
    ]
    broken = [
        {"capability": capability.name, "error": component.error}
        for capability in info.capabilities
        for component in capability.components
        if component.kind == "capability"
    ]
    if options.json:
        print_json({"ok": True, "url": client.server_url, "workers": rows, "failed": broken})
        return 0
    table = [["WORKER", "STATE", "RUNS AS", "WHY"]]
    for row in rows:
        process = row.get("process")
        runs_as = f"process {process['pid'] or '-'}" if process else "in-process"
        why = row["error"] or (f"needs {', '.join(row['when'])}" if row["state"] == "gated_off" else "")
        why = why or row.get("standby") or ""
        if not why and row.get("reporting") == "none":
            why = f"{SILENT}: {row['why_not_reporting']}"
        lines = (why or "").strip().splitlines() or [""]
        shown = lines[0] if len(lines) == 1 else f"{lines[0]}: {lines[-1]}"  # its last line
        table.append([row["qualified_name"], row["state"], runs_as, shown])
    print_table(table)
    for one in broken:
        print(printable(f"{one['capability']} could not be loaded: {one['error']}"))
    return 0


def _checked_restart(options: argparse.Namespace) -> int:
    """Check the names before the runtime is asked."""
    for name in options.worker:
        if not all(name.partition(":")):
            raise UsageError(
                f"{name!r} is no worker; name it as capability:worker, as `dnworker ps` does", code="DN301"
            )
    return with_client(_restart)(options)


async def _restart(client: RuntimeClient, options: argparse.Namespace) -> int:
    restarted: list[dict[str, Any]] = []
    for name in options.worker:
        capability, _, worker = name.partition(":")
        restarted.append(await client.restart_worker(capability, worker, force=options.force))
    has_failed = any(one["state"] == "error" for one in restarted)
    if options.json:
        print_json({"ok": not has_failed, "workers": restarted})
    else:
        for one in restarted:
            what = (
                "was restarted"
                if one.get("restarted")
                else "was running, and is left alone (--force restarts it)"
            )
            print(f"{one['qualified_name']} {what}; it is {one['state']}")
    return 1 if has_failed else 0


def _checked_fire(options: argparse.Namespace) -> int:
    """Read the payload before the runtime is asked; a field in the place of the kind is named."""
    if "=" in options.kind:
        kind = next((word for word in options.field if "=" not in word), "KIND")
        raise UsageError(
            f"{options.kind!r} is a field, and the kind comes first: dnworker fire {kind} {options.kind}",
            code="DN205",
        )
    options.fields = _payload(options)
    return with_client(_fire)(options)


async def _fire(client: RuntimeClient, options: argparse.Namespace) -> int:
    answer = await client.publish(options.kind, options.fields, session_id=options.session)
    text = f"event {answer['event_id']}, seq {answer['seq']}"
    print(json.dumps({"ok": True, **answer}) if options.json else text)
    return 0


def _payload(options: argparse.Namespace) -> dict[str, Any]:
    payload: dict[str, Any] = {}
    if options.payload is not None:
        text = sys.stdin.read() if options.payload == "-" else options.payload
        try:
            payload = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise UsageError(f"--payload is no JSON: {exc}", code="DN205") from exc
        if not isinstance(payload, dict):
            raise UsageError('--payload must be a JSON object, as in \'{"turn_id": "t1"}\'', code="DN205")
    for field in options.field:
        key, equals, value = field.partition("=")
        if not equals or not key:
            way_out = f"; --payload {field!r} takes it whole" if field.startswith("{") else ""
            raise UsageError(f"{field!r} is not of the form key=value{way_out}", code="DN205")
        try:
            payload[key] = json.loads(value)
        except (ValueError, RecursionError):
            payload[key] = value
    return payload


async def _tail(client: RuntimeClient, options: argparse.Namespace) -> int:
    await (_tail_logs if options.logs else _tail_events)(client, options)
    return 0


async def _tail_events(client: RuntimeClient, options: argparse.Namespace) -> None:
    shown = 0
    async for event in client.subscribe(*options.kind):
        if options.session is not None and event.session_id != options.session:
            continue
        print(_as_json(event) if options.json else _as_line(event), flush=True)
        shown += 1
        if shown == options.count:
            return


async def _tail_logs(client: RuntimeClient, options: argparse.Namespace) -> None:
    after: int | None = None
    instance: str | None = None
    shown = 0
    while True:
        page = await client.query_logs(after=after, instance_id=instance, limit=200)
        if page.gap or page.reset:
            print("(the log was cut here)", file=sys.stderr)
        for record in page.entries:
            print(_record(record, as_json=options.json), flush=True)
            shown += 1
            if shown == options.count:
                return
        after, instance = page.next_cursor, page.instance_id
        if not page.entries:
            await asyncio.sleep(LOG_POLL)


def _record(record: LogRecord, *, as_json: bool) -> str:
    import msgspec

    if as_json:
        return msgspec.json.encode(record).decode()
    return printable(f"{record.timestamp[11:23]} {record.level:<8} {record.source}: {record.message}")


def _as_line(event: EventEnvelope) -> str:
    scope = f" [{printable(event.session_id)}]" if event.session_id else ""
    payload = clip(json.dumps(event.payload, ensure_ascii=False), LONGEST_PAYLOAD)
    return f"{event.timestamp:%H:%M:%S} #{event.seq} {printable(event.kind)}{scope} {printable(payload)}"


def _as_json(event: EventEnvelope) -> str:
    from dnworker.core.envelope import encode

    return encode(event).decode()
