"""Ports for servers that tests start, end and start again at the same one; `unused_tcp_port` gives them too."""

from __future__ import annotations

import itertools
import os
import socket

FIRST, OF_A_PROCESS, PROCESSES = 20_000, 1_000, 12
"""The system gives ports from 32768 on to whoever connects: one that was free a moment ago may be another's then."""

_numbers = itertools.count(os.getpid())


def free_port() -> int:
    """Return a port of loopback that nobody listens on, from a part that this process of pytest-xdist has alone.

    Raises:
        OSError: all of its ports are in use.
    """
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % PROCESSES
    for number in itertools.islice(_numbers, OF_A_PROCESS):
        port = FIRST + process * OF_A_PROCESS + number % OF_A_PROCESS
        with socket.socket() as probe:
            # As asyncio's servers do: connections that have ended hold no port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError(f"no port is free from {FIRST + process * OF_A_PROCESS} on")
