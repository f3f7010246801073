"""The commands `restart`, `fire` and `panel`, and what all have in common that use a running runtime."""

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
from typing import Any, NamedTuple

import httpx

from dnworker.cli.choosing import Named, by_listener, by_workers, choose, several
from dnworker.cli.text import print_json
from dnworker.client.address import resolve_url, socket_of
from dnworker.client.client import RuntimeClient
from dnworker.client.http import HttpConnection
from dnworker.client.tls import client_context
from dnworker.client.tokens import is_meant_for, token_in, way_to_token
from dnworker.core.errors import CODE_HEADER, Invalid, UsageError
from dnworker.core.redirects import redirect_file
from dnworker.engine.running import running

Action = Callable[[RuntimeClient, argparse.Namespace], Coroutine[Any, Any, int]]


def add_restart(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `restart`."""
    add_address(parser)
    parser.add_argument("worker", nargs="+", metavar="CAPABILITY:WORKER")
    parser.add_argument("--force", action="store_true", help="also those that are running")
    parser.set_defaults(command=_checked_restart)


def add_fire(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `fire`."""
    add_address(parser)
    parser.add_argument("kind")
    parser.add_argument(
        "field", nargs="*", metavar="KEY=VALUE", help="of the payload; values are JSON or text"
    )
    parser.add_argument("--payload", metavar="JSON", help="the whole payload; - reads it from stdin")
    parser.add_argument("--session", metavar="ID", help="publish to this session")
    parser.set_defaults(command=_checked_fire)


def add_panel(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `panel`."""
    add_address(parser)
    parser.add_argument("--no-browser", action="store_true", help="print the address, good for 30 s")
    parser.set_defaults(command=with_client(_panel))


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


def with_client(action: Action, named: Named | None = None) -> Callable[[argparse.Namespace], int]:
    """Return a command that does something with the client of the runtime that is meant.

    Args:
        action: what it does.
        named: by what one of several runtimes is chosen; None where the user must name it.
    """

    def command(options: argparse.Namespace) -> int:
        try:
            return asyncio.run(_run(action, options, named))
        except KeyboardInterrupt:
            return 130
        except httpx.HTTPStatusError as exc:
            raise UsageError(_refusal(exc), code=exc.response.headers.get(CODE_HEADER)) from exc
        except httpx.TransportError as exc:
            raise UsageError(
                f"the runtime does not answer: {exc or type(exc).__name__}", code="DN903"
            ) from exc

    return command


def _refusal(exc: httpx.HTTPStatusError) -> str:
    if exc.response.status_code != 401 or "authorization" in exc.request.headers:
        return str(exc)
    url = exc.request.url
    return f"{exc}; {way_to_token(f'{url.scheme}://{url.netloc.decode()}')}"


async def _run(action: Action, options: argparse.Namespace, named: Named | None) -> int:
    if named is not None and not is_named(options) and len(here := running()) > 1:
        chosen = await choose(named, options, here, lambda one: _client_of(options, one.url))
        options = argparse.Namespace(**vars(options) | {"url": chosen.url})
    async with make_client(options) as client:
        return await action(client, options)


def is_named(options: argparse.Namespace) -> bool:
    """Return whether the command line or the environment says which runtime is meant."""
    return bool(options.url or os.environ.get("DREADNODE_RUNTIME_URL"))


def make_client(options: argparse.Namespace) -> RuntimeClient:
    """Return a client of the runtime that is meant.

    Raises:
        UsageError: as of `find_runtime` and `tls_of`.
    """
    found = find_runtime(options.url, options.token_file)
    return client_of(found, tls_of(found.url, options))


def _client_of(options: argparse.Namespace, url: str) -> RuntimeClient:
    return make_client(argparse.Namespace(**vars(options) | {"url": url}))


class Found(NamedTuple):
    """Where the runtime is that is meant, and its token; None for that of the environment, or none."""

    url: str
    token: str | None
    environment_token: bool
    """Whether the environment's token is meant for it."""


def client_of(found: Found, tls: ssl.SSLContext | None = None) -> RuntimeClient:
    """Return a client of a runtime; the environment's token goes to no stranger."""
    url, token, environment_token = found
    if environment_token or token:
        return RuntimeClient(url, auth_token=token, tls=tls)
    connection = HttpConnection(url, tls=tls, environment_token=False)
    return RuntimeClient(connection.server_url, connection=connection)


def find_runtime(url: str | None, token_file: Path | None) -> Found:
    """Return where the runtime is, and which token it gets.

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
        raise several(here)
    if here and here[0].waits_for_us:
        raise UsageError(
            f"{here[0].url} is the runtime of the notebook that runs this command, and its kernel waits for "
            "the command: run it in a terminal, or use a magic such as %worker",
            code="DN906",
        )
    file = token_file or (Path(here[0].token_file) if here and here[0].token_file else None)
    where = wanted or here[0].url
    return Found(where, None if file is None else token_in(file), bool(here) or is_meant_for(where))


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


def _checked_restart(options: argparse.Namespace) -> int:
    """Check the names before the runtime is asked."""
    for name in options.worker:
        if not all(name.partition(":")):
            raise UsageError(
                f"{name!r} is no worker; name it as capability:worker, as `dnworker ps` does", code="DN301"
            )
    return with_client(_restart, by_workers())(options)


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
    return with_client(_fire, by_listener())(options)


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
