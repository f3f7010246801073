"""One or several NATS servers while a block runs, for `make cluster`, benchmarks and tests."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dnworker.testing.nats_server import NatsServer

READY_WITHIN = 15.0
"""Seconds in which a server must have started."""


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody listens on."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@contextmanager
def nats_server(
    directory: Path, *, config: str | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[NatsServer]:
    """Run one server while the block runs.

    Args:
        directory: where its files are.
        config: lines of its configuration, that of JetStream among them; by default that is on.
        environment: variables that the configuration names.
    """
    server = NatsServer(directory, config=config or "", has_jetstream=config is None, environment=environment)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def nats_servers(directory: Path, count: int, *, config: str = "") -> Iterator[list[NatsServer]]:
    """Run a cluster of so many servers while the block runs; it has a leader when the block begins.

    Args:
        config: lines for the configuration of each, beside ports, JetStream and routes.
    """
    routes = free_ports(2 * count)
    between = ", ".join(json.dumps(f"nats://127.0.0.1:{port}") for port in routes[count:])
    servers = []
    for index in range(count):
        place = directory / f"nats-{index + 1}"
        lines = f"server_name: n{index + 1}\n{config}\n"
        if count > 1:
            listen = f"127.0.0.1:{routes[count + index]}"
            lines += f'cluster {{ name: loopback, listen: "{listen}", routes: [{between}] }}\n'
        servers.append(NatsServer(place, port=routes[index], config=lines))
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.stop)
            server.start()
        _await_leader(servers)
        yield servers


def _await_leader(servers: list[NatsServer]) -> None:
    """Return once one of the servers has said that JetStream has a leader; one alone needs none."""
    until = time.monotonic() + READY_WITHIN
    while len(servers) > 1:
        logs = "".join(server.log.read_text(errors="replace") for server in servers)
        if (
            "JetStream cluster new metadata leader" in logs
            or "Self is new JetStream cluster metadata leader" in logs
        ):
            return
        if time.monotonic() > until:
            raise RuntimeError(f"the servers chose no leader: {logs[-800:]}")
        time.sleep(0.05)
