"""`dnworker probe`: asks a runtime whether it is there, or ready; for health checks of containers.

It imports as little as it can, for it is started every few seconds.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import socket
import ssl
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any
from urllib.parse import urlencode, urlsplit

from dnworker.cli.text import NearParser, printable
from dnworker.client.address import base_of, resolve_url, socket_of
from dnworker.client.tls import client_context
from dnworker.client.unreachable import unreachable
from dnworker.core.errors import Invalid, UsageError, with_code

DEFAULT_URL = "http://127.0.0.1:8787"
"""Where `serve` listens by default."""

LONGEST_ANSWER = 65_536
"""Bytes of an answer that are read."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `probe`."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--ready", action="store_true", help="whether all is loaded and runs (the default)")
    what.add_argument("--live", action="store_true", help="whether it answers at all")
    parser.add_argument(
        "--worker",
        action="append",
        default=[],
        metavar="all|CAP:WORKER",
        help="with --ready: whether this worker runs, too, or none starts or is in error; may be repeated",
    )
    parser.add_argument(
        "--url",
        help=f"of the runtime, or unix:PATH (default: DREADNODE_RUNTIME_URL, or {DEFAULT_URL})",
    )
    parser.add_argument("--ca", metavar="FILE", help="the authorities of an https URL (default: DNWORKER_CA)")
    parser.add_argument(
        "--client-cert",
        metavar="FILE",
        help="the certificate to show there (default: DNWORKER_CLIENT_CERT)",
    )
    parser.add_argument(
        "--client-key",
        metavar="FILE",
        help="its key (default: DNWORKER_CLIENT_KEY, or in the same file)",
    )
    parser.add_argument("--no-verify", action="store_true", help="take any certificate of an https URL")
    parser.add_argument(
        "--timeout", type=float, default=5.0, metavar="SECONDS", help="for all of it (default: %(default)g)"
    )
    parser.set_defaults(command=probe)


def main(arguments: Sequence[str]) -> int:
    """Run the command without the others; wrong use ends with code 2."""
    parser = NearParser(
        prog="dnworker probe",
        description="Ask a runtime whether it is there and ready, as for a health check.",
    )
    parser.add_argument("--json", action="store_true", help="answer in JSON")
    add_arguments(parser)
    options = parser.parse_args(arguments)
    try:
        return probe(options)
    except (UsageError, OSError) as exc:  # OSError: of standard output, as on a full disk
        print(f"dnworker: {printable(with_code(exc))}", file=sys.stderr)
        return 1


def probe(options: argparse.Namespace) -> int:
    """Ask once, print one line, and return 0 where the answer is yes, else 1.

    Raises:
        UsageError: the address or the time is none.
    """
    if not 0 < options.timeout <= 3600:
        raise UsageError(f"--timeout is {options.timeout:g}; it takes up to 3600 seconds", code="DN930")
    try:
        url = resolve_url(options.url)
    except Invalid as exc:
        raise UsageError(str(exc).replace("server_url", "--url"), code="DN906") from exc
    path = "/api/health" if options.live else "/api/ready"
    if options.worker and not options.live:
        path += "?" + urlencode([("workers", name) for name in options.worker])
    connection = _connection(url, options)
    try:
        with _within(options.timeout):
            status, report = _ask(connection, urlsplit(base_of(url)).path + path)
    except (OSError, http.client.HTTPException) as exc:
        return _tell(options, is_good=False, text=str(unreachable(url, exc)), report={})
    finally:
        connection.close()
    if "stage" not in report:
        text = f"{url} answered {status}; is a runtime there?"
        return _tell(options, is_good=False, text=text, report=report)
    if options.live:
        return _tell(options, is_good=status == 200, text=f"live{_but(report)}", report=report)
    is_ready = status == 200
    text = f"ready{_but(report)}" if is_ready else _why(report)
    return _tell(options, is_good=is_ready, text=text, report=report)


def _connection(url: str, options: argparse.Namespace) -> http.client.HTTPConnection:
    """Return what asks at a URL; it connects later.

    Raises:
        UsageError: a file of TLS cannot be used.
    """
    if (path := socket_of(url)) is not None:
        return _UnixConnection(path)
    parts = urlsplit(url)
    if parts.scheme == "http":
        return http.client.HTTPConnection(parts.hostname or "", parts.port)
    context = client_context(options.ca, options.client_cert, options.client_key)
    if options.no_verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(parts.hostname or "", parts.port, context=context)


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """End what the body does after so many seconds, however slowly an answer comes.

    Raises:
        TimeoutError: the time is up.
    """

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no answer within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _ask(connection: http.client.HTTPConnection, path: str) -> tuple[int, dict[str, Any]]:
    """Return the status of an answer, and its body where that is an object of JSON."""
    connection.request("GET", path, headers={"Connection": "close"})
    answer = connection.getresponse()
    try:
        report = json.loads(answer.read(LONGEST_ANSWER))
    except (ValueError, RecursionError):
        report = None
    return answer.status, report if isinstance(report, dict) else {}


def _but(report: dict[str, Any]) -> str:
    """Return what is to be said of a runtime that is there and can keep no event; empty for any other."""
    if report.get("status") != "degraded":
        return ""
    return ", but what keeps its events accepts none now: its log says why"


def _why(report: dict[str, Any]) -> str:
    """Return why a runtime is not ready, in a line."""
    if report["stage"] != "ready":
        return f"not ready: the runtime is {report['stage']}"
    workers = report.get("workers")
    if isinstance(workers, dict) and workers:
        return "not ready: " + ", ".join(f"{name} is {why}" for name, why in workers.items())
    return "not ready: a worker starts or is in error"


def _tell(options: argparse.Namespace, *, is_good: bool, text: str, report: dict[str, Any]) -> int:
    line = printable(text).replace("\n", " ")
    if options.json:
        said = {"ok": is_good, "says": line, "stage": report.get("stage"), "status": report.get("status")}
        print(json.dumps(said), flush=True)
    else:
        print(line, flush=True)
    return 0 if is_good else 1
