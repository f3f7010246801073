"""The options of `dnworker serve` that say where it listens, and whom it believes."""

from __future__ import annotations

import argparse
import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dnworker.cli.mcp_options import add_mcp_arguments
from dnworker.core.errors import UsageError

if TYPE_CHECKING:
    from dnworker.runtime import Runtime
    from dnworker.server.listening import Listening

FIRST_INHERITED = 3
"""The first file descriptor that a service manager passes (sd_listen_fds(3))."""


def add_listen_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    parser.add_argument(
        "--uds",
        type=Path,
        metavar="PATH",
        help="listen on this unix socket, in the place of --host and --port",
    )
    parser.add_argument(
        "--uds-mode", metavar="MODE", help="of the socket's file, such as 0660 (default: 0600)"
    )
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="speak TLS with this certificate, PEM")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its key (default: in the same file)")
    parser.add_argument(
        "--tls-client-ca", type=Path, metavar="FILE", help="clients need a certificate of these authorities"
    )
    parser.add_argument(
        "--trusted-proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="take X-Forwarded-* headers from this address or network, or from the peer of the socket: unix",
    )
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="serve requests to this name too, such as that of a proxy; may be repeated",
    )
    add_mcp_arguments(parser)


def mode_of(options: argparse.Namespace) -> int | None:
    """Return the mode of the socket's file; None where none is given.

    Raises:
        UsageError: it is no mode.
    """
    if options.uds_mode is None:
        return None
    try:
        return int(options.uds_mode, 8)
    except ValueError as exc:
        raise UsageError(
            f"--uds-mode {options.uds_mode!r} is no mode; write one such as 0660", code="DN925"
        ) from exc


def listening_of(options: argparse.Namespace) -> Listening:
    """Return where the options say to listen.

    Raises:
        UsageError: they do not go together, or one is no port, path, mode, address or name.
    """
    from dnworker.server.listening import make_listening

    return make_listening(
        options.host,
        options.port,
        uds=options.uds,
        uds_mode=mode_of(options),
        tls_cert=options.tls_cert,
        tls_key=options.tls_key,
        tls_client_ca=options.tls_client_ca,
        trusted_proxies=options.trusted_proxy,
        allowed_hosts=options.allowed_host,
    )


def check_files(listening: Listening) -> None:
    """Check the files of TLS, and what is at the path of a unix socket.

    The socket's directory need not be there: a service manager may make it right before the start.

    Raises:
        UsageError: a file cannot be used.
    """
    from dnworker.server.bindings import check_socket_path
    from dnworker.server.tls import make_context

    if listening.tls is not None:
        make_context(listening.tls)
    if listening.uds is not None:
        check_socket_path(listening.uds)


def use_inherited(runtime: Runtime, environ: MutableMapping[str, str] = os.environ) -> None:
    """Have a runtime listen on the sockets that a service manager passed to this process, if it did."""
    if runtime.listening is not None and (found := inherited_sockets(environ, os.getpid())):
        runtime.listening = replace(runtime.listening, inherited=found)


def inherited_sockets(environ: MutableMapping[str, str], pid: int) -> tuple[int, ...]:
    """Return the file descriptors that a service manager passed to this process (sd_listen_fds(3)).

    The variables are taken out: no process of ours takes the sockets for its own.

    Raises:
        UsageError: the number of them is none.
    """
    given = {name: environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    if given["LISTEN_PID"] != str(pid):
        return ()
    text = given["LISTEN_FDS"]
    if not text.isdecimal() or not 0 < int(text) <= 64:
        raise UsageError(f"LISTEN_FDS is {text[:20]!r}, and not the number of sockets, 1 to 64", code="DN929")
    return tuple(range(FIRST_INHERITED, FIRST_INHERITED + int(text)))
